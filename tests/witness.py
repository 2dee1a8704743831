"""What every table should hold, column by column, told by the simulated university and not by the catalogue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
import psycopg.rows
from psycopg import sql

from canvas_sync_dagster.simulator import SimulatedCanvas, University
from canvas_sync_dagster.simulator.http_api import rest_lists
from canvas_sync_dagster.simulator.report_tables.offered_reports import PROPRIETARY, SINGLE
from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery
from canvas_sync_dagster.simulator.university.learning_outcomes import outcomes
from canvas_sync_dagster.sync.session import Session
from tests.truth import COLUMNS, ONE_TO_ONE

Row = dict[str, Any]
Key = tuple[Any, ...]

REPORTS: dict[str, Callable[[University, ReportQuery], pl.DataFrame]] = {
    **{name: PROPRIETARY[name] for name in ("users", "pseudonyms", "courses", "sections", "enrollments", "groups")},
    **{name: PROPRIETARY[name] for name in ("group_categories", "user_observers")},
    **{name: PROPRIETARY[name] for name in ("grading_periods", "grading_period_groups")},
    "group_memberships": PROPRIETARY["group_membership"],
    "assignments": SINGLE["proserv_assignment_export_csv"],
    "submissions": SINGLE["proserv_student_submissions_csv"],
    "course_progresses": SINGLE["proserv_course_completion_csv"],
    **{model: SINGLE[report] for report, (model, _) in ONE_TO_ONE.items()},
}
RENAMED: dict[str, dict[str, str]] = {
    **{model: {key: "canvas_id"} for model, key in ONE_TO_ONE.values()},
    **{model: {header: name for name, header in mapping.items()} for model, mapping in COLUMNS.items()},
    "groups": {"canvas_group_id": "canvas_id", "group_id": "sis_id", "group_category_id": "group_category_sis_id",
               "status": "workflow_state"},
    "group_categories": {"canvas_group_category_id": "canvas_id", "group_category_id": "sis_id", "status": "workflow_state"},
    "group_memberships": {"canvas_group_membership_id": "canvas_id", "group_id": "group_sis_id", "user_id": "user_sis_id",
                          "status": "workflow_state"},
    "user_observers": {"canvas_observer_id": "observing_user_id", "canvas_student_id": "observed_user_id",
                       "status": "workflow_state"},
    "grading_periods": {"canvas_grading_period_id": "canvas_id"},
    "grading_period_groups": {"canvas_grading_period_group_id": "canvas_id"},
}  # fmt: skip
RENAMED["assignment_groups"] |= {"created_at": "canvas_created_at", "updated_at": "canvas_updated_at"}
RENAMED["sections"] |= {"start_date": "start_at", "end_date": "end_at"}
"""Header → column, where they differ."""
TERM_SCOPED = {"courses", "sections", "enrollments", "assignments", "submissions", "course_progresses", "assignment_groups",
               "assignment_overrides", "scores", "context_modules", "context_module_items"}  # fmt: skip
SYSTEM = {"created_at", "updated_at", "observed_at", "missing_since", "row_hash"}
GONE = {"deleted", "inactive"}


def told(u: University) -> Iterator[tuple[str, list[Row]]]:
    """Yields each model with the rows that Canvas lists of it, under the names of the columns."""
    live_terms = u.terms.filter(pl.col("state") != "deleted").get_column("id").to_list()
    for model, make in REPORTS.items():
        frames = [make(u, ReportQuery(term)) for term in (live_terms if model in TERM_SCOPED else [None])]
        rows = [row for frame in frames for row in frame.to_dicts()]
        names = RENAMED.get(model, {})
        # A header that gives its name to another column must not fill the one that is called like it.
        yield (
            model,
            [{names.get(header, header): value for header, value in row.items()} | _user(model, row) for row in rows],
        )
    yield from _listed(u, live_terms)


def _user(model: str, row: Row) -> Row:
    return {"_sis": row["user_id"]} if model == "users" else {}


def _listed(u: University, live_terms: list[int]) -> Iterator[tuple[str, list[Row]]]:
    accounts = u.accounts.filter(pl.col("state") != "deleted").rename({"id": "canvas_id", "state": "workflow_state"})
    yield "accounts", accounts.rename({"parent_id": "canvas_parent_account_id"}).drop("updated_at").to_dicts()
    yield "terms", u.terms.rename({"id": "canvas_id", "state": "workflow_state"}).drop("updated_at").to_dicts()
    ids = accounts.get_column("canvas_id").to_list()
    yield (
        "roles",
        [_plain(each) | {"canvas_account_id": account} for account in ids for each in rest_lists.roles(u, account)],
    )
    yield "admins", [
        _plain(each) | {"canvas_account_id": account, "role_name": each["role"], "canvas_role_id": each["role_id"],
                        "canvas_user_id": _within(each, "user", "id")}
        for account in ids for each in rest_lists.admins(u, account)
    ]  # fmt: skip
    yield "learning_outcomes", [
        _plain(each) | {"canvas_context_id": each["context_id"], "canvas_context_type": each["context_type"]}
        for account in ids for each in outcomes(account)
    ]  # fmt: skip
    yield "learning_outcome_results", [
        _plain(each) | {"canvas_course_id": course, "canvas_user_id": _within(each, "links", "user"),
                        "alignment": _within(each, "links", "alignment"),
                        "canvas_learning_outcome_id": _within(each, "links", "learning_outcome")}
        for course in u.courses.filter((pl.col("state") != "deleted") & pl.col("term_id").is_in(live_terms)).get_column("id")
        for each in rest_lists.outcome_results(u, course)
    ]  # fmt: skip
    yield (
        "course_nicknames",
        [each | {"canvas_user_id": 1001, "canvas_course_id": each["course_id"]} for each in rest_lists.nicknames(u)],
    )


def _plain(body: Mapping[str, Any]) -> Row:
    return {**body, "canvas_id": body["id"]}


def _within(body: Mapping[str, Any], outer: str, inner: str) -> Any:
    return body[outer][inner]


def assert_whole_truth(canvas: SimulatedCanvas, session: Session) -> None:
    """Says of every table that it holds what Canvas lists, in every column, and marks whatever else it holds."""
    seen = set()
    for name, rows in told(canvas.university):
        seen.add(name)
        model = session.by_name[name]
        columns = [column.name for column in model.columns]
        with psycopg.connect(session.database_url, row_factory=psycopg.rows.dict_row) as connection:
            query = sql.SQL("select * from {}").format(sql.Identifier(session.schema, name))
            have = {tuple(row[each] for each in model.key): row for row in connection.execute(query).fetchall()}
        want: dict[Key, list[Row]] = defaultdict(list)
        for row in rows:
            want[tuple(int(row[each]) for each in model.key)].append(row)
        assert set(want) <= set(have), (name, "lacks", set(want) - set(have))
        for key, candidates in want.items():
            row = _chosen(name, candidates)
            wrong = [each for each in columns if not _same(have[key][each], _expected(canvas, name, row, each))]
            assert not wrong, (name, key, wrong, have[key], row)
            assert have[key]["missing_since"] is None, (name, key, "is a suspect")
        for key in set(have) - set(want):
            row = have[key]
            assert row["missing_since"] or row.get("workflow_state") in GONE, (name, key, "is not marked", row)
    assert seen == set(session.by_name)


def _chosen(model: str, candidates: list[Row]) -> Row:
    """Of a user's logins the first with a SIS id speaks, else the last one."""
    with_sis = [row for row in candidates if model == "users" and row["_sis"] is not None]
    return with_sis[0] if with_sis else candidates[-1]


def _expected(canvas: SimulatedCanvas, model: str, row: Row, column: str) -> Any:
    if (model, column) == ("sections", "canvas_nonxlist_course_id"):
        homes = canvas.university.sections.filter(pl.col("id") == row["canvas_id"])
        return homes.get_column("nonxlist_course_id")[0]
    # What neither report nor list tells is null, however a source may know of it: a full report has the last word.
    return row.get(column)


def _same(stored: Any, told: Any) -> bool:
    match stored:
        case None:
            return told is None or told == ""
        case bool():
            return told is not None and str(told).lower() == str(stored).lower()
        case datetime():
            return told is not None and stored == (told if isinstance(told, datetime) else datetime.fromisoformat(told))
        case list():
            return "{" + ",".join(map(str, stored)) + "}" == told
        case Decimal() | int():
            return told is not None and Decimal(str(told)) == Decimal(str(stored))
        case str():
            return told is not None and str(told) == stored
        case _:
            return bool(stored == told)
