"""Which batch a run belongs to: the one that its tag names, or one that it opens, if a person launched the root job."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

import dagster as dg

from canvas_sync_dagster.assets.lost import begin_batch
from canvas_sync_dagster.assets.specs import BATCH_TAG, GENRE_TAG, MODE_TAG, UPDATED_AFTER_TAG
from canvas_sync_dagster.errors import SyncUnderWayError
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.options import SyncOptions


def run_options(
    context: dg.AssetExecutionContext, code_location: CodeLocation, sync_options: SyncOptionsResource, slug: str
) -> SyncOptions:
    """Reads what this run asks for: its config, then its tags, which the dialog of a backfill can set as well.

    Raises:
        SettingError: A value is wrong.
        SyncUnderWayError: It would be a second sync of its tenant and genre.
    """
    run = context.run
    steps = {node.name for node in context.job_def.nodes}
    key = batch_key(context.instance, run, steps, code_location, slug)
    return sync_options.options(
        run_id=run.run_id,
        batch_id=key,
        genre=run.tags.get(GENRE_TAG),
        mode=run.tags.get(MODE_TAG),
        updated_after=run.tags.get(UPDATED_AFTER_TAG),
    )


def batch_key(
    instance: dg.DagsterInstance, run: dg.DagsterRun, steps: Set[str], code_location: CodeLocation, slug: str
) -> str:
    """Returns the batch of a run; of a run that belongs to none its own id.

    The root job that a person launches in the UI, whole, becomes a batch: the sensor then launches the term runs.

    Args:
        instance: Where the run is.
        run: Which one.
        steps: All steps of its job.
        code_location: The tenants.
        slug: Which of them.

    Raises:
        SyncUnderWayError: Another batch of the tenant and genre is under way.
    """
    by_hand = run.job_name == f"{slug}__sync_root" and run.remote_job_origin is not None
    whole = not run.asset_selection and steps <= set(run.step_keys_to_execute or steps)
    if BATCH_TAG in run.tags or not by_hand or not whole:
        return run.tags.get(BATCH_TAG, run.run_id)
    key = f"{slug}:by hand:{run.root_run_id or run.run_id}"
    ours = code_location.batches(slug, run.tags.get(GENRE_TAG))
    details = {"trigger": "launch", "options": _asked(run)}
    if begin_batch(instance, ours, key, details, code_location.on_sync) is None:
        raise SyncUnderWayError(slug, ours.tenant.batch_genre)
    instance.add_run_tags(run.run_id, {BATCH_TAG: key})
    return key


def _asked(run: dg.DagsterRun) -> dict[str, Any]:
    """Picks what the person asked for, so that the term runs get it, too."""
    given: Any = run.run_config.get("resources", {})
    config = dict(given.get("sync_options", {}).get("config") or {})
    tags = {"mode": run.tags.get(MODE_TAG), "updated_after": run.tags.get(UPDATED_AFTER_TAG)}
    return {name: value for name, value in tags.items() if value} | config
