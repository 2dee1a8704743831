"""Takes batches from their root run over their term runs to their end, however often a process dies in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.orchestration.batch_service import last_sync_of
from canvas_sync_dagster.orchestration.callbacks import OnSync, tell_of_batch
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, GENRE_TAG, MODE_TAG, TENANT_TAG, TERM_TAG
from canvas_sync_dagster.orchestration.next_step import RunState, next_step
from canvas_sync_dagster.orchestration.orphaned_runs import (
    batch_runs,
    close_abandoned,
    end_run,
    fail_orphaned_runs,
    failed_at_start,
    is_abandoned,
)
from canvas_sync_dagster.tenants import TenantSettings

if TYPE_CHECKING:
    # Private: the type of `dg.define_asset_job`'s result. The public API has no name for it.
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from canvas_sync_dagster.orchestration.batch_service import BatchService
    from canvas_sync_dagster.warehouse.state.sync_batches import Batch

SECONDS = 15


def batch_sensor(
    tenant: TenantSettings,
    batches: Callable[[str], BatchService],
    callbacks: Sequence[OnSync] = (),
    *,
    per_term: bool = True,
    term_assets: Mapping[str, Sequence[dg.AssetKey]] | None = None,
    first: Sequence[str] = (),
    jobs: Sequence[UnresolvedAssetJobDefinition] = (),
) -> dg.SensorDefinition:
    """Builds the sensor that looks after a tenant's batches.

    Args:
        tenant: Whose.
        batches: Gives its batches of a genre; called within a tick, for it needs the database.
        callbacks: Functions that are called when a batch is over: `success`, or `complete` for any end.
        per_term: Whether the tenant syncs anything per term.
        term_assets: Genre → what of the term job belongs to it; all of it for a genre that is not declared.
        first: Steps at the start of a batch; if one fails, the batch ends.
        jobs: The job of the term runs and the job of the steps at the end, if there are such steps.
    """
    slug = tenant.slug
    target: dict[str, Any] = {"jobs": jobs} if jobs else {"job_name": _job_name(slug, per_term=per_term)}

    @dg.sensor(
        name=f"{slug}__batches",
        **target,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Launches the term runs of {slug}'s syncs and closes those that are over.",
    )
    def look_after(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            ours = batches(tenant.batch_genre)
            requests = []
            said = [f"run {run_id} is dead" for run_id in fail_orphaned_runs(context.instance, ours)]
            for batch in ours.under_way():
                assets = (term_assets or {}).get(batch.genre)
                has_terms = per_term if assets is None else bool(assets)
                launched, reason = _go_on(
                    context,
                    batches(batch.genre),
                    batch,
                    callbacks,
                    has_terms=has_terms,
                    assets=assets,
                    first=first,
                    has_end=bool(jobs),
                )
                requests += launched
                said.append(f"{batch.key}: {reason}")
        except CanvasSyncError as error:
            return dg.SkipReason(str(error))
        # The page of the sensor lists its cursor beside each tick, and keeps that of the last sync.
        cursor = "; ".join(said) or context.cursor
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=cursor)
        return dg.SensorResult(skip_reason="; ".join(said) or f"no sync of {slug} is under way", cursor=cursor)

    return look_after


def _job_name(slug: str, *, per_term: bool) -> str:
    return f"{slug}__sync_term" if per_term else f"{slug}__sync_root"


def _go_on(
    context: dg.SensorEvaluationContext,
    ours: BatchService,
    batch: Batch,
    callbacks: Sequence[OnSync],
    *,
    has_terms: bool,
    assets: Sequence[dg.AssetKey] | None,
    first: Sequence[str],
    has_end: bool,
) -> tuple[list[dg.RunRequest], str]:
    if batch.details.get("trigger") == "command":
        # The command launches its runs itself, with options of its own; only a dead one needs somebody else.
        if not is_abandoned(context.instance, ours, batch):
            return [], "a command works on it"
        close_abandoned(context.instance, ours, batch, callbacks)
        return [], "its command is gone"
    tenant = ours.tenant
    root, runs, ids = batch_runs(context.instance, tenant.slug, batch.key)
    stopped = root is RunState.FAILURE and failed_at_start(context.instance, tenant.slug, batch.key, first)
    end, ends = end_run(context.instance, tenant.slug, batch.key) if has_end else (None, 0)
    step = next_step(
        silence=batch.silence,
        root=root,
        terms=batch.terms,
        runs=runs,
        scope=ours.terms.of_batch(batch.key) if has_terms and batch.terms is None and root is not None else (),
        concurrency=tenant.term_concurrency,
        go_on=tenant.on_failed_term == "continue" and not stopped,
        has_end=has_end,
        end=end,
    )
    if step.terms is not None:
        batch = ours.note_terms(batch, step.terms)
    elif root is not None:
        # Another Dagster instance on this warehouse knows none of its runs, and must not answer for it.
        ours.note(batch, {})
    if step.end:
        ours.note_outcome(batch, step.outcome or "", step.reason)
    if step.close and ours.close(batch, step.close, step.reason, ids):
        tell_of_batch(callbacks, ours, batch, step.close, step.reason, context.log)
    partitions = f"canvas_terms__{tenant.slug}"
    if unknown := set(step.launch) - set(context.instance.get_dynamic_partitions(partitions)):
        # A term that was deleted before this Dagster instance first read the terms.
        context.instance.add_dynamic_partitions(partitions, sorted(unknown))
    tags = {BATCH_TAG: batch.key, GENRE_TAG: batch.genre, TENANT_TAG: tenant.slug}
    asked = batch.details.get("options")
    config = {"resources": {"sync_options": {"config": asked}}} if asked else {}
    names = ours.terms.names() if step.launch else {}
    requests = [
        dg.RunRequest(
            run_key=f"{batch.key}:{term}",
            partition_key=term,
            tags={**tags, TERM_TAG: names.get(term) or term}
            | ({MODE_TAG: "full"} if term in last_sync_of(batch) else {}),
            run_config=config,
            asset_selection=assets,
            job_name=_job_name(tenant.slug, per_term=True) if has_end else None,
        )
        for term in step.launch
    ]
    if step.end:
        job_name = f"{tenant.slug}__sync_end"
        return [dg.RunRequest(run_key=f"{batch.key}:end:{ends}", job_name=job_name, tags=tags)], step.reason
    return requests, f"{step.close}, {step.reason}" if step.close else step.reason
