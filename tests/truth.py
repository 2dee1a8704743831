"""Compares the tables with the simulated Canvas, row by row, by a mapping written down here and not in the catalogue."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.simulator import SimulatedCanvas, tables
from canvas_sync_dagster.simulator.tables import Question
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import ModelOutcome
from canvas_sync_dagster.sync.plan import report_groups, rest_models
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import live_term_ids, sync_list
from canvas_sync_dagster.sync.session import Session

FULL = SyncOptions(mode="full")

COLUMNS: dict[str, dict[str, str]] = {
    "users": {"canvas_id": "canvas_user_id", "email": "email", "first_name": "first_name", "last_name": "last_name",
              "name": "full_name", "sortable_name": "sortable_name", "login_id": "login_id", "workflow_state": "status"},
    "pseudonyms": {"canvas_id": "canvas_pseudonym_id", "canvas_user_id": "canvas_user_id", "sis_id": "user_id",
                   "unique_id": "unique_id", "workflow_state": "status"},
    "courses": {"canvas_id": "canvas_course_id", "sis_id": "course_id", "course_code": "short_name", "name": "long_name",
                "workflow_state": "status", "canvas_account_id": "canvas_account_id", "canvas_term_id": "canvas_term_id",
                "start_at": "start_date", "end_at": "end_date"},
    "sections": {"canvas_id": "canvas_section_id", "sis_id": "section_id", "canvas_course_id": "canvas_course_id",
                 "name": "name", "workflow_state": "status"},
    "enrollments": {"canvas_id": "canvas_enrollment_id", "canvas_course_id": "canvas_course_id", "course_sis_id": "course_id",
                    "canvas_user_id": "canvas_user_id", "user_sis_id": "user_id", "role": "role", "canvas_role_id": "role_id",
                    "canvas_section_id": "canvas_section_id", "workflow_state": "status", "base_role_type": "base_role_type"},
    "assignments": {"canvas_id": "canvas_assignment_id", "title": "title", "description": "description", "due_at": "due_at",
                    "points_possible": "points_possible", "workflow_state": "workflow_state",
                    "canvas_context_id": "canvas_context_id", "canvas_context_type": "canvas_context_type"},
    "submissions": {"canvas_id": "submission id", "canvas_course_id": "canvas course id", "canvas_user_id": "canvas user id",
                    "canvas_assignment_id": "assignment id", "submitted_at": "submission date", "graded_at": "graded date",
                    "due_at": "due at", "score": "score", "points_possible": "points possible", "excused": "excused",
                    "workflow_state": "workflow state"},
}  # fmt: skip
MAKERS = {**tables.PROPRIETARY, "assignments": tables.assignments, "submissions": tables.submissions}
TIMES = {"start_at", "end_at", "due_at", "submitted_at", "graded_at"}

Row = dict[str, Any]


def expected(canvas: SimulatedCanvas, model: str) -> dict[int, Row]:
    """What the table should hold: all terms together, one row per key."""
    frame = MAKERS[model](canvas.university, Question())
    if model in {"courses", "sections", "enrollments", "assignments", "submissions"}:
        live = canvas.university.terms.filter(pl.col("state") != "deleted").get_column("id")
        frame = pl.concat([MAKERS[model](canvas.university, Question(int(term))) for term in live])
    rows = frame.to_dicts()
    if model == "users":
        # The first login with a SIS id speaks for its user, else the last one.
        firsts: dict[int, Row] = {}
        for row in frame.to_dicts():
            held = firsts.get(row["canvas_user_id"])
            if held is None or held["user_id"] is None:
                firsts[row["canvas_user_id"]] = row
        rows = list(firsts.values())
    mapping = COLUMNS[model]
    found = ({name: _plain(name, row[header]) for name, header in mapping.items()} for row in rows)
    return {row["canvas_id"]: row for row in found}


def actual(database_url: str, model: str, schema: str = "canvas") -> dict[int, Row]:
    """What the table holds."""
    names = list(COLUMNS[model])
    query = sql.SQL("select {} from {}").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(schema, model)
    )
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(query).fetchall()
    found = ({name: _plain(name, value) for name, value in zip(names, row, strict=True)} for row in rows)
    return {row["canvas_id"]: row for row in found}


def _plain(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in TIMES:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.astimezone(UTC)
    if isinstance(value, (float, Decimal)):
        return Decimal(str(value)).normalize()
    if name.endswith("_id") and name not in {"sis_id", "course_sis_id", "user_sis_id", "login_id", "unique_id"}:
        return int(value)
    return value


def sync_everything(session: Session, options: SyncOptions = FULL) -> dict[tuple[str, str], ModelOutcome]:
    """Syncs all models of all terms, as the jobs do."""
    outcomes: dict[tuple[str, str], ModelOutcome] = {}
    for model in rest_models(BUILT_IN):
        outcomes[model.name, ""] = sync_list(session, model, run_id="test").models[0]
    for group in report_groups(BUILT_IN):
        for scope in live_term_ids(session) if group.term_scoped else [""]:
            names = {model.name for model in group.models}
            outcome = sync_report(session, group, names, scope, options, tell=lambda _: None)
            outcomes |= {(each.model.name, scope): each for each in outcome.models}
    return outcomes


def assert_true(canvas: SimulatedCanvas, database_url: str) -> None:
    """Says that all tables hold what Canvas has."""
    for model in COLUMNS:
        want, have = expected(canvas, model), actual(database_url, model)
        assert have == {**have, **want}, model
        assert set(have) >= set(want), model
