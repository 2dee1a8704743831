"""What commands print fits terminals of 40, 80 and 200 columns; without a terminal nothing is dropped or wrapped."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import RenderableType

from canvas_sync_dagster.commands.checks.finding import fail, note, ok
from canvas_sync_dagster.commands.doctor import Examination, doctor_lines
from canvas_sync_dagster.commands.log_lines import log_line
from canvas_sync_dagster.commands.output import WIDTH_OF_A_FILE, console
from canvas_sync_dagster.commands.progress import load_line
from canvas_sync_dagster.commands.rendering import Column, table, when
from canvas_sync_dagster.commands.status_report import status_lines
from canvas_sync_dagster.commands.sync_report import COUNTS, SyncReport, TableLoad, summary
from tests.commands.logs import logfmt

WIDTHS = (40, 80, 200)


def lines(renderables: Iterable[RenderableType], width: int | None) -> list[str]:
    made = console(width=width or WIDTH_OF_A_FILE)
    made.file = io.StringIO()
    for each in renderables:
        made.print(each, soft_wrap=width is None)
    return [line.rstrip() for line in made.file.getvalue().splitlines()]


def load(model: str, term: str | None, rows: int, **counts: int) -> TableLoad:
    every = dict.fromkeys(COUNTS, 0) | {"rows_in_report": rows, "inserted": rows} | counts
    return TableLoad(model, term, every, "full", "no earlier full sync of this scope", 1.5)


LOADS = [
    load("users", None, 1_234_567),
    load("learning_outcome_results", "116", 40),
    load("learning_outcome_results", "118", 2, inserted=0, rejected=2),
]
WHOLE = SyncReport("school", 372, LOADS, {"rubrics": "this Canvas has no report rubrics_csv"})
BROKEN = SyncReport(
    "school", 4, LOADS, {}, ["school term 118: the report has no column canvas_id, which is a key"], ["courses"], ["x"]
)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("report", [WHOLE, BROKEN])
@pytest.mark.parametrize("by_term", [False, True])
def test_the_summary_of_a_sync_fits_and_begins_with_the_verdict(report: SyncReport, by_term: bool, width: int) -> None:
    shown = lines(summary(report, width, by_term=by_term), width)
    assert max(map(cell_len, shown)) <= width
    assert shown[0].startswith(f"school: the sync {'failed after' if report.failed else 'was completed in'}")
    assert "warning: 2 rows could not be loaded (learning_outcome_results);" in " ".join(" ".join(shown).split())
    results = [line.split() for line in shown if line.startswith("learnin") or line.startswith("  learnin")]
    assert len(results) == (2 if by_term else 1)
    assert "…" in results[0][0] if width == 40 else results[0][0] == "learning_outcome_results"


def test_columns_are_dropped_by_width_and_terms_are_summed() -> None:
    headings = {width: lines(summary(WHOLE, width), width) for width in (*WIDTHS, None)}
    shown = {
        width: next(line.split() for line in found if "inserted" in line.split()) for width, found in headings.items()
    }
    assert shown[40] == ["model", "rows", "inserted"]
    assert shown[80] == ["model", "terms", "rows", "inserted", "updated", "rejected"]
    assert (
        shown[200]
        == shown[None]
        == ["model", "terms", "rows", "inserted", "updated", "unchanged", "rejected", "mode", "seconds"]
    )
    (results,) = [line.split() for line in headings[200] if line.strip().startswith("learning_outcome")]
    assert results == ["learning_outcome_results", "2", "42", "40", "0", "0", "2", "full", "3.00"]


def test_only_cells_that_may_shrink_are_truncated_and_a_wide_character_has_two_columns() -> None:
    columns = [Column("name", shrinks=True), Column("rows", right=True)]
    shown = lines([table(columns, [["学" * 40, "1,000,000"]], 40)], 40)
    assert max(map(cell_len, shown)) <= 40
    assert shown[-1].endswith("…   1,000,000")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_line_of_progress_leaves_out_what_has_no_room(width: int) -> None:
    line = load_line(LOADS[2], width)
    assert line.startswith("  learning_outcome_results of term 118")
    assert len(line) <= max(width, 47)
    assert ("no earlier full sync" in line) == (width == 200)


def test_a_line_of_a_log_can_be_read_whatever_its_values_are() -> None:
    values = {"a": 'say "x"\n=\x1b[2J', "b": "", "c": "x=y", "d": ["1", "2 3"], "e": True, "f": 1.5, "g": "Ö\\"}
    line = log_line(dict(values), as_json=False)
    assert "\n" not in line
    assert "\x1b" not in line
    assert logfmt(line) == [{"a": values["a"], "b": "", "c": "x=y", "d": "1,2 3", "e": "true", "f": "1.5", "g": "Ö\\"}]


NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)


def scope(term: str, *, hours: int = 1, stale: bool = False, error: str | None = None, **others: Any) -> dict[str, Any]:
    at = NOW - timedelta(hours=hours)
    last = {
        "status": "error" if error else "success",
        "at": at,
        "mode": "full",
        "mode_reason": "no earlier full sync of this scope",
        "rows": 12,
        "superseded": 0,
        "error": error,
        "feed": "report",
        "feed_reason": "",
        "requests": None,
    }
    coming = {"mode": "incremental", "mode_reason": "", "updated_after": at}
    made = {"term": term, "as_of": at, "as_of_in_future": False, "stale": stale, "last": last, "next": coming}
    return made | others


def model(name: str, *scopes: dict[str, Any], **counts: int) -> dict[str, Any]:
    zero = {"rows": 1_200, "suspects": 0, "rejects": 0, "observed_in_future": 0, "has_report": True}
    return {"model": name, "scopes": list(scopes), **zero, **counts}


def facts(*models: dict[str, Any], status: str = "completed", **others: Any) -> dict[str, Any]:
    started = NOW - timedelta(hours=2)
    batch = {"key": "school:default:1", "status": status, "started_at": started, "reason": "2 terms done"}
    made = {
        "tenant": "school",
        "schedule": "0 */3 * * * (UTC)",
        "unmet": [],
        "unwritable": {},
        "missing_headers": [],
        "models": list(models),
        "under_way": [],
        "batch": batch,
        "genres": [],
        "events": {"waiting": 0, "dead": 0, "latest": None, "silent": False, "gaps": [], "left_to_reports": []},
        "rejects": sum(each["rejects"] for each in models),
        "undelivered_alerts": [],
    }
    return made | others


WELL = facts(model("users", scope("")), model("learning_outcome_results", scope("116"), scope("118", hours=3)))
SICK = facts(
    model("users", scope(""), rejects=3),
    model(
        "courses", scope("116", stale=True), scope("118", error="the report has no column canvas_id\nwhich is a key")
    ),
    status="failed",
)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("told", [WELL, SICK])
@pytest.mark.parametrize("by_term", [False, True])
def test_the_status_fits_and_begins_with_the_verdict(told: dict[str, Any], by_term: bool, width: int) -> None:
    shown = lines(status_lines(told, width, NOW, by_term=by_term), width)
    assert max(map(cell_len, shown)) <= width
    verdict = "school: all is well: 2 models" if told is WELL else "school: 4 things need attention"
    assert shown[0].startswith(verdict)


def test_the_status_shows_the_events_that_wait_for_a_report() -> None:
    wait = {"model": "submissions", "events": 270_000, "at": NOW, "since": NOW, "terms": [], "early_sync": True}
    told = WELL | {"events": WELL["events"] | {"waiting": 270_001, "left_to_reports": [wait]}}
    (line,) = [each for each in lines(status_lines(told, None, NOW), None) if "wait for" in each]
    assert line.strip() == (
        f"270,000 events wait for the next report of submissions (at {when(NOW)}; an early sync was requested): reading "
        "their objects from Canvas would take longer"
    )


def test_the_status_sums_the_terms_and_names_what_to_do() -> None:
    well, sick = lines(status_lines(WELL, 80, NOW), 80), lines(status_lines(SICK, None, NOW), None)
    (results,) = [line.split() for line in well if line.strip().startswith("learning_outcome")]
    assert results == ["learning_outcome_results", "2", "1,200", "2026-09-01", "09:00", "full"]
    assert sick[1:5] == [
        "  ! The last sync failed: 2 terms done.",
        "  ! failed: courses of term 118: the report has no column canvas_id",
        "  ! stale: courses. Is the schedule running? `--by-term` shows the terms.",
        "  ! 3 rejected rows: users. canvas_sync_rejected_rows has the reasons; after a fix, run `canvas-sync replay rejects`.",
    ]
    (courses,) = [line for line in sick if line.strip().startswith("courses")]
    assert courses.split()[-8:] == ["error", "in", "some", "incremental", "stale:", "1", "of", "2"]
    assert "  last sync: 2026-09-01 10:00, 2 hours ago, failed: 2 terms done" in sick


@pytest.mark.parametrize("width", WIDTHS)
def test_the_doctor_begins_with_the_verdict_and_puts_failures_first(width: int) -> None:
    found = [
        ok("PostgreSQL 18"),
        note("http is not encrypted", "Use https"),
        fail("the token is refused " * 4, "Create one"),
    ]
    examined = [Examination("Dagster", [ok("it is fine")]), Examination("school", found)]
    shown = lines(doctor_lines(examined, width), width)
    assert max(map(cell_len, shown)) <= width
    assert shown[0].startswith("doctor: 1 failure in school; 1 note")
    levels = [line.split()[0] for line in shown if line.startswith("  ") and line[2] != " "]
    assert levels == ["ok", "FAIL", "note", "ok"]
    assert "        Create one" in shown
    assert lines(doctor_lines(examined, None), None)[6].endswith("the token is refused. Create one")
