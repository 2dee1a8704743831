"""The sensors of many tenants: what a tick cannot finish becomes a run, and a tenant in trouble delays no other one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.assets.tenant_assets import tenant_assets
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.live_events.event import read_event
from canvas_sync_dagster.resources import CodeLocation
from canvas_sync_dagster.sensors import live_events
from canvas_sync_dagster.sensors.batches import BatchSensor, TenantSync
from canvas_sync_dagster.sensors.live_events import InboxSensor
from canvas_sync_dagster.sensors.tenant_tasks import TaskLimits
from canvas_sync_dagster.sensors.watched_tenants import WatchedTenants
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.state.inbox import replay, store
from canvas_sync_dagster.warehouse.state.many_schemas import inbox_positions, schemas_at_work
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.fix_canvas import tenant_of

MODELS = tuple(model for model in BUILT_IN if model.name in {"groups", "group_memberships"})
PATIENT = TaskLimits(threads=4, wait_seconds=60.0, slow_seconds=60.0, retry_seconds=0.0)
CONNECT_SECONDS = 2


@pytest.fixture
def tenants(canvas: SimulatedCanvas, database_url: str) -> list[TenantSettings]:
    """Two tenants in one database."""
    for slug in ("one", "two"):
        migrate(database_url, slug, MODELS)
    models = ",".join(model.name for model in MODELS)
    return [tenant_of(canvas, database_url, slug=slug, models=models) for slug in ("one", "two")]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a server that accepts connections and never answers, like a database that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def location_of(tenants: list[TenantSettings], home: Path) -> CodeLocation:
    return CodeLocation(CanvasSync(Settings(home=home, tenants=tuple(tenants))).project())


def inboxes_of(location: CodeLocation, limits: TaskLimits = PATIENT) -> InboxSensor:
    settings = location.project.settings
    keys = {tenant.slug: tenant_assets(location.project, tenant).keys for tenant in settings.tenants}
    connections = KeptConnections(connect_seconds=CONNECT_SECONDS)
    return InboxSensor(WatchedTenants(lambda: settings), keys, location.session, limits, connections)


def put(canvas: SimulatedCanvas, url: str, schema: str, number: int = 1) -> None:
    """Store an event whose body suffices."""
    body = {"group_id": global_id(1), "user_id": global_id(number), "group_membership_id": global_id(number),
            "group_name": "Team", "workflow_state": "accepted"}  # fmt: skip
    made = event("group_membership_created", body, canvas.now)
    with connect(url) as connection:
        store(Warehouse(connection, schema), [read_event(made, canvas.now + timedelta(days=1))])


def states(url: str, schema: str) -> list[Any]:
    query = sql.SQL("select state from {} order by id").format(sql.Identifier(schema, "canvas_sync_live_events"))
    with psycopg.connect(url) as connection:
        return [state for (state,) in connection.execute(query).fetchall()]


def test_what_takes_longer_than_a_turn_becomes_one_run(
    canvas: SimulatedCanvas,
    tenants: list[TenantSettings],
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inboxes = inboxes_of(location_of(tenants, tmp_path))
    put(canvas, database_url, "one")
    monkeypatch.setattr(live_events, "BACKLOG", 0)
    report = inboxes.tick()
    assert [(each.job_name, each.tags["canvas_sync/tenant"]) for each in report.requests] == [
        ("one__live_events", "one")
    ]
    assert report.text() == "one: 1 events are waiting; a run drains them"
    assert states(database_url, "one") == ["pending"]
    monkeypatch.undo()
    report = inboxes.tick()
    assert (report.text(), report.requests) == ("one: 1 applied", [])
    assert [event.asset_key for event in report.events] == [dg.AssetKey(["one", "group_memberships"])]
    assert inboxes.tick().text() == "no events are waiting"


def test_a_database_that_hangs_or_refuses_delays_nobody(
    canvas: SimulatedCanvas, tenants: list[TenantSettings], database_url: str, tmp_path: Path, silent_port: int
) -> None:
    hanging = SecretStr(f"postgresql://loader:secret@127.0.0.1:{silent_port}/school")
    refusing = SecretStr(database_url.replace("canvas_sync@", "stranger:secret@"))
    assert refusing.get_secret_value() != database_url
    trouble = [
        tenants[0].model_copy(update={"slug": "hangs", "database_url": hanging}),
        tenants[0].model_copy(update={"slug": "refuses", "database_url": refusing}),
    ]
    paused = tenants[0].model_copy(update={"slug": "paused", "enabled": False})
    location = location_of([*trouble, paused, *tenants], tmp_path)
    inboxes = inboxes_of(location, TaskLimits(threads=4, wait_seconds=60.0, slow_seconds=60.0))
    for slug in ("one", "two"):
        put(canvas, database_url, slug)
    report = inboxes.tick()
    assert [states(database_url, slug) for slug in ("one", "two")] == [["applied"], ["applied"]]
    assert report.done == {"one": "1 applied", "two": "1 applied"}
    assert set(report.problems) == {"database of hangs", "database of refuses"}
    assert "secret" not in report.text()
    assert "paused is paused by its setting enabled: false" in report.text()
    # Neither is asked again so soon, and both are still named.
    put(canvas, database_url, "one", 2)
    report = inboxes.tick()
    assert report.done == {"one": "1 applied"}
    assert set(report.problems) == {"database of hangs", "database of refuses"}

    syncs = {
        each.slug: TenantSync(each, lambda genre, slug=each.slug: location.batches(slug, genre))  # type: ignore[misc]
        for each in tenants
    }
    for each in trouble:
        syncs[each.slug] = TenantSync(each, lambda genre, slug=each.slug: location.batches(slug, genre))  # type: ignore[misc]
    connections = KeptConnections(connect_seconds=CONNECT_SECONDS)
    batches = BatchSensor(
        WatchedTenants(lambda: location.project.settings), syncs, limits=PATIENT, connections=connections
    )
    assert location.batches("two").open("two:default:now", {"trigger": "schedule"})
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        report = batches.tick(dg.build_sensor_context(instance=instance))
    assert report.done == {"two": "default:now: its root run is awaited"}
    assert set(report.problems) == {"database of hangs", "database of refuses"}


def test_one_query_sees_which_schemas_have_work(
    canvas: SimulatedCanvas, tenants: list[TenantSettings], database_url: str
) -> None:
    schemas = ["one", "two", "not there yet"]

    def looked() -> tuple[dict[str, int | None], set[str]]:
        with connect(database_url) as connection:
            return inbox_positions(connection, schemas), schemas_at_work(connection, schemas)

    assert looked() == ({"one": 0, "two": 0}, set())
    put(canvas, database_url, "two")
    assert looked()[0] == {"one": 0, "two": 1}
    with connect(database_url) as connection:
        connection.execute("insert into two.canvas_sync_job_logs (job_class, status) values ('users_csv', 'running')")
        replay(Warehouse(connection, "one"))
    assert looked() == ({"one": 1, "two": 1}, {"two"})
