"""Walks over REST: what a token may not read, server errors, active parents, interruptions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN, RestFeed
from canvas_sync_dagster.errors import (
    CanvasForbiddenError,
    CanvasSyncError,
    CanvasUnavailableError,
    RejectThresholdError,
    WalkInterruptedError,
)
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync import rest_walk, walk_staging
from canvas_sync_dagster.sync.erase import erase_user
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_lists import ListEnd
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.loading import rows
from canvas_sync_dagster.warehouse.reading.source import Source
from canvas_sync_dagster.warehouse.state.housekeeping import drop_old_rows
from tests.truth import FULL

TERM = "118"
MODELS = {model.name: model for model in BUILT_IN}
RESULTS = MODELS["learning_outcome_results"]
PROVISIONING = next(group for group in report_groups(BUILT_IN) if group.name == "provisioning_term")
STATE_TABLES = ("canvas_sync_walks", "canvas_sync_walk_parents", "canvas_sync_walk_rows")


@pytest.fixture(autouse=True)
def _impatient(session: Session) -> None:
    session.canvas._retry_seconds = 0.3


@pytest.fixture
def term(session: Session) -> Session:
    """A session on a term whose courses and enrollments are loaded."""
    sync_report(Flow.of(session, FULL, TERM), PROVISIONING, {"courses", "enrollments"})
    return session


def walk(session: Session, options: SyncOptions = FULL) -> SyncOutcome:
    return sync_list(Flow.of(session, options, TERM), RESULTS)


def values(session: Session, query: str) -> list[int]:
    with psycopg.connect(session.database_url) as connection:
        return [row[0] for row in connection.execute(query).fetchall()]


def courses_with_results(session: Session) -> list[int]:
    return values(session, "select distinct canvas_course_id from canvas.learning_outcome_results order by 1")


def requested(canvas: SimulatedCanvas) -> Counter[int]:
    """Return how often the list of each course was requested since the last call."""
    found = (re.fullmatch(r"/api/v1/courses/(\d+)/outcome_results", each.path) for each in canvas.requests)
    counted = Counter(int(match[1]) for match in found if match)
    canvas.requests.clear()
    return counted


def unenroll(canvas: SimulatedCanvas, *courses: int) -> None:
    """Delete the enrollments of courses in Canvas, and with them the results."""
    sections = canvas.university.sections.filter(pl.col("course_id").is_in(courses)).get_column("id")
    canvas.university.set("enrollments", pl.col("section_id").is_in(sections.implode()), state="deleted")


def expected_results(session: Session) -> Iterator[list[dict[str, object]]]:
    """Yield what Canvas lists of each course."""
    for course in values(session, "select canvas_id from canvas.courses"):
        yield list(session.canvas.get_list(f"/courses/{course}/outcome_results", envelope="outcome_results"))


def path(course: int) -> str:
    return f"/api/v1/courses/{course}/outcome_results"


def staged(session: Session) -> list[int]:
    return [values(session, f"select count(*) from canvas.{table}")[0] for table in STATE_TABLES]


def test_a_list_that_the_token_may_not_read_is_reported_and_its_rows_are_left_alone(
    canvas: SimulatedCanvas, term: Session
) -> None:
    walk(term)
    hidden, emptied, *_ = courses_with_results(term)
    before = values(term, f"select count(*) from canvas.learning_outcome_results where canvas_course_id = {hidden}")
    canvas.advance(minutes=1)
    unenroll(canvas, hidden, emptied)
    canvas.faults.always("no_permission", path(hidden))
    outcome = walk(term, replace(FULL, accept_shrinkage=True))
    assert f"the token may not read courses {hidden}" in outcome.decision.reason
    suspects = "select distinct canvas_course_id from canvas.learning_outcome_results where missing_since is not null"
    assert hidden not in values(term, suspects)
    assert (
        values(term, f"select count(*) from canvas.learning_outcome_results where canvas_course_id = {hidden}")
        == before
    )
    assert outcome.models[0].absence.missing > 0


def test_a_token_that_may_read_no_list_is_an_error(canvas: SimulatedCanvas, term: Session) -> None:
    for course in values(term, "select canvas_id from canvas.courses"):
        canvas.faults.always("no_permission", path(course))
    with pytest.raises(CanvasForbiddenError, match="lacks a permission"):
        walk(term)


def test_a_list_with_a_server_error_is_tried_again_and_then_left_out(canvas: SimulatedCanvas, term: Session) -> None:
    broken = values(term, "select canvas_id from canvas.courses where canvas_id % 3 = 0 order by 1")[0]
    canvas.faults.always("server_error", path(broken))
    outcome = walk(term)
    assert f"Canvas fails to list courses {broken}" in outcome.decision.reason
    assert broken not in courses_with_results(term)
    assert len(courses_with_results(term)) > 1


def test_many_server_errors_are_an_outage(canvas: SimulatedCanvas, term: Session) -> None:
    for course in values(term, "select canvas_id from canvas.courses order by 1")[:3]:
        canvas.faults.always("server_error", path(course))
    with pytest.raises(CanvasUnavailableError, match="answered 500"):
        walk(term)
    assert courses_with_results(term) == []


def test_an_incremental_sync_reads_the_lists_of_active_courses_only(canvas: SimulatedCanvas, term: Session) -> None:
    assert walk(term, SyncOptions()).decision.mode == "full"
    with psycopg.connect(term.database_url) as connection:
        for table in ("courses", "enrollments"):
            connection.execute(f"update canvas.{table} set updated_at = '2020-01-01'")
    requested(canvas)
    course = courses_with_results(term)[0]
    quiet = walk(term, SyncOptions())
    assert quiet.decision.mode == "incremental"
    assert not requested(canvas)
    canvas.advance(minutes=1)
    unenroll(canvas, course)
    sync_report(Flow.of(term, SyncOptions(), TERM), PROVISIONING, {"courses", "enrollments"})
    active = walk(term, SyncOptions())
    assert "only the lists of courses that were active since" in active.decision.reason
    assert list(requested(canvas)) == [course]
    assert active.models[0].absence.missing == 0, "an incremental sync proves no absence"
    assert walk(term).models[0].absence.missing > 0


def test_courses_without_enrollments_are_not_read(canvas: SimulatedCanvas, term: Session) -> None:
    empty = values(term, "select canvas_id from canvas.courses order by 1")[0]
    with psycopg.connect(term.database_url) as connection:
        connection.execute("delete from canvas.enrollments where canvas_course_id = %s", (empty,))
    walk(term)
    assert empty not in requested(canvas)
    # While the enrollments of the term are not loaded, nothing is known of any course.
    with psycopg.connect(term.database_url) as connection:
        connection.execute("delete from canvas.canvas_sync_watermarks where model = 'enrollments'")
    walk(term)
    assert empty in requested(canvas)


@contextmanager
def interrupted(session: Session, after: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a walk stage every list, and stop it after some of them, as a killed process does."""
    monkeypatch.setattr(walk_staging, "STAGED_SECONDS", 0)
    ended = Counter[str]()
    end = rest_walk._Walker._end

    def stop(walker: rest_walk._Walker, item: ListEnd, total: int) -> None:
        end(walker, item, total)
        ended["lists"] += 1
        if ended["lists"] > after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(rest_walk._Walker, "_end", stop)
        yield
    monkeypatch.setattr(walk_staging, "STAGED_ROWS", 50)


