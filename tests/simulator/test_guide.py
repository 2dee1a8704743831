"""The Python of docs/how-to/simulator.md runs, and its sizes are right."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_small_submissions_are_a_few_hundred() -> None:
    assert 100 < SimulatedCanvas().university.submissions().height < 1000
