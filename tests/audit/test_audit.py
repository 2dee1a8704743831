"""Audits of a simulated Canvas: nothing is found in a true copy, and what is wrong is found, named and repaired."""

from __future__ import annotations

import json

import polars as pl
import pytest

from canvas_sync_dagster.audit.comparison import Cause, Kind
from canvas_sync_dagster.audit.result import ModelAudit
from canvas_sync_dagster.audit.run import audit_plans, chosen_models, cost_of, plan_models
from canvas_sync_dagster.errors import CanvasThrottledError, SettingError
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.session import Session
from tests.truth import sync_everything, sync_structure

FED_BY_LISTS_ONLY = {"roles", "admins", "course_nicknames", "learning_outcome_results"}


def audits(
    session: Session, *names: str, sample: int = 400, repair: bool = False, seed: int = 1
) -> dict[str, ModelAudit]:
    plans = plan_models(session, chosen_models(session, names), sample, seed=seed)
    return {each.model: each for each in audit_plans(session, plans, repair=repair)}


def execute(session: Session, statement: str) -> None:
    with session.transaction("changing a table") as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def stored(session: Session) -> list[tuple[str, int, list[dict[str, object]]]]:
    with session.transaction("reading audits") as connection:
        return connection.execute(
            "select model, rows_that_differ + missing_there + missing_here, differences from canvas.canvas_sync_audits "
            "order by id"
        ).fetchall()


def test_nothing_is_found_in_a_true_copy_of_any_model(canvas: SimulatedCanvas, session: Session) -> None:
    sync_everything(session)
    found = audits(session)
    assert {name: each.differences for name, each in found.items() if each.differences} == {}
    assert {each.reason for each in found.values()} == {""}
    assert not FED_BY_LISTS_ONLY & found.keys()
    assert all(each.compared + each.unread == each.rows for each in found.values())
    assert {name for name, each in found.items() if each.missing} == {
        "users",
        "courses",
        "sections",
        "enrollments",
        "group_memberships",
    }
    assert [(model, drift) for model, drift, _ in stored(session)] == [(name, 0) for name in found]


def test_what_is_wrong_is_named_by_key_and_column_and_repaired(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    execute(session, "update canvas.users set name = 'planted', email = 'planted' where canvas_id = 1003")
    execute(session, "insert into canvas.sections (canvas_id, canvas_course_id) values (999, 2003)")
    execute(session, "delete from canvas.enrollments where canvas_id = 4000002")
    # Nothing is different if only the spelling is.
    execute(session, "update canvas.courses set end_at = end_at + interval '0.4 s', sis_id = coalesce(sis_id, '')")
    found = audits(session, "users", "sections", "enrollments", "courses")
    assert [(each.key, each.kind, each.columns) for each in found["users"].differences] == [
        ({"canvas_id": 1003}, Kind.DIFFERS, ("email", "name"))
    ]
    assert found["users"].columns == {"email": 1, "name": 1}
    assert [(each.key, each.kind) for each in found["sections"].differences] == [
        ({"canvas_id": 999}, Kind.MISSING_THERE)
    ]
    assert [(each.key, each.kind, each.cause) for each in found["enrollments"].differences] == [
        ({"canvas_id": 4000002}, Kind.MISSING_HERE, Cause.DRIFT)
    ]
    assert found["courses"].differences == ()
    share = found["enrollments"].missing
    # All lists were read, so the share is exact.
    assert share is not None and share.low == share.value == share.high == 1 / found["enrollments"].looked_up
    assert "planted" not in json.dumps(stored(session))
    repaired = audits(session, "users", "sections", "enrollments", repair=True)
    assert [each.repaired for each in repaired.values()] == [1, 1, 1]
    assert all(each.differences == () for each in audits(session, "users", "enrollments", "sections").values())


def test_a_change_after_the_last_sync_is_lag(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    canvas.advance(hours=1)
    canvas.university.set("enrollments", pl.col("id") == 4000002, state="completed")
    canvas.advance(hours=1)
    found = audits(session, "enrollments")["enrollments"]
    assert [(each.kind, each.cause, each.columns) for each in found.differences] == [
        (Kind.DIFFERS, Cause.LAG, ("workflow_state",))
    ]
    assert (found.drifted, found.wrong and found.wrong.high) == (0, 0.0)
    assert found.lag(0.5) == pytest.approx(3600, abs=60)


def test_rows_that_reports_lose_are_found_missing(canvas: SimulatedCanvas, session: Session) -> None:
    canvas.faults.lose_rows(0.1)
    sync_structure(session)
    found = audits(session)
    for name in ("courses", "sections", "enrollments"):
        assert found[name].missing is not None
        assert found[name].count(Kind.MISSING_HERE) > 0
    assert found["enrollments"].count(Kind.DIFFERS) == 0


def test_a_model_that_the_token_may_not_read_is_named(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    for row in canvas.university.users.to_dicts():
        canvas.faults.always("no_permission", f"/api/v1/users/{row['id']}")
    canvas.faults.always("no_permission", "/api/v1/accounts/self/users")
    found = audits(session, "users")["users"]
    assert found.failed
    assert found.rows_reason.startswith("the token may not read ")
    assert "permission" in found.objects_reason
    assert (found.wrong, found.missing, found.differences) == (None, None, ())


def test_an_audit_ends_while_canvas_throttles_and_stores_nothing(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    session.canvas._retry_seconds = 0.5
    plans = plan_models(session, chosen_models(session, ["sections"]), 20, seed=1)
    assert cost_of(session, plans).requests == plans[0].requests <= 40
    canvas.faults.add("throttled_403", times=1000)
    with pytest.raises(CanvasThrottledError, match="rate limit"):
        list(audit_plans(session, plans))
    assert stored(session) == []


def test_an_unknown_model_is_refused(session: Session) -> None:
    with pytest.raises(SettingError, match=r"model is 'nothing': tenant canvas does not sync such a model\. Allowed: "):
        chosen_models(session, ["nothing"])
