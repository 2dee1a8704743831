"""The examples of the pages work: their Python runs, their commands exist, and their YAML is valid."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
import pytest
import yaml
from click.testing import CliRunner

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.testing import LocationUnderTest, code_location

ROOT = Path(__file__).parent.parent
GENERATED = {"commands.md", "events.md", "metrics.md", "python.md", "settings.md", "tables.md"}
PAGES = [
    page
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "deploy/*.md")
    for page in sorted(ROOT.glob(pattern))
    if page.name not in GENERATED
]
GUIDE = tuple(
    f"docs/how-to/{name}.md"
    for name in (
        "custom-location",
        "add-a-column",
        "custom-report",
        "report-parameters",
        "steps",
        "downstream-assets",
        "read-from-canvas",
        "handle-live-events",
        "callbacks",
        "asset-keys",
    )
)
"""The pages about a code location of the user: their Python is one `definitions.py`."""
PREAMBLE = """
from collections import defaultdict
seen, vault = [], defaultdict(lambda: "simulated~token")
def create_or_update(row): seen.append(row)
"""
FEWER_LINES = 15
"""Maximum lines that a user writes between `init` and the materialization of a first custom report."""


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocationUnderTest]:
    """The Python of some pages, put together as one `definitions.py`, on a simulated Canvas."""
    (tmp_path / "canvas_sync.yaml").write_text(
        "tenants: {canvas: {models: [terms, accounts, admins, users, courses, sections, assignments]}}"
    )
    # Where a page shows an example before the parts, the parts come first all the same.
    found = [block for page in request.param for block in blocks(page, "python")]
    parts = sorted(found, key=lambda block: "import CanvasSync" not in block)
    content = PREAMBLE + "\n".join(parts)
    if "mine = " in content:
        content += "\ndefs = sync.definitions(mine)\n"
    content = content.replace('"canvas_sync.yaml"', repr(str(tmp_path / "canvas_sync.yaml")))
    (tmp_path / "definitions.py").write_text(content)
    with code_location(tmp_path / "definitions.py") as loaded:
        yield loaded


@pytest.mark.parametrize("location", [("docs/start/gem-features.md",)], indirect=True, ids=["gem"])
def test_the_ported_examples_of_the_gem_work_as_the_page_describes(location: LocationUnderTest) -> None:
    canvas, seen = location.canvas, sys.modules["definitions"].seen
    canvas.add_report("my_really_cool_report_csv", lambda asked: f"term,flag\n{asked['enrollment_term_id']},1\n")
    canvas.add_report("some_report_csv", "course id,score\n2001,7.5\n")
    root = location.run()
    assert root.keys() >= {"after_terms", "parallel_to_users", "course_audits", "users", "terms"}
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


@pytest.mark.parametrize("location", [GUIDE], indirect=True, ids=["guide"])
def test_the_guide_is_a_location_that_loads_and_syncs(location: LocationUnderTest) -> None:
    canvas = location.canvas
    canvas.add_report("course_scores_csv", "course_id,score\n2001,7\n")
    canvas.add_report("my_really_cool_report_csv", "a,b\n1,2\n")
    canvas.add_report("some_report_csv", "course id,score\n2001,7.5\n")
    assert location.run().keys() >= {"course_audits", "users"}
    made = location.run(term=118)
    assert (made["cool"]["columns"], made["course_scores"]["scores"]) == (2, 1)
    assert len(location.rows("select * from accounts_seen")) == 1
    assert "identity/people" in {key.to_user_string() for key in location.instance.all_asset_keys()}


def test_a_first_custom_report_takes_few_lines(tmp_path: Path) -> None:
    report = blocks(GUIDE[0], "python")[0]
    (first,) = blocks(GUIDE[0], "python test")
    (others,) = blocks("docs/how-to/test-your-location.md", "python test")
    lines = [line for block in (report, first) for line in block.splitlines() if line.strip()]
    assert len(lines) < FEWER_LINES
    (command,) = re.findall(r"^canvas-sync (init school .*)$", "".join(blocks(GUIDE[0], "")), re.MULTILINE)
    target = tmp_path / "school"
    assert (
        CliRunner().invoke(main, [str(target) if word == "school" else word for word in shlex.split(command)]).exit_code
        == 0
    )
    definitions = target / "src" / "school" / "definitions.py"
    definitions.write_text(definitions.read_text().replace("@dg.definitions", f"{report}\n\n@dg.definitions"))
    (target / "tests" / "test_course_scores.py").write_text(f"{first}\n\n{others}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=target,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def commands() -> list[tuple[str, str]]:
    """Finds each `canvas-sync …` that a page shows."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        shown = re.findall(r"(?:`|^)(?:\./run )?canvas-sync ([^`\n]+)", text, flags=re.MULTILINE)
        found += [(page.name, line) for line in shown]
    return sorted(set(found))


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_that_a_page_shows_exists_with_its_options(page: str, line: str) -> None:
    # What follows `--` belongs to another program.
    split = shlex.split(line, comments=True)
    words = [word for word in split[: split.index("--") if "--" in split else None] if not word.startswith("#")]
    context = click.Context(main, info_name="canvas-sync")
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, f"{page}: canvas-sync {line}"
        context = found.make_context(found.name, [], parent=context, resilient_parsing=True)
        command = context.command
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {
        "--help",
        "--version",
    }
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known, f"{page}: canvas-sync {line}"


@pytest.mark.parametrize("text", [text for page in PAGES for text in blocks(str(page.relative_to(ROOT)), "yaml")])
def test_every_yaml_example_is_valid(text: str) -> None:
    content = yaml.safe_load(re.sub(r"\{\{ env\.\w+ \}\}", "7~x", text))
    content = content.get("attributes", content)
    if content.keys() <= {"tenants", "mappings", "legacy_ids"}:
        settings = Settings.from_content(
            content,
            {
                **dict.fromkeys(("SCHOOL_TOKEN", "NORTH_TOKEN", "SOUTH_TOKEN"), "7~x"),
                "CANVAS_SYNC_DATABASE_URL": "postgresql://db.test/lms",
                "CANVAS_SYNC_HASH_KEY": "k" * 32,
            },
            source=Path("page.yaml"),
        )
        assert CanvasSync(settings).project().models
