"""Jobs that materialize no assets: draining live events, reconciling suspects, housekeeping."""

import dagster as dg
from pydantic import Field

from canvas_sync_dagster.assets.metadata import event_materializations
from canvas_sync_dagster.assets.tenant_assets import TenantAssets
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.orchestration.event_pruning import prune_backfills, prune_events_without_run
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG
from canvas_sync_dagster.orchestration.pruning import RUNS_KEPT, prune_runs
from canvas_sync_dagster.resources import CodeLocation, as_dagster_failure
from canvas_sync_dagster.sync.downloads import remove_abandoned
from canvas_sync_dagster.sync.erase import sweep
from canvas_sync_dagster.sync.heartbeat import BEATS, beating
from canvas_sync_dagster.sync.reconciliation import reconcile
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.housekeeping import DEAD_EVENTS_KEPT, EVENTS_KEPT, drop_old_rows
from canvas_sync_dagster.warehouse.state.inbox_partitions import age_out, ensure_partitions

BEATS_PER_LINE = BEATS // 2
"""Housekeeping has no entry in the journal, so that it shows that it is alive by lines in its log: two within `lost_after`."""


class ReconcileConfig(dg.Config):
    """Run config of a reconciliation.

    Attributes:
        models: Names of models; all if empty.
        limit: Maximum suspects per model.
    """

    models: list[str] = Field(
        default_factory=list, description="Names of models, such as [users, enrollments]. Default: all models."
    )
    limit: int = Field(
        2_000,
        description="Maximum suspects per model. Canvas answers about ten requests per second, so 2000 take some minutes.",
    )


def live_events_job(assets: TenantAssets) -> dg.JobDefinition:
    """Return the job that drains a tenant's inbox until it is empty."""
    tenant = assets.tenant

    @dg.op(name=f"{tenant.slug}__drain")
    def drain_inbox(context: dg.OpExecutionContext, code_location: dg.ResourceParam[CodeLocation]) -> None:
        with as_dagster_failure(), code_location.session(tenant.slug) as session:
            done = drain(session, run_id=context.run.run_id)
        for each in event_materializations(assets.keys, done):
            context.log_event(each)
        ends = ", ".join(f"{count} {state}" for state, count in done.events.items())
        context.log.info("another drain is running" if done.busy else f"{ends or 'no events'}, {done.seconds:.1f} s")

    @dg.job(
        name=f"{tenant.slug}__live_events",
        description=f"Applies the live events that wait in the inbox of {tenant.slug}. The sensor launches it when a tick cannot.",
        tags={TENANT_TAG: tenant.slug},
        executor_def=dg.in_process_executor,
    )
    def live_events() -> None:
        drain_inbox()

    return live_events


def reconcile_job(assets: TenantAssets) -> dg.JobDefinition:
    """Return the job that verifies a tenant's suspects with Canvas."""
    tenant = assets.tenant

    @dg.op(name=f"{tenant.slug}__ask_about_suspects")
    def ask_about_suspects(
        context: dg.OpExecutionContext, config: ReconcileConfig, code_location: dg.ResourceParam[CodeLocation]
    ) -> None:
        with as_dagster_failure(), code_location.session(tenant.slug) as session:
            for model in assets.models:
                if config.models and model.name not in config.models:
                    continue
                done = reconcile(session, session.by_name[model.name], limit=config.limit, run_id=context.run.run_id)
                if done.asked or done.reason:
                    context.log.info(
                        f"{model.name}: {done.asked} asked, {done.deleted} deleted, {done.alive} alive, "
                        f"{done.forbidden} hidden, {done.left} left{f' ({done.reason})' if done.reason else ''}"
                    )

    @dg.job(
        name=f"{tenant.slug}__reconcile",
        description=f"Asks Canvas about each suspect of {tenant.slug}, and marks as deleted what Canvas no longer has.",
        tags={TENANT_TAG: tenant.slug},
        executor_def=dg.in_process_executor,
    )
    def reconcile_suspects() -> None:
        ask_about_suspects()

    return reconcile_suspects


def housekeeping_job(assets: TenantAssets) -> dg.JobDefinition:
    """Return the job that deletes old rows of the journal, inbox, rejects and ledger, and old runs of Dagster."""
    tenant = assets.tenant

    @dg.op(name=f"{tenant.slug}__drop_what_is_old")
    def drop_what_is_old(context: dg.OpExecutionContext, code_location: dg.ResourceParam[CodeLocation]) -> None:
        ours = code_location.batches(tenant.slug)
        # Housekeeping does not use Canvas: it must also run while Canvas is unavailable, or the disk would fill.
        with as_dagster_failure():
            prepare_schema(ours.url, ours.tenant.schema_in_database, ours.models, ())
        with as_dagster_failure(), ours.warehouse("housekeeping") as warehouse:
            sweep(warehouse)
            dropped = drop_old_rows(warehouse)
            ensure_partitions(warehouse)
            days = age_out(warehouse, EVENTS_KEPT, DEAD_EVENTS_KEPT)
        downloads = remove_abandoned(code_location.home)
        with beating(lambda: context.log.info("old runs are being deleted"), tenant.lost_after * BEATS_PER_LINE):
            runs = prune_runs(context.instance, tenant.slug, assets.keys.by_key)
            events = prune_events_without_run(context.instance, assets.keys.by_key, kept=RUNS_KEPT)
            backfills = prune_backfills(context.instance, assets.keys.by_key, kept=RUNS_KEPT)
        told = [
            f"{days} days of events",
            f"{runs} runs",
            f"{events} events without a run",
            f"{backfills} backfills",
            f"{downloads} abandoned downloads",
            *(f"{rows} of {name}" for name, rows in dropped.items()),
        ]
        context.log.info(f"deleted: {', '.join(told)}")

    @dg.job(
        name=f"{tenant.slug}__housekeeping",
        description=f"Deletes old events, journal entries, rejects, downloads and runs of {tenant.slug}.",
        tags={TENANT_TAG: tenant.slug},
        executor_def=dg.in_process_executor,
    )
    def housekeeping() -> None:
        drop_what_is_old()

    return housekeeping
