"""Factory of the assets that a walk over REST feeds."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from canvas_sync_dagster.assets.checks import check_results, check_specs, staleness_results
from canvas_sync_dagster.assets.metadata import materialization
from canvas_sync_dagster.assets.run_options import run_options
from canvas_sync_dagster.assets.tenant_assets import TenantAssets
from canvas_sync_dagster.assets.term_table import term_table
from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.orchestration.term_partitions import register_terms
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource, as_dagster_failure
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.rest_sync import sync_list


def rest_asset(assets: TenantAssets, model: Model) -> dg.AssetsDefinition:
    """Return the asset of one REST list; that of the terms also registers them as partitions.

    Args:
        assets: Assets of the tenant.
        model: The model.
    """
    tenant, key = assets.tenant, assets.keys.of(model.name)

    @dg.multi_asset(
        name=f"{tenant.slug}__{model.name}",
        specs=[assets.specs[model.name]],
        check_specs=check_specs(key, model, tenant.blocking_checks),
    )
    def rest_list(
        context: dg.AssetExecutionContext,
        code_location: dg.ResourceParam[CodeLocation],
        sync_options: SyncOptionsResource,
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:  # type: ignore[type-arg]
        with as_dagster_failure(), code_location.session(tenant.slug) as session:
            options = run_options(context, code_location, sync_options, session)
            scope = context.partition_key if model.term_scoped else ""
            outcome = sync_list(Flow.of(session, options, scope, log=context.log.info), model)
            covered, wanted = (
                code_location.batches(tenant.slug, connections=session.connections).terms,
                context.selected_asset_check_keys,
            )
            made = materialization(assets, outcome, outcome.models[0], options.batch_id)
            if model.name == "terms":
                partitions = covered.partitions(datetime.now(UTC))
                register_terms(context.instance, tenant.slug, partitions.keys)
                made = made._replace(metadata={**(made.metadata or {}), "terms": term_table(covered, partitions)})
            yield made
            # A list is always complete: no earlier one can hold it.
            yield from check_results(key, outcome.models[0], scope, {}, wanted)
            yield from staleness_results(covered, {model.name: key}, wanted)

    return rest_list
