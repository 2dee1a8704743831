"""What one run of a sync was asked for: its run config, its tags and its batch."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import dagster as dg

from canvas_sync_dagster.orchestration.batch_of_run import batch_key
from canvas_sync_dagster.orchestration.identifiers import GENRE_TAG, MODE_TAG, UPDATED_AFTER_TAG
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.options import SyncOptions
    from canvas_sync_dagster.sync.session import Session


def run_options(
    context: dg.AssetExecutionContext, code_location: CodeLocation, sync_options: SyncOptionsResource, session: Session
) -> SyncOptions:
    """Return the options of a run: its config, then its tags, which the dialog of a backfill can set as well.

    Args:
        context: Of an op of the run.
        code_location: The tenants.
        sync_options: The run config.
        session: Of the run's tenant.

    Raises:
        SettingError: A value is invalid.
        SyncUnderWayError: Another batch of the tenant and genre is under way.
    """
    run, slug = context.run, session.tenant.slug
    batches = functools.partial(code_location.batches, slug, connections=session.connections)
    key = batch_key(
        context.instance,
        run,
        slug,
        whole_job=lambda: context.repository_def.get_job(run.job_name),
        batches=batches,
        callbacks=code_location.on_sync,
    )
    batch = batches().find(key) if key != run.run_id else None
    return sync_options.options(
        run_id=run.run_id,
        batch_id=key,
        batch_started_at=batch.started_at if batch else None,
        genre=run.tags.get(GENRE_TAG),
        mode=run.tags.get(MODE_TAG),
        updated_after=run.tags.get(UPDATED_AFTER_TAG),
    )
