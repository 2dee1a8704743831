"""Housekeeping drops what is old and settled, and nothing that anybody needs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.test_utils import create_run_for_test

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.assets import jobs
from canvas_sync_dagster.orchestration import pruning
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.identifiers import PARTITION_TAG, TENANT_TAG
from canvas_sync_dagster.orchestration.orphaned_runs import fail_orphaned_runs
from canvas_sync_dagster.orchestration.pruning import AD_HOC_JOB, prune_runs
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.fix_canvas import tenant_of

SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
COURSES, USERS, OTHERS = (
    dg.AssetKey(path) for path in (["canvas", "courses"], ["canvas", "users"], ["other", "users"])
)
ASSETS = {COURSES, USERS}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def made(
    instance: dg.DagsterInstance,
    job: str = "canvas__sync_term",
    status: dg.DagsterRunStatus = SUCCESS,
    *,
    term: str | None = "118",
    tenant: str | None = "canvas",
    assets: frozenset[dg.AssetKey] | None = None,
) -> str:
    tags = {TENANT_TAG: tenant} if tenant else {}
    partition = {PARTITION_TAG: term} if term else {}
    return create_run_for_test(
        instance, job_name=job, status=status, tags=tags | partition, asset_selection=assets
    ).run_id


def left(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def test_the_latest_success_of_each_term_and_selection_stays(instance: dg.DagsterInstance) -> None:
    made(instance)
    made(instance, status=FAILURE)
    kept = {made(instance), made(instance, term="116"), made(instance, assets=frozenset([COURSES]))}
    made(instance, status=FAILURE)
    kept |= {made(instance, "canvas__sync_root", term=None), made(instance, status=dg.DagsterRunStatus.STARTED)}
    kept |= {made(instance, "other__sync_root", tenant="other"), made(instance, "other__sync_root", tenant="other")}
    assert prune_runs(instance, "canvas", ASSETS, kept=timedelta(0)) == 3
    assert left(instance) == kept
    assert prune_runs(instance, "canvas", ASSETS, kept=timedelta(0)) == 0


def test_runs_of_the_button_go_too_if_they_are_all_of_the_tenant(instance: dg.DagsterInstance) -> None:
    def pressed(*assets: dg.AssetKey) -> str:
        return made(instance, AD_HOC_JOB, tenant=None, assets=frozenset(assets))

    pressed(COURSES)
    kept = {pressed(COURSES), pressed(USERS), pressed(OTHERS), pressed(OTHERS), pressed(USERS, OTHERS)}
    assert prune_runs(instance, "canvas", ASSETS, kept=timedelta(0)) == 1
    assert left(instance) == kept


def test_young_runs_stay_and_the_time_is_limited(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "PAGE", 2)
    for _ in range(8):
        made(instance)
    assert prune_runs(instance, "canvas", ASSETS) == 0
    assert prune_runs(instance, "canvas", ASSETS, kept=timedelta(0), within=timedelta(seconds=-1)) == 0
    assert prune_runs(instance, "canvas", ASSETS, kept=timedelta(0)) == 7


def test_the_job_needs_no_canvas_and_drops_old_journals(
    instance: dg.DagsterInstance, canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    tenant = tenant_of(canvas, database_url, token=None)
    job = CanvasSync(Settings(home=tmp_path, tenants=(tenant,))).definitions().resolve_job_def("canvas__housekeeping")
    assert job.execute_in_process(instance=instance).success
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into canvas.canvas_sync_job_logs (job_class, status, created_at) "
            "values ('old', 'success', now() - interval '91 days'), ('young', 'success', now() - interval '89 days')"
        )
        assert job.execute_in_process(instance=instance).success
        assert connection.execute("select job_class from canvas.canvas_sync_job_logs").fetchall() == [("young",)]


def test_housekeeping_that_takes_long_is_not_lost(
    instance: dg.DagsterInstance,
    canvas: SimulatedCanvas,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenant = tenant_of(canvas, database_url, token=None, lost_after="4 seconds")
    project = CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))
    ours = BatchService(tenant, database_url, project.project().models_of(tenant))
    lost: list[str] = []

    def slow(*_: object) -> int:
        time.sleep(5)
        lost.extend(fail_orphaned_runs(instance, ours))
        return 0

    monkeypatch.setattr(jobs, "prune_runs", slow)
    job = project.definitions().resolve_job_def("canvas__housekeeping")
    assert job.execute_in_process(instance=instance).success
    assert lost == []
