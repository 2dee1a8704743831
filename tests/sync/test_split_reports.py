"""Reports of a term that are split by sub-account: loaded as one, all parts or none."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import HeaderContractError, ReportFailedError, SettingError
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow, Log
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from tests.fix_canvas import Sessions

GROUPS = {group.name: group for group in report_groups(BUILT_IN)}
TERM = "118"
MODELS = {"courses", "sections", "enrollments"}
ROOT, ARTS, SCIENCE, PHILOSOPHY = 1, 2, 3, 4
TABLES = ("courses", "sections", "enrollments", "submissions")


def sync(
    session: Session, mode: str = "full", group: str = "provisioning_term", log: Log = lambda _: None
) -> SyncOutcome:
    names = MODELS if group == "provisioning_term" else {group}
    flow = Flow.of(session, SyncOptions(mode=mode), TERM, log=log)  # type: ignore[arg-type]
    following = [(GROUPS["submissions"], {"submissions"})] if group == "provisioning_term" else []
    return sync_report(flow, GROUPS[group], names, following=following)


def rows(session: Session, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(session.database_url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def content(session: Session) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, without the columns that say when they were loaded."""
    system = "'created_at' - 'updated_at' - 'observed_at' - 'row_hash'"
    queries = {
        name: f"select (to_jsonb(t) - {system})::text from canvas.{name} t order by canvas_id" for name in TABLES
    }
    return {name: rows(session, query) for name, query in queries.items()}


def accounts_asked(canvas: SimulatedCanvas) -> list[int]:
    return [report.account for report in canvas.queue.reports.values()]


def move_a_course_to_the_root(canvas: SimulatedCanvas) -> int:
    """Put a course of the term into which a section is cross-listed directly below the root account."""
    university = canvas.university
    of_term = university.courses.filter((pl.col("term_id") == int(TERM)) & (pl.col("state") == "available"))
    crosslisted = university.sections.filter(pl.col("nonxlist_course_id").is_not_null())
    moved = int(of_term.join(crosslisted, left_on="id", right_on="course_id", how="semi")["id"][0])
    account = pl.when(pl.col("id") == moved).then(ROOT).otherwise("account_id").alias("account_id")
    university.courses = university.courses.with_columns(account)
    return moved


def test_the_parts_make_the_same_tables_as_the_whole_where_the_whole_never_ends(
    canvas: SimulatedCanvas, sessions: Sessions
) -> None:
    whole = sessions()
    sync_list(Flow.of(whole, SyncOptions()), whole.by_name["accounts"])
    sync(whole), sync(whole, group="submissions")
    truth = content(whole)
    rows_of = {name: len(found) for name, found in truth.items()}
    assert min(rows_of.values()) > 0

    with psycopg.connect(whole.database_url) as connection:
        connection.execute("truncate canvas.courses, canvas.sections, canvas.enrollments, canvas.submissions")
    canvas.faults.add("root_report_stuck", 9)
    hurried = {"report_compilation_timeout": "0.3 seconds", "report_max_tries": 1}
    with pytest.raises(ReportFailedError, match="still being compiled"):
        sync(sessions(**hurried))
    canvas.queue.reports.clear()
    # An account and one below it: what both list is one row.
    split = sessions(split_reports=[ARTS, PHILOSOPHY, SCIENCE], **hurried)
    outcome, submissions = sync(split), sync(split, group="submissions")
    assert content(split) == truth
    assert outcome.parts == {
        str(report.account): report.id for report in canvas.queue.reports.values() if "courses" in report.parameters
    }
    assert list(outcome.parts) == ["2", "4", "3"] == list(submissions.parts)
    first = min(canvas.queue.reports.values(), key=lambda report: report.id)
    assert rows(split, "select distinct observed_at from canvas.courses") == [(outcome.observed_at,)]
    assert outcome.observed_at == first.started_at, "that of the oldest part"
    (parts,) = rows(split, "select metadata::jsonb->'parts' from canvas.canvas_sync_job_logs order by id desc limit 1")[
        0
    ]
    assert parts == dict(submissions.parts)
    assert set(accounts_asked(canvas)) == {ARTS, PHILOSOPHY, SCIENCE}
    assert submissions.adopted, "the last part of a report orders the next report ahead"