def test_an_interrupted_walk_is_resumed_and_published_at_once(
    canvas: SimulatedCanvas, term: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk(term)
    expected = values(term, "select canvas_id from canvas.learning_outcome_results order by 1")
    with psycopg.connect(term.database_url) as connection:
        connection.execute("truncate canvas.learning_outcome_results")
        connection.execute("delete from canvas.canvas_sync_watermarks where model = 'learning_outcome_results'")
    canvas.requests.clear()
    with interrupted(term, 3, monkeypatch):
        walk(term)
    first = requested(canvas)
    assert values(term, "select count(*) from canvas.learning_outcome_results") == [0]
    assert staged(term)[1] >= 3
    lines: list[str] = []
    outcome = sync_list(Flow.of(term, FULL, TERM, log=lines.append), RESULTS)
    second = requested(canvas)
    assert values(term, "select canvas_id from canvas.learning_outcome_results order by 1") == expected
    assert sum(second.values()) <= len(values(term, "select canvas_id from canvas.courses")) - 3
    assert set(first) | set(second) >= set(courses_with_results(term))
    assert any("an interrupted walk is resumed" in line for line in lines)
    assert outcome.models[0].counts.inserted == len(expected)
    assert staged(term) == [0, 0, 0]


@pytest.mark.parametrize("staged_rows", [1, 2, 5])
def test_the_last_pages_are_published_with_the_staged_ones(
    term: Session, monkeypatch: pytest.MonkeyPatch, staged_rows: int
) -> None:
    monkeypatch.setattr(walk_staging, "STAGED_ROWS", staged_rows)
    listed = walk(term).models[0].counts
    assert values(term, "select count(*) from canvas.learning_outcome_results") == [listed.inserted]
    assert listed.inserted == listed.rows_in_report == sum(len(results) for results in expected_results(term))


def test_a_walk_that_another_process_continues_is_not_published_twice(
    term: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted(term, 3, monkeypatch):
        walk(term)
    with rest_walk.walk(term, RESULTS, feed(), TERM) as walked:
        with psycopg.connect(term.database_url) as connection:
            connection.execute("update canvas.canvas_sync_walks set attempt = attempt + 1")
        with pytest.raises(WalkInterruptedError, match="Run the sync again"), term.warehouse("x") as warehouse:
            list(walked.parts(warehouse))


def test_a_walk_of_a_living_process_is_not_taken_over(term: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk_staging, "STAGED_SECONDS", 0)
    with rest_walk.walk(term, RESULTS, feed(), TERM) as first, rest_walk.walk(term, RESULTS, feed(), TERM) as second:
        assert first.staging._walk != second.staging._walk
        for each in (first, second):
            with term.warehouse("x") as warehouse:
                assert sum(map(len, each.parts(warehouse))) > 0


def test_an_old_or_changed_walk_is_not_resumed(
    canvas: SimulatedCanvas, term: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted(term, 3, monkeypatch):
        walk(term)
    with psycopg.connect(term.database_url) as connection:
        connection.execute("update canvas.canvas_sync_walks set created_at = now() - interval '25 hours'")
    requested(canvas)
    walk(term)
    assert len(requested(canvas)) == len(values(term, "select canvas_id from canvas.courses"))
    assert staged(term)[0] == 1
    with psycopg.connect(term.database_url) as connection:
        for table in STATE_TABLES:
            connection.execute(f"update canvas.{table} set created_at = now() - interval '8 days'")
    with term.warehouse("housekeeping") as warehouse:
        drop_old_rows(warehouse)
    assert staged(term) == [0, 0, 0]


def test_erasing_a_person_removes_staged_rows(term: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with interrupted(term, 3, monkeypatch):
        walk(term)
    erase_user(term.database_url, term.schema, term.models, 1)
    assert staged(term) == [0, 0, 0]
    walk(term)
    assert len(courses_with_results(term)) > 1


def test_a_canvas_that_goes_away_loses_nothing(
    canvas: SimulatedCanvas, term: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk_staging, "STAGED_SECONDS", 0)
    canvas.faults.add("dropped_connection", times=1_000)
    with pytest.raises(CanvasSyncError):
        walk(term)
    canvas.faults.clear()
    walk(term)
    assert len(courses_with_results(term)) > 1


def test_rejects_of_all_parts_are_judged_together(term: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MANY_REJECTS", 150)
    bad: list[dict[str, object]] = [{"canvas_id": f"x{number}"} for number in range(200)]
    taken: list[int] = []

    def parts() -> Iterator[list[dict[str, object]]]:
        for number in range(10):
            taken.append(number)
            yield bad

    source = Source(TERM, term.canvas.now() - timedelta(hours=1), "list")
    with pytest.raises(RejectThresholdError, match="200 of 200"), term.warehouse("x") as warehouse:
        rows.load_parts(warehouse.table(RESULTS), parts(), source, keep_rejects=True)
    assert taken == [0], "millions of rejects are not collected first"


def feed() -> RestFeed:
    assert isinstance(RESULTS.feed, RestFeed)
    return RESULTS.feed
