"""The sensor `<tenant>__batches`: ticks the driver of each open batch and requests the runs that it launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.callbacks import OnSync
from canvas_sync_dagster.orchestration.driver import BatchParts, Driver, executor_of
from canvas_sync_dagster.orchestration.next_step import Close
from canvas_sync_dagster.orchestration.orphaned_runs import fail_orphaned_runs
from canvas_sync_dagster.orchestration.run_requests import RunRequests
from canvas_sync_dagster.orchestration.term_sync import TermSync
from canvas_sync_dagster.orchestration.term_watch import TermWatch
from canvas_sync_dagster.sync.scope import Term
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.state.sync_batches import Batch

if TYPE_CHECKING:
    # Private: the type of `dg.define_asset_job`'s result. The public API has no name for it.
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

SECONDS = 15
"""Shortest time between two ticks."""


def batch_sensor(
    tenant: TenantSettings,
    batches: Callable[[str], BatchService],
    callbacks: Sequence[OnSync] = (),
    *,
    list_terms: Callable[[], Sequence[Term]],
    per_term: bool = True,
    term_assets: Mapping[str, Sequence[dg.AssetKey]] | None = None,
    first: Sequence[str] = (),
    first_assets: Sequence[dg.AssetKey] = (),
    has_end: bool = False,
    jobs: Sequence[UnresolvedAssetJobDefinition] = (),
) -> dg.SensorDefinition:
    """Return the sensor that drives a tenant's batches.

    Args:
        tenant: The tenant.
        batches: Returns the tenant's batches of a genre; called within a tick, because it may start the database.
        callbacks: `on_sync` functions.
        list_terms: Reads the terms of the tenant from Canvas; called in a thread.
        per_term: Whether the tenant syncs anything per term.
        term_assets: Genre → assets of its term runs; a genre that is not in it has all of the term job.
        first: Names of the steps at the start of a batch.
        first_assets: What the root run of a batch for new terms materializes: the terms, and the steps at the start.
        has_end: Whether there are steps at the end of a batch.
        jobs: The jobs of the root run, of the term runs and of the steps at the end, as far as there are such.
    """
    slug = tenant.slug
    watch = TermWatch()

    def driver(context: dg.SensorEvaluationContext, batch: Batch, launcher: RunRequests) -> Driver:
        launcher.term_assets = (term_assets or {}).get(batch.genre)
        launcher.options = batch.details.get("options")
        has_terms = per_term if launcher.term_assets is None else bool(launcher.term_assets)
        parts = BatchParts(has_terms=has_terms, has_end=has_end, start=first)
        service, executor = batches(batch.genre).for_batch(batch), executor_of(batch)
        return Driver(context.instance, service, batch, parts, launcher, executor, callbacks, context.log)

    @dg.sensor(
        name=f"{slug}__batches",
        jobs=jobs,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Launches the term runs of {slug}'s syncs and closes those that have ended.",
    )
    def drive(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        launcher = RunRequests(root_assets=first_assets)
        try:
            service = batches(tenant.batch_genre)
            lines = [f"run {run_id} is dead" for run_id in fail_orphaned_runs(context.instance, service)]
            for batch in service.under_way():
                step = driver(context, batch, launcher).tick()
                reason = f"{step.status}, {step.reason}" if isinstance(step, Close) else step.reason
                lines.append(f"{batch.key}: {reason}")
            if per_term and tenant.base_url and (listed := watch.look(slug, list_terms)) is not None:
                lines += TermSync(context.instance, service, launcher, callbacks).update(listed)
        except CanvasSyncError as error:
            return dg.SkipReason(str(error))
        return _result(launcher.requests, "; ".join(lines), context.cursor, f"no sync of {slug} is under way")

    return drive


def _result(requests: Sequence[dg.RunRequest], text: str, cursor: str | None, otherwise: str) -> dg.SensorResult:
    # The page of the sensor shows the cursor next to each tick, and keeps that of the last sync.
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=text or cursor)
    return dg.SensorResult(skip_reason=text or otherwise, cursor=text or cursor)
