"""Housekeeping deletes check results of deleted runs, and old events without a run, except the latest of each kind."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test

from canvas_sync_dagster.orchestration.event_pruning import prune_backfills, prune_events_without_run
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG
from canvas_sync_dagster.orchestration.pruning import prune_runs

USERS, OTHERS = dg.AssetKey(["canvas", "users"]), dg.AssetKey(["other", "users"])
AT_ONCE = timedelta(seconds=-60)


def rows(instance: dg.DagsterInstance, table: str) -> int:
    storage: Any = instance.event_log_storage
    with storage.index_connection() as connection:
        return int(connection.execute(sa.text(f"select count(*) from {table}")).scalar_one())


def backfill(status: BulkActionStatus, *assets: dg.AssetKey) -> PartitionBackfill:
    name = f"{status.value.lower()}_{'_'.join(each.path[0] for each in assets)}"
    return PartitionBackfill(name, status, False, {"a": "b"}, time.time(), asset_selection=assets)


def checked(asset: dg.AssetKey, *, passed: bool) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(asset_key=asset, check_name="staleness", passed=passed)


def test_events_without_a_run_go_except_the_latest() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in (USERS, OTHERS):
            for number in range(3):
                instance.report_runless_asset_event(dg.AssetObservation(asset, metadata={"number": number}))
                instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition="7", tags={"a": "b"}))
                instance.report_runless_asset_event(checked(asset, passed=number == 2))
        assert prune_events_without_run(instance, [USERS], kept=timedelta(days=1)) == 0
        assert prune_events_without_run(instance, [USERS], kept=AT_ONCE) == 6
        assert prune_events_without_run(instance, [USERS], kept=AT_ONCE) == 0
        assert rows(instance, "event_logs") == 3 + 9
        assert rows(instance, "asset_check_executions") == 1 + 3
        latest = instance.fetch_observations(USERS, limit=10).records
        assert [record.asset_observation.metadata["number"].value for record in latest] == [2]
        assert len(instance.fetch_materializations(USERS, limit=10).records) == 1


def test_the_check_results_of_a_deleted_run_go_with_it() -> None:
    @dg.asset(key=USERS, check_specs=[dg.AssetCheckSpec("load", asset=USERS)])
    def users() -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="load", passed=True)])

    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(3):
            dg.materialize([users], instance=instance, tags={TENANT_TAG: "canvas"})
        create_run_for_test(instance, job_name="unrelated")
        assert rows(instance, "asset_check_executions") == 3
        assert prune_runs(instance, "canvas", [USERS], kept=AT_ONCE) == 2
        assert rows(instance, "asset_check_executions") == 1


def test_old_backfills_go_that_have_ended_and_are_ours() -> None:
    ended, requested = BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.REQUESTED
    with dg.DagsterInstance.ephemeral() as instance:
        for each in (
            backfill(ended, USERS),
            backfill(requested, USERS),
            backfill(ended, OTHERS),
            backfill(ended, USERS, OTHERS),
        ):
            instance.add_backfill(each)
        assert prune_backfills(instance, {USERS}, kept=timedelta(days=1)) == 0
        assert prune_backfills(instance, {USERS}, kept=AT_ONCE) == 1
        left = {each.backfill_id for each in instance.get_backfills()}
        assert left == {"requested_canvas", "completed_failed_other", "completed_failed_canvas_other"}
        assert instance.get_backfill("completed_failed_canvas") is None
