"""What the pages show is true: their Python runs, their commands exist, their YAML is understood."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from canvas_sync_dagster.testing import LocationUnderTest, code_location

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("deploy/*.md")])
PREAMBLE = """
from collections import defaultdict
seen, vault = [], defaultdict(lambda: "simulated~token")
def create_or_update(row): seen.append(row)
"""


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocationUnderTest]:
    """The Python of a page, put together as one `definitions.py`, on a simulated Canvas."""
    (tmp_path / "canvas_sync.yaml").write_text(
        "tenants: {canvas: {models: [terms, accounts, users, courses, sections]}}"
    )
    content = PREAMBLE + "\n".join(blocks(request.param, "python"))
    content = content.replace('"canvas_sync.yaml"', repr(str(tmp_path / "canvas_sync.yaml")))
    (tmp_path / "definitions.py").write_text(content)
    with code_location(tmp_path / "definitions.py") as found:
        yield found


@pytest.mark.parametrize("location", ["docs/from-canvas-sync.md"], indirect=True)
def test_the_translations_of_the_gems_examples_do_what_the_page_says(location: LocationUnderTest) -> None:
    canvas, seen = location.canvas, sys.modules["definitions"].seen
    canvas.add_report("my_really_cool_report_csv", lambda asked: f"term,flag\n{asked['enrollment_term_id']},1\n")
    canvas.add_report("some_report_csv", "course id,score\n2001,7.5\n")
    root = location.run()
    assert root.keys() >= {"after_terms", "beside_users", "course_audits", "users", "terms"}
    with psycopg.connect(location.database_url) as connection:
        connection.execute("create table my_sections (canvas_id bigint, name text)")
    term = location.run(term=118)
    assert term["my_really_cool_report"]["rows"] == 1
    assert term["after_courses"]["courses"] == len(location.rows("select 1 from canvas.courses"))
    assert location.rows("select * from canvas.cool") == [("118", 1)]
    assert len(location.rows("select * from my_sections")) == term["sections"]["rows_in_report"] > 0
    assert location.rows("select initials, pronouns from canvas.users where canvas_id = 1002")[0][0]
    seen.clear()
    assert location.deliver(*canvas.save_again("users", 1), *canvas.save_again("courses", 1)) == {"applied": 2}
    assert len(seen) == 3
    assert "course_updated" in seen
