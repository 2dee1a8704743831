"""Two feeds of one table: a Canvas without proprietary reports fills all thirty tables over REST."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psycopg
import psycopg.rows
import pytest
from psycopg import sql
from pydantic import ValidationError

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import CanvasForbiddenError
from canvas_sync_dagster.simulator import SimulatedCanvas, University
from canvas_sync_dagster.sync import rest_parents
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.model_sync import sync_models
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.rest_lists import READ, ListEnd, Parent, read_lists
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.tenants import TenantSettings
from tests.fix_canvas import Sessions, session_of
from tests.truth import sync_everything
from tests.witness import _same, assert_whole_truth, told

MODELS = {model.name: model for model in BUILT_IN}
WALKED = tuple(name for name, model in MODELS.items() if model.rest is not None)
AS_JSON = {"rubrics": "data", "rubric_assessments": "data"}
"""Columns that reports have as YAML, and the API as JSON."""
Row = dict[str, Any]


@pytest.fixture
def stock(database_url: str, tmp_path: Path) -> Iterator[tuple[SimulatedCanvas, Session]]:
    """A Canvas that offers `provisioning_csv` only."""
    with (
        SimulatedCanvas(compile_seconds=0.01, reports=frozenset({"provisioning_csv"})).serve() as canvas,
        session_of(canvas, database_url, tmp_path, term_scope="all") as session,
    ):
        yield canvas, session


def listed(university: University) -> University:
    """Return what Canvas's API lists: neither deleted courses, with all that is in them, nor deleted logins."""
    u = copy.copy(university)
    u.courses = u.courses.filter(pl.col("state") != "deleted")
    u.sections = u.sections.join(u.courses.select(course_id="id"), on="course_id", how="semi")
    u.enrollments = u.enrollments.join(u.sections.select(section_id="id"), on="section_id", how="semi")
    u.assignments = u.assignments.join(u.courses.select(course_id="id"), on="course_id", how="semi")
    u.logins = u.logins.filter(pl.col("state") != "deleted")
    return u


def key_of(name: str) -> tuple[str, ...]:
    return MODELS[name].identity or MODELS[name].key


