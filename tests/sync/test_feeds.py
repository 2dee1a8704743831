"""Two feeds of one table: a Canvas without proprietary reports fills all thirty tables over REST."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import psycopg.rows
import pytest
from psycopg import sql

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.simulator import SimulatedCanvas, University
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.model_sync import sync_models
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
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
