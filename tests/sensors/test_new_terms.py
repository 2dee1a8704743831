"""Terms are partitions before they are synced, and a new one is synced without waiting for the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import psycopg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.orchestration import term_watch
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.state.report_waits import ReportWait, write_wait
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.fix_canvas import tenant_of
from tests.ticking import Ticking

WORKSPACE = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="canvas_sync_dagster.definitions"))
TERMS = "canvas_terms__canvas"
TERM_ASSETS = [dg.AssetKey(["canvas", name]) for name in ("courses", "sections")]


@pytest.fixture
def ticking(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ticking]:
    # Each tick reads the terms.
    monkeypatch.setattr(term_watch, "EVERY", 0.0)
    monkeypatch.setattr(term_watch, "WAIT", 60.0)
    tenant = tenant_of(
        canvas, database_url, models="terms,courses,sections", term_scope="1,118,119", schedule="0 0 1 1 *"
    )
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Ticking(CanvasSync(Settings(home=tmp_path, tenants=(tenant,))), instance)


def missing(instance: dg.DagsterInstance) -> set[str]:
    """The partitions that at least one term asset lacks, as the lineage counts them."""
    registered = set(instance.get_dynamic_partitions(TERMS))
    return {term for key in TERM_ASSETS for term in registered - set(instance.get_materialized_partitions(key))}


def switch(instance: dg.DagsterInstance, status: InstigatorStatus) -> None:
    """Starts or stops the schedule, as a person does in the UI."""
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(WORKSPACE, "__repository__"), "canvas__sync")
    state = InstigatorState(origin, InstigatorType.SCHEDULE, status, ScheduleInstigatorData("0 0 1 1 *"))
    known = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    (instance.update_instigator_state if known else instance.add_instigator_state)(state)


def test_the_lineage_is_grey_before_the_first_sync_and_a_new_term_is_synced_at_once(
    ticking: Ticking, canvas: SimulatedCanvas, database_url: str
) -> None:
    instance = ticking.instance
    assert ticking.sensor() == []
    # Not 116 and 117, which are out of scope and have no rows here.
    assert instance.get_dynamic_partitions(TERMS) == ["1", "118"]
    assert missing(instance) == {"1", "118"}

    root = ticking.schedule("canvas__sync")
    assert root is not None
    ticking.run("canvas__sync_root", root)
    for request in ticking.sensor():
        assert ticking.run("canvas__sync_term", request).success
    assert ticking.sensor() == []
    assert instance.get_dynamic_partitions(TERMS) == ["1", "118"]
    assert missing(instance) == set()

    newest = canvas.university.terms.filter(pl.col("id") == 118)
    canvas.university.terms = pl.concat([canvas.university.terms, newest.with_columns(id=pl.lit(119, pl.Int64))])
    # While the schedule is not running, a new term becomes a partition, and nothing is launched.
    assert ticking.sensor() == []
    switch(instance, InstigatorStatus.STOPPED)
    assert ticking.sensor() == []
    assert missing(instance) == {"119"}

    switch(instance, InstigatorStatus.RUNNING)
    (first,) = ticking.sensor()
    assert first.job_name == "canvas__sync_root"
    assert first.asset_selection == [dg.AssetKey(["canvas", "terms"])]
    # Neither the schedule nor a further tick starts the same again.
    assert ticking.schedule("canvas__sync", 6) is None
    assert ticking.sensor() == []
    assert ticking.run("canvas__sync_root", first).success
    (term,) = ticking.sensor()
    assert (term.job_name, term.partition_key) == ("canvas__sync_term", "119")
    result = ticking.run("canvas__sync_term", term)
    modes = {event.materialization.metadata["mode"].value for event in result.get_asset_materialization_events()}
    assert modes == {"full"}
    assert ticking.sensor() == []
    assert missing(instance) == set()
    with psycopg.connect(database_url) as connection:
        query = (
            "select status, metadata->>'trigger', metadata->'terms' from canvas.canvas_sync_sync_batches order by id"
        )
        assert connection.execute(query).fetchall() == [
            ("completed", "schedule", ["1", "118"]),
            ("completed", "new terms", ["119"]),
        ]
    # Live events that wait for a report of term 118 cause one sync of it, before its time.
    with connect(database_url) as connection:
        now = datetime.now(UTC)
        wait = ReportWait("courses", now, now + timedelta(hours=2), now + timedelta(hours=4), ("118",))
        write_wait(Warehouse(connection, "canvas"), wait)
    (early,) = ticking.sensor()
    assert (early.job_name, early.asset_selection) == ("canvas__sync_root", [dg.AssetKey(["canvas", "terms"])])
    assert ticking.run("canvas__sync_root", early).success
    (term,) = ticking.sensor()
    assert (term.job_name, term.partition_key) == ("canvas__sync_term", "118")
    assert ticking.run("canvas__sync_term", term).success
    assert (ticking.sensor(), ticking.sensor()) == ([], [])
    # The next scheduled batch covers the scope as before.
    again = ticking.schedule("canvas__sync", 9)
    assert again is not None
    ticking.run("canvas__sync_root", again)
    assert [request.partition_key for request in ticking.sensor()] == ["1", "118", "119"]
