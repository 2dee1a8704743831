"""Assets of the user: custom reports, and steps inserted between the models."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from canvas_sync_dagster.assets.run_options import run_options
from canvas_sync_dagster.assets.tenant_assets import TenantAssets
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource, as_dagster_failure
from canvas_sync_dagster.sync.custom_report import sync_custom_report
from canvas_sync_dagster.sync.extension_types import CustomReport, Insertion, InsertionContext, as_metadata
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.insertion import run_insertion

AT_END = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL)
"""Default retry policy of steps at the end of a batch: 70 seconds in all, which is longer than a restart of a server."""


def custom_report_asset(assets: TenantAssets, report: CustomReport) -> dg.AssetsDefinition:
    """Return the asset of a custom report.

    Args:
        assets: Assets of the tenant.
        report: The report and its function.
    """
    tenant, spec = assets.tenant, assets.specs[report.asset]

    @dg.multi_asset(name=f"{tenant.slug}__{report.asset}", specs=[spec], pool=f"canvas_reports__{tenant.slug}")
    def custom_report(
        context: dg.AssetExecutionContext,
        code_location: dg.ResourceParam[CodeLocation],
        sync_options: SyncOptionsResource,
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        with as_dagster_failure(), code_location.session(tenant.slug) as session:
            options = run_options(context, code_location, sync_options, session)
            scope = context.partition_key if report.per_term else ""
            done = sync_custom_report(Flow.of(session, options, scope, log=context.log.info), report)
        told = {
            "report_id": done.report_id,
            "mode": done.decision.mode,
            "mode_reason": done.decision.reason,
            "observed_at": dg.MetadataValue.timestamp(done.observed_at),
            "seconds": round(done.seconds, 3),
            "seconds_waiting": round(done.waited, 3),
        }
        yield dg.MaterializeResult(asset_key=spec.key, metadata={**told, **_metadata(done.returned)})

    return custom_report


def insertion_asset(assets: TenantAssets, insertion: Insertion, *, per_term: bool) -> dg.AssetsDefinition:
    """Return the asset of an inserted step.

    Args:
        assets: Assets of the tenant.
        insertion: The step.
        per_term: Whether it runs once for each term.
    """
    tenant, spec = assets.tenant, assets.specs[insertion.name]
    policy = insertion.retry_policy or (AT_END if insertion.at == "end" else None)

    @dg.multi_asset(
        name=f"{tenant.slug}__{insertion.name}",
        specs=[spec],
        pool=insertion.pool,
        retry_policy=policy,
        op_tags=dict(insertion.tags),
    )
    def inserted(
        context: dg.AssetExecutionContext, code_location: dg.ResourceParam[CodeLocation]
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        scope = context.partition_key if per_term else ""
        with as_dagster_failure(retries=policy is not None), code_location.session(tenant.slug) as session:
            key = context.run.tags.get(BATCH_TAG)
            batch = (
                code_location.batches(tenant.slug, connections=session.connections).outcome(key)
                if insertion.at == "end" and key
                else None
            )
            own = InsertionContext(tenant.slug, scope, session, context.run.run_id, context.log.info, batch)
            returned = run_insertion(insertion, own)
        yield dg.MaterializeResult(asset_key=spec.key, metadata=_metadata(returned))

    return inserted


def _metadata(returned: object) -> dict[str, Any]:
    """Return the result of a function as metadata; Dagster's metadata values, such as Markdown and links, are kept."""
    given = returned if isinstance(returned, Mapping) else {}
    own = {str(name): value for name, value in given.items() if isinstance(value, dg.MetadataValue)}
    return {**as_metadata(returned), **own}
