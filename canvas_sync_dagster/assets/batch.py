"""Which batch a run belongs to: the one that its tag names, or one that it opens because a person launched the root job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from canvas_sync_dagster.assets.lost import begin_batch
from canvas_sync_dagster.assets.specs import BATCH_TAG, GENRE_TAG, MODE_TAG, UPDATED_AFTER_TAG
from canvas_sync_dagster.errors import SyncUnderWayError
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.options import SyncOptions

RETRY_NUMBER_TAG = "dagster/retry_number"
"""What Dagster's daemon writes on a run that it launched in place of a failed one."""


def run_options(
    context: dg.AssetExecutionContext, code_location: CodeLocation, sync_options: SyncOptionsResource, slug: str
) -> SyncOptions:
    """Reads what this run asks for: its config, then its tags, which the dialog of a backfill can set as well.

    Raises:
        SettingError: A value is wrong.
        SyncUnderWayError: It would be a second sync of its tenant and genre.
    """
    run = context.run
    key = batch_key(context.instance, run, lambda: context.repository_def.get_job(run.job_name), code_location, slug)
    started = code_location.batches(slug).started_at(key) if key != run.run_id else None
    return sync_options.options(
        run_id=run.run_id,
        batch_id=key,
        batch_started_at=started,
        genre=run.tags.get(GENRE_TAG),
        mode=run.tags.get(MODE_TAG),
        updated_after=run.tags.get(UPDATED_AFTER_TAG),
    )


def batch_key(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    whole_job: Callable[[], dg.JobDefinition],
    code_location: CodeLocation,
    slug: str,
) -> str:
    """Return the batch of a run; for a run that belongs to no batch, its own id.

    The whole root job becomes a batch when a person launches it: the sensor then launches the term runs. A root run that
    is re-executed from failure continues its batch, which is opened again if it was closed. Every op of a run calls this
    and gets the same answer.

    Args:
        instance: The Dagster instance of the run.
        run: The run.
        whole_job: Returns the job without any selection; called only for root runs that Dagster launched.
        code_location: The tenants.
        slug: The run's tenant.

    Raises:
        SyncUnderWayError: Another batch of the tenant and genre is under way.
    """
    key = run.tags.get(BATCH_TAG)
    launched = run.job_name == f"{slug}__sync_root" and run.remote_job_origin is not None
    if not launched or (key is not None and run.parent_run_id is None):
        return key or run.run_id
    by_person = RETRY_NUMBER_TAG not in run.tags
    if _is_whole(run, whole_job()) and (by_person or key is None):
        key = f"{slug}:by hand:{run.run_id if by_person else run.root_run_id or run.run_id}"
    elif key is None:
        return run.run_id
    ours = code_location.batches(slug, run.tags.get(GENRE_TAG))
    details = {"trigger": "launch", "options": _asked(run)}
    if begin_batch(instance, ours, key, details, code_location.on_sync) is None:
        raise SyncUnderWayError(slug, ours.tenant.batch_genre)
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


def _asked(run: dg.DagsterRun) -> dict[str, Any]:
    """Picks what the person asked for, so that the term runs get it, too."""
    given: Any = run.run_config.get("resources", {})
    config = dict(given.get("sync_options", {}).get("config") or {})
    tags = {"mode": run.tags.get(MODE_TAG), "updated_after": run.tags.get(UPDATED_AFTER_TAG)}
    return {name: value for name, value in tags.items() if value} | config
