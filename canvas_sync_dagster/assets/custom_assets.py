"""Assets of the user: custom reports, and steps inserted between the models."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from canvas_sync_dagster.assets.partitions import term_partitions
from canvas_sync_dagster.assets.run_options import run_options
from canvas_sync_dagster.assets.specs import asset_key
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, TENANT_TAG
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource, as_dagster_failure
from canvas_sync_dagster.sync.custom_report import sync_custom_report
from canvas_sync_dagster.sync.extension_types import CustomReport, Insertion, InsertionContext, as_metadata
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.insertion import run_insertion
from canvas_sync_dagster.tenants import TenantSettings

AT_END = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL)
"""Default retry policy of steps at the end of a batch: 70 seconds in all, which is longer than a restart of a server."""


def custom_report_asset(tenant: TenantSettings, report: CustomReport, *, earlier: Sequence[str]) -> dg.AssetsDefinition:
    """Return the asset of a custom report.

    Args:
        tenant: Settings of the tenant.
        report: The report and its function.
        earlier: Names of its upstream assets.
    """
    spec = _spec(tenant, report.asset, earlier, report.processor.__doc__, per_term=report.per_term)

    @dg.multi_asset(name=f"{tenant.slug}__{report.asset}", specs=[spec], pool=f"canvas_reports__{tenant.slug}")
    def custom_report(
        context: dg.AssetExecutionContext,
        code_location: dg.ResourceParam[CodeLocation],
        sync_options: SyncOptionsResource,
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        with as_dagster_failure(), code_location.session(tenant.slug) as session:
            options = run_options(context, code_location, sync_options, tenant.slug)
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


def insertion_asset(
    tenant: TenantSettings, insertion: Insertion, *, earlier: Sequence[str], per_term: bool
) -> dg.AssetsDefinition:
    """Return the asset of an inserted step.

    Args:
        tenant: Settings of the tenant.
        insertion: The step.
        earlier: Names of its upstream assets.
        per_term: Whether it runs once for each term.
    """
    spec = _spec(tenant, insertion.name, earlier, insertion.function.__doc__, per_term=per_term)

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
            batch = code_location.batches(tenant.slug).outcome(key) if insertion.at == "end" and key else None
            own = InsertionContext(tenant.slug, scope, session, context.run.run_id, context.log.info, batch)
            returned = run_insertion(insertion, own)
        yield dg.MaterializeResult(asset_key=spec.key, metadata=_metadata(returned))

    return inserted


def _metadata(returned: object) -> dict[str, Any]:
    """Return the result of a function as metadata; Dagster's metadata values, such as Markdown and links, are kept."""
    given = returned if isinstance(returned, Mapping) else {}
    own = {str(name): value for name, value in given.items() if isinstance(value, dg.MetadataValue)}
    return {**as_metadata(returned), **own}


def _spec(
    tenant: TenantSettings, name: str, deps: Sequence[str], description: str | None, *, per_term: bool
) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=asset_key(tenant.slug, name),
        deps=[asset_key(tenant.slug, dep) for dep in deps],
        description=description,
        group_name=tenant.slug,
        kinds={"python"},
        tags={TENANT_TAG: tenant.slug},
        partitions_def=term_partitions(tenant.slug) if per_term else None,
    )