def read(session: Session, name: str) -> list[Row]:
    with psycopg.connect(session.database_url, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(sql.SQL("select * from {}").format(sql.Identifier(session.schema, name))).fetchall()


def assert_equal_to_the_api(canvas: SimulatedCanvas, session: Session) -> None:
    """Check that each walked table has exactly what the API lists, in every column that the API provides."""
    truth = dict(told(listed(canvas.university)))
    for name in WALKED:
        model, key = MODELS[name], key_of(name)
        have = {tuple(row[each] for each in key): row for row in read(session, name)}
        alive = [row for row in truth[name] if row.get("workflow_state") != "deleted"]
        want = {tuple(None if row[each] is None else int(row[each]) for each in key): row for row in alive}
        assert want, name
        assert set(have) == set(want), name
        columns = [c.name for c in model.columns if model.is_walked(c) and c.name != AS_JSON.get(name)]
        for number, row in want.items():
            stored = have[number]
            wrong = [each for each in columns if not _same(stored[each], row.get(each))]
            assert not wrong, (name, number, wrong, {each: (stored[each], row.get(each)) for each in wrong})
            assert stored["missing_since"] is None
            assert name not in AS_JSON or json.loads(stored["data"])[0]["points"] > 0


def test_a_stock_canvas_fills_every_table(stock: tuple[SimulatedCanvas, Session]) -> None:
    canvas, session = stock
    outcomes = sync_everything(session)
    assert {name for name, _ in outcomes} == set(MODELS)
    assert all(read(session, name) for name in MODELS), "a table is empty"
    assert_equal_to_the_api(canvas, session)
    # Reports that come later take over the rows that the walks made.
    assert all(row["canvas_id"] < 0 for row in read(session, "scores")), "Canvas's API has no ids of scores"
    canvas.queue.available = SimulatedCanvas().queue.available
    # A session asks once.
    session._reports.clear()
    canvas.advance(days=1)
    outcomes = sync_everything(session)
    assert not any(outcome.absence.held for outcome in outcomes.values())
    assert_whole_truth(canvas, session)


TERM = "118"


def sync_term(session: Session) -> dict[str, SyncOutcome]:
    """Sync what belongs to no term, and one term."""
    outcomes: dict[str, SyncOutcome] = {}
    for name in ("terms", "accounts"):
        sync_list(Flow.of(session, SyncOptions()), MODELS[name])
    for group in report_groups(BUILT_IN):
        flow = Flow.of(session, SyncOptions(), TERM if group.term_scoped else "")
        for outcome in sync_models(flow, group, {model.name for model in group.models}):
            outcomes |= {each.model.name: outcome for each in outcome.models}
    return outcomes


def test_a_switch_to_walks_and_back_neither_duplicates_nor_loses_rows(
    canvas: SimulatedCanvas, sessions: Sessions
) -> None:
    by_report = sessions(term_scope=TERM)
    walked = sessions(term_scope=TERM, feeds=dict.fromkeys(WALKED, "rest"))
    assert {outcome.feed for outcome in sync_term(by_report).values()} == {"report"}
    before = {name: {_key(name, row): row for row in read(by_report, name)} for name in WALKED}
    outcomes = sync_term(walked)
    for name in WALKED:
        outcome = outcomes[name]
        assert (outcome.feed, outcome.feed_reason) == ("rest", "the setting feeds requests it")
        assert outcome.decision.mode == "full", "the first sync after a switch is full"
        assert outcome.walked is not None
        assert outcome.walked.requests > 0
        counts = outcome.models[0].counts
        assert (counts.inserted, counts.rejected) == (0, 0), name
        after = {_key(name, row): row for row in read(walked, name)}
        assert set(after) == set(before[name]), name
        not_walked = [c.name for c in MODELS[name].columns if not MODELS[name].is_walked(c)]
        kept = [*not_walked, *MODELS[name].key, "missing_since"]
        assert {k: [row[c] for c in kept] for k, row in after.items()} == {
            k: [row[c] for c in kept] for k, row in before[name].items()
        }, name
        changed = {k for k, row in after.items() if row["updated_at"] != before[name][k]["updated_at"]}
        assert not changed or name in AS_JSON, (name, "a walk writes rows that are equal")
    canvas.advance(minutes=1)
    again = sync_term(by_report)
    assert {again[name].feed for name in WALKED} == {"report"}
    content = [column.name for name in WALKED for column in MODELS[name].columns]
    for name in WALKED:
        assert {_key(name, row): [row.get(c) for c in content] for row in read(by_report, name)} == {
            k: [row.get(c) for c in content] for k, row in before[name].items()
        }, name


def _key(name: str, row: Row) -> tuple[Any, ...]:
    return tuple(row[each] for each in key_of(name))


@pytest.fixture
def term(stock: tuple[SimulatedCanvas, Session]) -> tuple[SimulatedCanvas, Session]:
    """A stock Canvas, of which the courses and enrollments of one term are loaded and did not change for long."""
    canvas, session = stock
    sync_groups(session, {"courses", "enrollments"})
    with psycopg.connect(session.database_url) as connection:
        for table in ("courses", "enrollments"):
            connection.execute(f"update canvas.{table} set updated_at = '2020-01-01'")
    return canvas, session


def sync_groups(session: Session, names: set[str]) -> list[SyncOutcome]:
    groups = [group for group in report_groups(BUILT_IN) if names & {model.name for model in group.models}]
    return [
        outcome
        for group in groups
        for outcome in sync_models(
            Flow.of(session, SyncOptions(), TERM if group.term_scoped else ""),
            group,
            {model.name for model in group.models} & names,
        )
    ]


def test_an_incremental_walk_of_submissions_reads_what_was_submitted_or_graded_since(
    term: tuple[SimulatedCanvas, Session],
) -> None:
    canvas, session = term
    (full,) = sync_groups(session, {"submissions"})
    assert full.decision.mode == "full"
    (quiet,) = [course for course in listed_courses(session) if course == active_course(session)]
    with psycopg.connect(session.database_url) as connection:
        connection.execute("update canvas.enrollments set updated_at = now() where canvas_course_id = %s", (quiet,))
    canvas.advance(hours=23)
    canvas.requests.clear()
    (changed,) = sync_groups(session, {"submissions"})
    assert "what changed in each of the courses since" in changed.decision.reason
    queries = {each.path: each.query for each in canvas.requests if each.path.endswith("/students/submissions")}
    first, *others = queries
    assert first == f"/api/v1/courses/{quiet}/students/submissions", "the active course is read first"
    assert "since" not in queries[first], "enrollments make submissions that nobody submitted"
    assert all("graded_since=2026-" in queries[each] or "submitted_since=2026-" in queries[each] for each in others)
    assert 0 < changed.models[0].counts.rows_in_report < full.models[0].counts.rows_in_report
    truth = dict(told(listed(canvas.university)))["submissions"]
    stored = {row["canvas_id"]: row for row in read(session, "submissions")}
    mine = [row for row in truth if int(row["canvas_id"]) in stored]
    assert len(mine) == len(stored)
    for row in mine:
        for column in ("workflow_state", "score", "graded_at", "submitted_at"):
            assert _same(stored[int(row["canvas_id"])][column], row[column]), (row["canvas_id"], column)


def listed_courses(session: Session) -> list[int]:
    return rest_parents.listed_courses(session, "/accounts/{account_id}/courses", TERM)


def active_course(session: Session) -> int:
    """Return the last course with students."""
    return max(row["canvas_course_id"] for row in read(session, "submissions"))


def test_a_walk_that_the_token_may_not_read_says_so_and_writes_nothing(term: tuple[SimulatedCanvas, Session]) -> None:
    canvas, session = term
    for course in listed_courses(session):
        canvas.faults.always("no_permission", f"/api/v1/courses/{course}/assignments")
    with pytest.raises(CanvasForbiddenError, match=r"assignments answered 403.* The token lacks a permission"):
        sync_groups(session, {"assignments"})
    assert read(session, "assignments") == []


def test_a_course_without_module_requirements_has_no_progress() -> None:
    feed = MODELS["course_progresses"].rest
    assert feed is not None
    refused = httpx.MockTransport(lambda request: httpx.Response(400, json={"error": {"message": "no progress"}}))
    with Canvas("http://canvas.test", "x", transport=refused) as client:
        assert list(read_lists(client, feed, [Parent(1), Parent(2)])) in (
            [ListEnd(1, READ), ListEnd(2, READ)],
            [ListEnd(2, READ), ListEnd(1, READ)],
        )


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"wombats": "rest"}, "unknown model wombats"),
        ({"courses": "rest"}, "courses has no feed over REST; these have one: terms, accounts"),
        ({"roles": "report"}, "no report feeds roles; it is read over REST"),
        ({"scores": "magic"}, "'report' or 'rest'"),
    ],
)
def test_a_feed_that_does_not_exist_is_refused(feeds: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TenantSettings.model_validate({"feeds": feeds})
