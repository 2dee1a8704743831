"""Histories of a tenant: syncs, live events and single reads of a simulated Canvas, and the erasure of a person."""

from __future__ import annotations

from typing import Any

import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.erase import erase_user
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from tests.fix_canvas import Sessions
from tests.live_events.test_drain import put_and_drain
from tests.truth import sync_structure

ENROLLMENT = 4_000_002


def fetch(session: Session, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(session.database_url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_tenant_keeps_its_history_until_the_person_is_erased(canvas: SimulatedCanvas, sessions: Sessions) -> None:
    history = ["enrollments", "users"]
    session = sessions(declared=TenantSettings(history=history).chosen(BUILT_IN), history=history)
    with pytest.raises(SchemaError, match=r"lacks users_history\. Run `canvas-sync migrate`"):
        sync_structure(session)
    migrate(session.database_url, session.schema, session.models)
    sync_structure(session)
    before = fetch(session, "select canvas_id, workflow_state from canvas.enrollments order by 1")
    ((loaded,),) = fetch(session, "select now()")
    canvas.take_events()
    canvas.advance(hours=1)
    canvas.university.set("enrollments", pl.col("id") == ENROLLMENT, state="completed")
    canvas.university.set("users", pl.col("id") == 1002, last_name="Formerly")
    put_and_drain(session, canvas.take_events(), canvas)
    canvas.university.set("enrollments", pl.col("id") == ENROLLMENT, state="active")
    canvas.university.set("users", pl.col("id") == 1002, last_name="Married")
    sync_structure(session)
    states = fetch(session, f"select workflow_state, source from canvas.enrollments_history where canvas_id = {ENROLLMENT} "
                            "order by valid_to, valid_from")  # fmt: skip
    assert states[-1] == ("concluded", "report") and states[0][1] in {"event", "rest"}
    assert fetch(session, "select count(*) from canvas.users_history where name like '%Formerly'") == [(1,)]
    as_of = f"select canvas_id, workflow_state from canvas.enrollments_as_of('{loaded}') order by 1"
    assert fetch(session, as_of) == before
    assert erase_user(session.database_url, session.schema, session.models, 1002).removed["users_history"] == 2
    for table in ("users", "users_history"):
        assert fetch(
            session, f"select count(*) from canvas.{table} where canvas_id = 1002 or name like '%Formerly'"
        ) == [(0,)]
    for table in ("enrollments", "enrollments_history"):
        assert fetch(session, f"select count(*) from canvas.{table} where canvas_user_id = 1002") == [(0,)]
