"""Parameters of built-in reports: each is a report of its own, and what it does not list is not taken for missing."""

from __future__ import annotations

from typing import Any

import psycopg

from canvas_sync_dagster.canvas.reports import ReportDriver
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.report_request import plan_request, report_groups, requested
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.state.ledger import ReportLedger
from tests.fix_canvas import Sessions

GROUP = next(group for group in report_groups(BUILT_IN) if group.name == "provisioning")
BY_SIS = {"users": {"created_by_sis": True}}


def sync(session: Session, options: SyncOptions | None = None, *names: str) -> list[SyncOutcome]:
    options = options or SyncOptions()
    reports = requested([(GROUP, names or ("users",))], options.over(session.tenant).params)
    return [sync_report(Flow.of(session, options), part, chosen) for part, chosen in reports]


def asked(canvas: SimulatedCanvas) -> list[dict[str, Any]]:
    return [report.parameters for report in canvas.queue.reports.values()]


def suspects(session: Session) -> int:
    with psycopg.connect(session.database_url) as connection:
        row = connection.execute("select count(*) from canvas.users where missing_since is not null").fetchone()
    return int(row[0]) if row else -1


def test_models_with_parameters_of_their_own_are_a_report_of_their_own(
    canvas: SimulatedCanvas, sessions: Sessions
) -> None:
    outcomes = sync(sessions(params=BY_SIS), None, "users", "pseudonyms", "groups")
    assert [[each.model.name for each in outcome.models] for outcome in outcomes] == [
        ["users"],
        ["pseudonyms", "groups"],
    ]
    first, second = asked(canvas)
    assert first == {"users": "true", "include_deleted": "true", "created_by_sis": "true"}
    assert second == {"pseudonyms": "true", "groups": "true", "include_deleted": "true"}


def test_a_report_with_parameters_marks_nothing_as_missing_and_the_next_one_without_is_full(
    canvas: SimulatedCanvas, sessions: Sessions
) -> None:
    plain, narrow = sessions(), sessions(params=BY_SIS)
    (first,) = sync(plain)
    total = first.models[0].counts.rows_in_report
    canvas.advance(hours=1)
    (narrowed,) = sync(narrow)
    assert narrowed.decision.mode == "full"
    assert 0 < narrowed.models[0].counts.rows_in_report < total
    assert suspects(plain) == 0
    canvas.advance(hours=1)
    (again,) = sync(narrow)
    assert again.decision.mode == "incremental"
    canvas.advance(hours=1)
    (back,) = sync(plain)
    assert (back.decision.mode, back.models[0].counts.rows_in_report) == ("full", total)
    (after,) = sync(plain)
    assert after.decision.mode == "incremental"


def test_the_parameters_of_a_run_replace_those_of_the_settings(canvas: SimulatedCanvas, sessions: Sessions) -> None:
    session = sessions(params={"users": {"created_by_sis": True, "enrollment_states": ["active", "completed"]}})
    sync(session, SyncOptions(params={"users": {"created_by_sis": None, "extra": {"a": 1}}}))
    (parameters,) = asked(canvas)
    assert parameters == {
        "users": "true",
        "include_deleted": "true",
        "enrollment_states": ["active", "completed"],
        "extra": {"a": "1"},
    }


def test_a_lost_answer_of_a_report_with_lists_is_found_in_the_index(
    canvas: SimulatedCanvas, sessions: Sessions
) -> None:
    canvas.faults.add("lost_answer")
    sync(sessions(params={"users": {"states": ["a", "b"], "range": {"from": 1}}}))
    assert len(asked(canvas)) == 1


def test_an_unfinished_report_is_taken_up_only_with_the_same_parameters(
    canvas: SimulatedCanvas, sessions: Sessions
) -> None:
    for params in ({}, {"users": {"x": ["1"]}}, {"users": {"x": ["2"]}}, {"users": {"x": ["2"]}}):
        session = sessions(params=params)
        ((part, names),) = requested([(GROUP, ("users",))], session.tenant.params)
        request = plan_request(part, names, canvas.queue.available, "auto")
        ledger = ReportLedger(session.database_url, session.schema, session.canvas.account_id)
        ReportDriver(session.canvas, ledger, SyncOptions().over(session.tenant).limits).order(
            request.report, request.parameters("", None)
        )
    assert [each.get("x") for each in asked(canvas)] == [None, ["1"], ["2"]]
