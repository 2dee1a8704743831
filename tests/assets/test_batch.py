"""What a person launches by hand becomes a batch, or says that one is under way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.assets.batch import batch_key
from canvas_sync_dagster.assets.lost import batch_runs
from canvas_sync_dagster.assets.specs import BATCH_TAG, GENRE_TAG, MODE_TAG, TENANT_TAG
from canvas_sync_dagster.errors import SettingError, SyncUnderWayError
from canvas_sync_dagster.resources import CodeLocation, SyncMode, SyncOptionsResource
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.batches import RunState
from tests.fix_canvas import tenant_of

ROOT_JOB = "canvas__sync_root"
WORKSPACE = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="canvas_sync_dagster.definitions"))
ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(WORKSPACE, "__repository__"), ROOT_JOB)
STEPS = {"canvas__terms", "canvas__accounts"}
TAGS = {TENANT_TAG: "canvas", GENRE_TAG: "default"}


@pytest.fixture
def sync(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> CanvasSync:
    tenant = tenant_of(canvas, database_url, models="terms,courses", term_scope="116,118")
    return CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))


@pytest.fixture
def location(sync: CanvasSync) -> CodeLocation:
    return CodeLocation(sync.settings, sync.models, sync.extensions)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


def launched(instance: dg.DagsterInstance, **given: Any) -> dg.DagsterRun:
    """Makes a run as the UI launches it."""
    given = {"tags": TAGS, "status": dg.DagsterRunStatus.STARTED, "step_keys_to_execute": sorted(STEPS)} | given
    run = create_run_for_test(instance, job_name=ROOT_JOB, remote_job_origin=ORIGIN, **given)
    instance.report_engine_event("begins", run)
    return run


def test_the_root_job_launched_by_hand_opens_a_batch_once(
    instance: dg.DagsterInstance, location: CodeLocation, database_url: str
) -> None:
    run = launched(instance)
    key = batch_key(instance, run, STEPS, location, "canvas")
    assert batch_key(instance, run, STEPS, location, "canvas") == key
    assert batch_runs(instance, "canvas", key)[0] is RunState.ACTIVE
    with psycopg.connect(database_url) as connection:
        query = "select status, metadata->>'trigger' from canvas.canvas_sync_sync_batches"
        assert connection.execute(query).fetchall() == [("processing", "launch")]


def test_a_second_one_does_not_start_and_says_so(instance: dg.DagsterInstance, location: CodeLocation) -> None:
    batch_key(instance, launched(instance), STEPS, location, "canvas")
    with pytest.raises(SyncUnderWayError, match=r"canvas \(default\) is under way"):
        batch_key(instance, launched(instance), STEPS, location, "canvas")


def test_a_part_of_the_root_job_and_a_run_of_a_batch_open_none(
    instance: dg.DagsterInstance, location: CodeLocation
) -> None:
    part = launched(instance, asset_selection=frozenset([dg.AssetKey(["canvas", "terms"])]))
    assert batch_key(instance, part, STEPS, location, "canvas") == part.run_id
    step = launched(instance, step_keys_to_execute=["canvas__terms"])
    assert batch_key(instance, step, STEPS, location, "canvas") == step.run_id
    assert batch_key(instance, launched(instance, tags=TAGS | {BATCH_TAG: "one"}), STEPS, location, "canvas") == "one"


def test_what_a_person_asks_of_the_root_run_is_asked_of_the_term_runs_too(
    instance: dg.DagsterInstance, location: CodeLocation, sync: CanvasSync
) -> None:
    definitions = sync.definitions()
    config = {"resources": {"sync_options": {"config": {"report_max_tries": 2}}}}
    run = launched(instance, run_config=config, tags=TAGS | {MODE_TAG: "full"})
    key = batch_key(instance, run, STEPS, location, "canvas")
    job = definitions.resolve_job_def(ROOT_JOB)
    assert job.execute_in_process(instance=instance, tags={BATCH_TAG: key}).success
    instance.report_run_canceled(run)
    context = dg.build_sensor_context(instance=instance, definitions=definitions)
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        requests = definitions.resolve_sensor_def("canvas__batches").evaluate_tick(context).run_requests
    assert requests is not None
    assert [each.partition_key for each in requests] == ["116", "118"]
    asked = requests[0].run_config["resources"]["sync_options"]["config"]
    assert asked == {"mode": "full", "report_max_tries": 2}
    result = definitions.resolve_job_def("canvas__sync_term").execute_in_process(
        instance=instance, run_config=requests[0].run_config, partition_key="116", tags=requests[0].tags
    )
    (made,) = [event.materialization for event in result.get_asset_materialization_events()]
    assert made.metadata["mode_reason"].value == "a full sync was asked for"


def test_tags_ask_like_run_config_which_counts_more() -> None:
    asked = SyncOptionsResource().options(run_id="1", batch_id="1", mode="full", updated_after="2026-01-01")
    assert (asked.mode, str(asked.updated_after)) == ("full", "2026-01-01 00:00:00+00:00")
    configured = SyncOptionsResource(mode=SyncMode.incremental, updated_after="true")
    asked = configured.options(run_id="1", batch_id="1", mode="full", updated_after="2026-01-01")
    assert (asked.mode, asked.updated_after) == ("incremental", True)
    with pytest.raises(SettingError, match=r"canvas_sync/mode is 'fulll'.*auto, full, incremental"):
        SyncOptionsResource().options(run_id="1", batch_id="1", mode="fulll")
