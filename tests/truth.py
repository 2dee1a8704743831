"""Compares the tables with the simulated Canvas, row by row, by a mapping written down here and not in the catalogue."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
import psycopg.rows
from psycopg import sql

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.simulator.report_tables.offered_reports import PROPRIETARY, SINGLE
from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.model_sync import sync_models
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import ModelOutcome
from canvas_sync_dagster.sync.report_request import report_groups, rest_models
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.terms import read_terms

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
ONE_TO_ONE = {
    "proserv_assignment_group_export_csv": ("assignment_groups", "canvas_assignment_group_id"),
    "proserv_assignment_overrides_csv": ("assignment_overrides", "canvas_assignment_override_id"),
    "proserv_scores_csv": ("scores", "canvas_score_id"),
    "proserv_context_modules_csv": ("context_modules", "canvas_context_module_id"),
    "proserv_context_module_items_csv": ("context_module_items", "canvas_context_module_item_id"),
    "proserv_content_migrations_csv": ("content_migrations", "canvas_content_migration_id"),
    "rubrics_csv": ("rubrics", "canvas_rubric_id"),
    "rubric_associations_csv": ("rubric_associations", "canvas_rubric_association_id"),
    "rubric_assessments_csv": ("rubric_assessments", "canvas_rubric_assessment_id"),
}
"""Reports whose headers are the columns' own names, but for the key: report → model, header of the key."""
SYSTEM = {"created_at", "updated_at"}
MAKERS = {
    **PROPRIETARY,
    "assignments": SINGLE["proserv_assignment_export_csv"],
    "submissions": SINGLE["proserv_student_submissions_csv"],
}
TIMES = {"start_at", "end_at", "due_at", "submitted_at", "graded_at"}

Row = dict[str, Any]


def live_term_ids(session: Session) -> list[str]:
    """The ids of the terms that Canvas lists and has not deleted."""
    with session.warehouse("reading terms") as warehouse:
        terms = read_terms(warehouse.table(warehouse.models["terms"]))
    return [term.id for term in terms if not term.deleted and not term.missing]


def expected(canvas: SimulatedCanvas, model: str) -> dict[int, Row]:
    """What the table should hold: all terms together, one row per key."""
    frame = MAKERS[model](canvas.university, ReportQuery())
    if model in {"courses", "sections", "enrollments", "assignments", "submissions"}:
        live = canvas.university.terms.filter(pl.col("state") != "deleted").get_column("id")
        frame = pl.concat([MAKERS[model](canvas.university, ReportQuery(int(term))) for term in live])
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


def assert_one_to_one(canvas: SimulatedCanvas, database_url: str, schema: str = "canvas") -> None:
    """Says that the tables hold what the reports with columns of their own names hold, of all terms together."""
    live = canvas.university.terms.filter(pl.col("state") != "deleted").get_column("id").to_list()
    for report, (model, key) in ONE_TO_ONE.items():
        scoped = next(each for each in BUILT_IN if each.name == model).term_scoped
        frames = [SINGLE[report](canvas.university, ReportQuery(term)) for term in (live if scoped else [None])]
        frame = pl.concat(frames).rename({key: "canvas_id"})
        with psycopg.connect(database_url, row_factory=psycopg.rows.dict_row) as connection:
            query = sql.SQL("select * from {} where missing_since is null").format(sql.Identifier(schema, model))
            have = {row["canvas_id"]: row for row in connection.execute(query).fetchall()}
        for row in frame.to_dicts():
            shared = {
                name: value for name, value in row.items() if name in have[row["canvas_id"]] and name not in SYSTEM
            }
            told = have[row["canvas_id"]]
            assert len(shared) > 3
            assert {n: _same(told[n], v) for n, v in shared.items()} == dict.fromkeys(shared, True), (model, row, told)
        assert set(have) == set(frame.get_column("canvas_id").to_list()), model


def _same(stored: Any, told: Any) -> bool:
    if stored is None or told is None:
        return stored is told
    if isinstance(stored, datetime):
        return stored == datetime.fromisoformat(told)
    if isinstance(stored, list):
        return "{" + ",".join(map(str, stored)) + "}" == told
    return bool(Decimal(str(stored)) == Decimal(str(told))) if isinstance(stored, Decimal) else bool(stored == told)


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
    for model in rest_models(session.models):
        if not model.term_scoped:
            outcomes[model.name, ""] = sync_list(Flow.of(session, options), model).models[0]
    for group in report_groups(session.models):
        for scope in live_term_ids(session) if group.term_scoped else [""]:
            names = {model.name for model in group.models}
            for outcome in sync_models(Flow.of(session, options, scope), group, names):
                outcomes |= {(each.model.name, scope): each for each in outcome.models}
    for model in rest_models(session.models):
        for scope in live_term_ids(session) if model.term_scoped else []:
            outcomes[model.name, scope] = sync_list(Flow.of(session, options, scope), model).models[0]
    return outcomes


STRUCTURE = ("terms", "accounts", "provisioning", "provisioning_term")


def sync_structure(session: Session) -> None:
    """Syncs terms, accounts and what the provisioning report tells, which is enough for most tests and much quicker."""
    for model in rest_models(session.models):
        if model.name in STRUCTURE:
            sync_list(Flow.of(session, FULL), model)
    for group in report_groups(session.models):
        if group.name in STRUCTURE:
            for scope in live_term_ids(session) if group.term_scoped else [""]:
                sync_report(Flow.of(session, FULL, scope), group, {m.name for m in group.models})


def assert_true(canvas: SimulatedCanvas, database_url: str) -> None:
    """Says that all tables hold what Canvas has."""
    for model in COLUMNS:
        want, have = expected(canvas, model), actual(database_url, model)
        assert have == {**have, **want}, model
        assert set(have) >= set(want), model
    assert_one_to_one(canvas, database_url)