def test_all_is_the_accounts_directly_below_and_a_change_of_the_parts_is_synced_in_full(
    canvas: SimulatedCanvas, sessions: Sessions
) -> None:
    every = sessions(split_reports="all")
    assert list(sync(every).parts) == ["2", "3"]
    with every.warehouse("reading watermarks") as warehouse:
        kept = Watermarks(warehouse).out_of_scope_keys("courses")
    assert all(keys.is_empty() for keys in kept.values()), "an account that no table shows below the parts has its term"
    assert sync(every, "auto").decision.mode == "incremental"
    one = sync(sessions(split_reports=str(SCIENCE)), "auto")
    assert (one.decision.mode, list(one.parts)) == ("full", ["3"])
    assert sync(sessions(), "auto").decision.mode == "full"
    lowest = sessions(split_reports="all", account_id=str(PHILOSOPHY))
    with pytest.raises(SettingError, match="account 4 of tenant canvas has no sub-accounts"):
        sync(lowest)


@pytest.mark.parametrize("end", ["error", "kill"])
def test_a_part_that_does_not_arrive_publishes_nothing_and_the_next_sync_adopts_the_others(
    canvas: SimulatedCanvas, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    session = sessions(split_reports=[ARTS, SCIENCE], report_max_tries=1, reports_ahead=0)
    start = canvas.queue.start

    def fail_in_science(name: str, parameters: dict[str, Any], account: int = ROOT) -> Any:
        report = start(name, parameters, account)
        if report is not None and account == SCIENCE:
            report.faults = {"report_error"}
        return report

    def stop(line: str) -> None:
        if end == "kill" and "part 2 of 2" in line:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(canvas.queue, "start", fail_in_science)
        with pytest.raises((ReportFailedError, KeyboardInterrupt)) as caught:
            sync(session, log=stop)
    if end == "error":
        assert re.search(r"of account 3 .*ended it as error", str(caught.value))
    assert rows(session, "select from canvas.courses") == []
    # The finished part waits longer than an ordinary report would: the parts of a large account take hours.
    with psycopg.connect(session.database_url) as connection:
        connection.execute("update canvas.canvas_sync_reports set completed_at = completed_at - interval '3 hours'")
    (finished,) = (report for report in canvas.queue.reports.values() if report.account == ARTS)
    outcome = sync(session)
    assert accounts_asked(canvas) == [ARTS, *([SCIENCE] if end == "error" else []), SCIENCE]
    assert outcome.parts["2"] == finished.id
    assert outcome.adopted
    states = rows(session, "select state from canvas.canvas_sync_reports order by id")
    assert states == [("loaded",), *([("failed",)] if end == "error" else []), ("loaded",)]


def test_absence_applies_to_the_courses_of_the_parts_only(canvas: SimulatedCanvas, sessions: Sessions) -> None:
    whole = sessions()
    sync_list(Flow.of(whole, SyncOptions()), whole.by_name["accounts"])
    outside = move_a_course_to_the_root(canvas)
    sync(whole)
    before = content(whole)
    inside, other = (
        rows(whole, f"select min(e.canvas_id) from canvas.enrollments e join canvas.courses c "
                    f"on c.canvas_id = e.canvas_course_id where e.workflow_state = 'active' and c.canvas_term_id = {TERM} "
                    f"and c.canvas_id {sign} {outside}")[0][0]
        for sign in ("<>", "=")
    )  # fmt: skip
    canvas.university.enrollments = canvas.university.enrollments.filter(~pl.col("id").is_in([inside, other]))
    (home,) = rows(whole, f"select canvas_nonxlist_course_id from canvas.sections where canvas_course_id = {outside} "
                          "and canvas_nonxlist_course_id is not null")  # fmt: skip
    assert home
    split = sessions(split_reports="all")
    outcome = sync(split)
    assert rows(split, "select canvas_id from canvas.enrollments where missing_since is not null") == [(inside,)]
    assert content(split)["sections"] == before["sections"], "the cross-listing of a row outside is kept"
    courses = next(each for each in outcome.models if each.model.name == "courses")
    assert courses.outside == 1
    assert courses.absence.missing == 0
    kept = rows(split, f"select missing_since from canvas.courses where canvas_id = {outside}")
    assert kept == [(None,)]


def test_parts_with_different_headers_are_refused_and_requested_anew(
    canvas: SimulatedCanvas, sessions: Sessions
) -> None:
    session = sessions(split_reports="all")
    canvas.faults.add("unknown_column")
    with pytest.raises(HeaderContractError, match=r"of account 3, courses: its header differs .*account 2.*lacks"):
        sync(session)
    assert rows(session, "select from canvas.courses") == []
    sync(session)
    assert accounts_asked(canvas).count(ARTS) == accounts_asked(canvas).count(SCIENCE) >= 2
    assert rows(session, "select count(*) > 0 from canvas.courses") == [(True,)]
