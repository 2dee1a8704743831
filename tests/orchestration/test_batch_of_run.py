"""What a person launches by hand becomes a batch, or says that one is under way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
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
from canvas_sync_dagster.errors import SettingError, SyncUnderWayError
from canvas_sync_dagster.orchestration.batch_of_run import batch_key
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, GENRE_TAG, MODE_TAG, RETRY_NUMBER_TAG, TENANT_TAG
from canvas_sync_dagster.orchestration.next_step import RunState
from canvas_sync_dagster.orchestration.run_states import read_runs
from canvas_sync_dagster.resources import CodeLocation, SyncMode, SyncOptionsResource
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.fix_canvas import tenant_of

ROOT_JOB = "canvas__sync_root"
WORKSPACE = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="canvas_sync_dagster.definitions"))
ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(WORKSPACE, "__repository__"), ROOT_JOB)
TERMS, ACCOUNTS = dg.AssetKey(["canvas", "terms"]), dg.AssetKey(["canvas", "accounts"])
Key = Callable[[dg.DagsterRun], str]
TAGS = {TENANT_TAG: "canvas", GENRE_TAG: "default"}


@pytest.fixture
def sync(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> CanvasSync:
    tenant = tenant_of(canvas, database_url, models="terms,accounts,courses", term_scope="116,118")
    return CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))


@pytest.fixture
def location(sync: CanvasSync) -> CodeLocation:
    return CodeLocation(sync.project())


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def key_of(instance: dg.DagsterInstance, sync: CanvasSync, location: CodeLocation) -> Key:
    definitions = sync.definitions()
    return lambda run: batch_key(
        instance,
        run,
        "canvas",
        whole_job=lambda: definitions.resolve_job_def(ROOT_JOB),
        batches=functools.partial(location.batches, "canvas"),
    )


def launched(instance: dg.DagsterInstance, **given: Any) -> dg.DagsterRun:
    """Makes a run as the UI launches it."""
    given = {"tags": TAGS, "status": dg.DagsterRunStatus.STARTED} | given
    run = create_run_for_test(instance, job_name=ROOT_JOB, remote_job_origin=ORIGIN, **given)
    instance.report_engine_event("begins", run)
    return run


def executed_again(instance: dg.DagsterInstance, failed: dg.DagsterRun, **given: Any) -> dg.DagsterRun:
    """Makes a run as the UI launches it in place of a failed one: with its tags."""
    parent = instance.get_run_by_id(failed.run_id)
    assert parent is not None
    ids = {"parent_run_id": parent.run_id, "root_run_id": parent.root_run_id or parent.run_id}
    return launched(instance, tags=dict(parent.tags), **ids, **given)


def batches(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        query = "select metadata->>'key', status, metadata->>'trigger' from canvas.canvas_sync_sync_batches order by id"
        return connection.execute(query).fetchall()


def closed(instance: dg.DagsterInstance, location: CodeLocation, run: dg.DagsterRun, *, failed: bool = True) -> None:
    """Ends a run and its batch."""
    (batch,) = location.batches("canvas").under_way()
    if failed:
        instance.report_run_failed(run, "no")
    assert location.batches("canvas").close(batch, "failed" if failed else "completed", "no", [])


def test_the_root_job_launched_by_hand_opens_a_batch_once(
    instance: dg.DagsterInstance, key_of: Key, database_url: str
) -> None:
    run = launched(instance)
    key = key_of(run)
    assert key_of(run) == key
    assert read_runs(instance, "canvas", key).root is RunState.ACTIVE
    assert batches(database_url) == [(key, "processing", "launch")]


def test_materialize_all_selects_every_asset_and_check_and_is_the_whole_job(
    instance: dg.DagsterInstance, sync: CanvasSync, key_of: Key, database_url: str
) -> None:
    layer = sync.definitions().resolve_job_def(ROOT_JOB).asset_layer
    assets, checks = frozenset(layer.executable_asset_keys), frozenset(layer.asset_graph.asset_check_keys)
    assert {TERMS, ACCOUNTS} <= assets
    key = key_of(launched(instance, asset_selection=assets, asset_check_selection=checks))
    assert batches(database_url) == [(key, "processing", "launch")]


def test_a_root_run_executed_again_from_failure_continues_its_batch(
    instance: dg.DagsterInstance, key_of: Key, location: CodeLocation, database_url: str
) -> None:
    first = launched(instance)
    key = key_of(first)
    closed(instance, location, first)
    second = executed_again(instance, first, step_keys_to_execute=["canvas__accounts"])
    assert key_of(second) == key_of(second) == key
    assert batches(database_url) == [(key, "processing", "launch")]
    closed(instance, location, second)
    third = executed_again(instance, second, asset_selection=frozenset([ACCOUNTS]))
    assert key_of(third) == key
    assert batches(database_url) == [(key, "processing", "launch")]


def test_a_root_run_executed_again_as_a_whole_is_a_new_batch(
    instance: dg.DagsterInstance, key_of: Key, location: CodeLocation, database_url: str
) -> None:
    first = launched(instance)
    old = key_of(first)
    closed(instance, location, first, failed=False)
    second = executed_again(instance, first)
    new = key_of(second)
    assert key_of(instance.get_run_by_id(second.run_id)) == new  # type: ignore[arg-type]
    assert batches(database_url) == [(old, "completed", "launch"), (new, "processing", "launch")]


def test_dagsters_own_retry_of_a_root_run_stays_in_its_batch(
    instance: dg.DagsterInstance, key_of: Key, database_url: str
) -> None:
    first = launched(instance)
    key = key_of(first)
    instance.report_run_failed(first, "its worker was lost")
    second = executed_again(instance, first)
    instance.add_run_tags(second.run_id, {RETRY_NUMBER_TAG: "1"})
    assert key_of(instance.get_run_by_id(second.run_id)) == key  # type: ignore[arg-type]
    assert batches(database_url) == [(key, "processing", "launch")]


def test_a_second_one_does_not_start_and_says_so(instance: dg.DagsterInstance, key_of: Key) -> None:
    key_of(launched(instance))
    with pytest.raises(SyncUnderWayError, match=r"canvas \(default\) is under way"):
        key_of(launched(instance))


def test_a_part_of_the_root_job_and_a_run_of_a_batch_open_none(instance: dg.DagsterInstance, key_of: Key) -> None:
    part = launched(instance, asset_selection=frozenset([TERMS]))
    assert key_of(part) == part.run_id
    step = launched(instance, step_keys_to_execute=["canvas__terms"])
    assert key_of(step) == step.run_id
    assert key_of(launched(instance, tags=TAGS | {BATCH_TAG: "one"})) == "one"


def test_what_a_person_asks_of_the_root_run_is_asked_of_the_term_runs_too(
    instance: dg.DagsterInstance, sync: CanvasSync, key_of: Key
) -> None:
    definitions = sync.definitions()
    config = {"resources": {"sync_options": {"config": {"report_max_tries": 2}}}}
    run = launched(instance, run_config=config, tags=TAGS | {MODE_TAG: "full"})
    key = key_of(run)
    job = definitions.resolve_job_def(ROOT_JOB)
    assert job.execute_in_process(instance=instance, tags={BATCH_TAG: key}).success
    instance.report_run_canceled(run)
    context = dg.build_sensor_context(instance=instance, definitions=definitions)
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        requests = definitions.resolve_sensor_def("canvas_sync_batches").evaluate_tick(context).run_requests
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
