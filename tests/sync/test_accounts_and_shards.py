"""A tenant that is a sub-account, and ids that name a shard."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.event import read_event
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.object_requests import Verdict, ask
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.state.inbox import store
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.fix_canvas import Sessions


def rows(session: Session, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(session.database_url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


@pytest.mark.parametrize(("account", "root"), [("self", "self"), ("1", "1"), ("3", "1"), ("sis_account_id:sci", "1")])
def test_the_root_account_is_asked_of_canvas_once(canvas: SimulatedCanvas, account: str, root: str) -> None:
    with Canvas(canvas.base_url, canvas.token, account_id=account) as client:
        paths = {client.url("/accounts/{root_account_id}/terms").path for _ in range(3)}
    assert paths == {f"/api/v1/accounts/{root}/terms"}
    assert len(canvas.requests) == (0 if account == "self" else 1)


def test_a_tenant_that_is_a_sub_account_reads_terms_and_enrollments_from_its_root(
    canvas: SimulatedCanvas, sessions: Sessions
) -> None:
    session = sessions(account_id="3")
    terms = session.by_name["terms"]
    assert sync_list(Flow.of(session, SyncOptions()), terms).models[0].counts.inserted == 5
    group = next(group for group in report_groups(BUILT_IN) if group.name == "provisioning_term")
    wanted = {"courses", "sections", "enrollments"}
    sync_report(Flow.of(session, SyncOptions(mode="full"), "118"), group, wanted)
    rubrics = next(group for group in report_groups(BUILT_IN) if group.name == "rubrics")
    outcome = sync_report(Flow.of(session, SyncOptions()), rubrics, {"rubrics"})
    assert not outcome.models
    assert "on this account" in outcome.skipped["rubrics"]
    (answer,) = ask(session, terms, [{"canvas_id": 118}])
    assert answer.verdict is Verdict.FOUND
    (answer,) = ask(session, session.by_name["enrollments"], [{"canvas_id": 4_000_002}])
    assert answer.verdict is Verdict.FOUND


@pytest.mark.parametrize("metadata", [{}, {"root_account_id": 1}, {"root_account_id": None}])
def test_events_that_name_no_root_account_are_reduced_by_the_shard_of_the_settings(
    canvas: SimulatedCanvas, sessions: Sessions, metadata: dict[str, object]
) -> None:
    session = sessions(shard=7)
    given = event("course_updated", {"course_id": global_id(2003), "name": "x"}, canvas.now + timedelta(hours=1))
    del given["metadata"]["root_account_id"]
    given["metadata"] |= metadata
    with session.transaction("storing") as connection:
        ensure_partitions(Warehouse(connection, session.schema))
        store(Warehouse(connection, session.schema), [read_event(given, canvas.now + timedelta(hours=2))])
    assert drain(session).events == {"applied": 1}
    assert rows(session, "select canvas_id from canvas.courses") == [(2003,)]
    assert [each.path for each in canvas.requests if "courses" in each.path] == ["/api/v1/courses/2003"]
