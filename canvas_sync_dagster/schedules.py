"""One schedule per tenant: each tick opens a batch and requests its root run; the batch sensor does the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from canvas_sync_dagster.assets.specs import BATCH_TAG, GENRE_TAG, TENANT_TAG
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.settings import TenantSettings

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.batch_work import Batches


def sync_schedule(tenant: TenantSettings, batches: Callable[[], Batches]) -> dg.ScheduleDefinition:
    """Builds a tenant's schedule.

    Args:
        tenant: Its settings say when.
        batches: Gives its batches; called within a tick, for it needs the database.
    """
    slug = tenant.slug

    @dg.schedule(
        name=f"{slug}__sync",
        job_name=f"{slug}__sync_root",
        cron_schedule=tenant.schedule,
        execution_timezone=tenant.timezone,
        description=f"Syncs {slug}: terms and what belongs to no term first, then each term in scope.",
        tags={TENANT_TAG: slug, GENRE_TAG: tenant.batch_genre},
    )
    def sync(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        key = f"{slug}:{tenant.batch_genre}:{context.scheduled_execution_time:%Y-%m-%dT%H:%M}"
        try:
            batch = batches().open(key, {"trigger": "schedule"})
        except CanvasSyncError as error:
            return dg.SkipReason(str(error))
        if batch is None:
            return dg.SkipReason(f"a sync of {slug} ({tenant.batch_genre}) is still under way; this one is left out")
        return dg.RunRequest(run_key=key, tags={BATCH_TAG: batch.key, GENRE_TAG: tenant.batch_genre, TENANT_TAG: slug})

    return sync
