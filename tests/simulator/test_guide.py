"""The Python of docs/how-to/simulator.md runs, and its sizes are right."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from canvas_sync_dagster.simulator import SIZES, SimulatedCanvas

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "simulator.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    exec("\n".join(blocks), {})  # noqa: S102 (our own page)


def test_the_table_of_sizes_is_right() -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([\d,]+) \| ([\d,]+) \| (?:about )?([\d,]+) \|", PAGE, flags=re.MULTILINE)
    found = {name: tuple(int(number.replace(",", "")) for number in numbers) for name, *numbers in rows}
    assert found == {name: (size.users, size.courses, size.enrollments) for name, size in SIZES.items()}


def test_the_table_of_columns_is_right_and_unknown_names_are_refused_with_the_right_ones() -> None:
    university = SimulatedCanvas().university
    rows = re.findall(r"^\| `(\w+)` \| (`id`.*) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 8
    for table, columns in rows:
        assert [*re.findall(r"`(\w+)`", columns), "updated_at"] == getattr(university, table).columns
    with pytest.raises(ValueError, match=r"users .* no column 'name'; it has id, first_name, last_name, updated_at"):
        university.set("users", pl.col("id") == 1001, name="Ana")
    with pytest.raises(ValueError, match="no table 'people'; it has accounts, terms, users, "):
        university.append("people", {"id": 1})


def test_small_submissions_are_a_few_hundred() -> None:
    assert 100 < SimulatedCanvas().university.submissions().height < 1000
