"""A tenant's schedules. A tick of its sync opens a batch and requests the root run; then the batch sensor drives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.callbacks import OnSync
from canvas_sync_dagster.orchestration.identifiers import (
    BATCH_TAG,
    GENRE_TAG,
    TENANT_TAG,
    root_job,
    sync_schedule_name,
)
from canvas_sync_dagster.orchestration.orphaned_runs import begin_batch
from canvas_sync_dagster.tenants import OFF, TenantSettings


def sync_schedule(
    tenant: TenantSettings,
    batches: Callable[[str], BatchService],
    callbacks: Sequence[OnSync] = (),
    *,
    genre: str | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
) -> dg.ScheduleDefinition:
    """Return the schedule of a tenant's sync, or of one of its genres.

    Args:
        tenant: The tenant; its settings have the cron expression.
        batches: Returns the tenant's batches of a genre; called within a tick, because it may start the database.
        callbacks: `on_sync` functions, called for an abandoned batch that a tick closes.
        genre: A genre of the settings; None for the tenant's own.
        assets: Assets of the root job that belong to the genre; None for all.
    """
    slug = tenant.slug
    name = sync_schedule_name(slug, genre)
    tenant = tenant.of_genre(genre or tenant.batch_genre)

    @dg.schedule(
        name=name,
        job_name=root_job(slug),
        cron_schedule=tenant.schedule,
        execution_timezone=tenant.timezone,
        description=f"Syncs {slug} ({tenant.batch_genre}): first the models without a term, then each term in scope.",
        tags={TENANT_TAG: slug, GENRE_TAG: tenant.batch_genre},
    )
    def sync(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if not tenant.enabled:
            return dg.SkipReason(tenant.reason_to_skip)
        key = f"{slug}:{tenant.batch_genre}:{context.scheduled_execution_time:%Y-%m-%dT%H:%M}"
        try:
            batch = begin_batch(context.instance, batches(tenant.batch_genre), key, {"trigger": "schedule"}, callbacks)
        except CanvasSyncError as error:
            return dg.SkipReason(str(error))
        if batch is None:
            return dg.SkipReason(f"a sync of {slug} ({tenant.batch_genre}) is still in progress; this tick is skipped")
        tags = {BATCH_TAG: batch.key, GENRE_TAG: tenant.batch_genre, TENANT_TAG: slug}
        return dg.RunRequest(run_key=key, tags=tags, asset_selection=assets)

    return sync


def nightly_schedules(tenant: TenantSettings, *, audits: bool = True) -> list[dg.ScheduleDefinition]:
    """Return the schedules of a tenant's nightly jobs: audit, reconciliation and housekeeping.

    Audits and housekeeping are on by default: their absence would be noticed only when rows are lost, or the disk is full.

    Args:
        tenant: Settings of the tenant.
        audits: Whether the tenant has tables that can be audited.
    """
    configured = tenant.base_url is not None or tenant.database_url is not None

    def launch(_: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return dg.RunRequest() if tenant.enabled else dg.SkipReason(tenant.reason_to_skip)

    return [
        dg.ScheduleDefinition(
            name=f"{tenant.slug}__{job}",
            job_name=f"{tenant.slug}__{job}",
            execution_fn=launch,
            cron_schedule=cron,
            execution_timezone=tenant.timezone,
            description=description,
            default_status=status if configured else dg.DefaultScheduleStatus.STOPPED,
        )
        for job, cron, status, description in (
            *(
                [
                    (
                        "audit",
                        tenant.audit_schedule,
                        dg.DefaultScheduleStatus.RUNNING,
                        f"Compares a random sample of the tables of {tenant.slug} with Canvas.",
                    )
                ]
                if audits and tenant.audit_schedule != OFF
                else []
            ),
            (
                "reconcile",
                "20 2 * * *",
                dg.DefaultScheduleStatus.STOPPED,
                f"Verifies with Canvas the rows of {tenant.slug} that reports no longer list.",
            ),
            (
                "housekeeping",
                "40 3 * * *",
                dg.DefaultScheduleStatus.RUNNING,
                f"Deletes old events, journal entries, rejects, runs and downloads of {tenant.slug}.",
            ),
        )
    ]
