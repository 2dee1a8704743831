"""Determines the batch of a run: the one in its tag, or a new one if a person launched the whole root job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.callbacks import OnSync
from canvas_sync_dagster.orchestration.identifiers import (
    BATCH_TAG,
    GENRE_TAG,
    MODE_TAG,
    RETRY_NUMBER_TAG,
    UPDATED_AFTER_TAG,
    root_job,
)
from canvas_sync_dagster.orchestration.orphaned_runs import begin_batch


def batch_key(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    slug: str,
    *,
    whole_job: Callable[[], dg.JobDefinition],
    batches: Callable[[str | None], BatchService],
    callbacks: Sequence[OnSync] = (),
) -> str:
    """Return the key of a run's batch; for a run that belongs to no batch, its own id.

    The whole root job becomes a batch when a person launches it: the sensor then launches the term runs. A root run that
    is re-executed from failure continues its batch, which is opened again if it was closed. Every op of a run calls this
    and gets the same answer.

    Args:
        instance: The Dagster instance of the run.
        run: The run.
        slug: The run's tenant.
        whole_job: Returns the job without any selection; called only for root runs that Dagster launched.
        batches: Returns the batches of a genre, or of the tenant's own genre for None.
        callbacks: `on_sync` functions, called for an abandoned batch that this closes.

    Raises:
        SyncUnderWayError: Another batch of the tenant and genre is under way.
        CanvasSyncError: The database cannot be reached.
    """
    key = run.tags.get(BATCH_TAG)
    launched = run.job_name == root_job(slug) and run.remote_job_origin is not None
    if not launched or (key is not None and run.parent_run_id is None):
        return key or run.run_id
    by_person = RETRY_NUMBER_TAG not in run.tags
    if _is_whole(run, whole_job()) and (by_person or key is None):
        key = f"{slug}:by hand:{run.run_id if by_person else run.root_run_id or run.run_id}"
    elif key is None:
        return run.run_id
    service = batches(run.tags.get(GENRE_TAG))
    if begin_batch(instance, service, key, {"trigger": "launch", "options": _options(run)}, callbacks) is None:
        raise service.refusal()
    if run.tags.get(BATCH_TAG) != key:
        instance.add_run_tags(run.run_id, {BATCH_TAG: key})
    return key


def _is_whole(run: dg.DagsterRun, job: dg.JobDefinition) -> bool:
    """Return whether a run executes all of its job.

    *Materialize all* in Dagster's UI launches a job with a selection: all of its assets, and its checks.
    """
    steps = {node.name for node in job.nodes}
    assets = set(job.asset_layer.executable_asset_keys)
    return steps <= set(run.step_keys_to_execute or steps) and assets <= (run.asset_selection or assets)


def _options(run: dg.DagsterRun) -> dict[str, Any]:
    """Return the options of the root run, which the term runs get, too."""
    given: Any = run.run_config.get("resources", {})
    config = dict(given.get("sync_options", {}).get("config") or {})
    tags = {"mode": run.tags.get(MODE_TAG), "updated_after": run.tags.get(UPDATED_AFTER_TAG)}
    return {name: value for name, value in tags.items() if value} | config
