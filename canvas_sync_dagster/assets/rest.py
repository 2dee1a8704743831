"""Factory of the assets that a walk over REST feeds."""

from collections.abc import Iterator

import dagster as dg

from canvas_sync_dagster.assets.metadata import materialization
from canvas_sync_dagster.assets.partitions import term_partitions
from canvas_sync_dagster.assets.specs import asset_spec
from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.resources import CodeLocation, failures
from canvas_sync_dagster.settings import TenantSettings


def rest_asset(tenant: TenantSettings, model: Model) -> dg.AssetsDefinition:
    """Builds the op of one REST list; reading the terms also registers them as partitions."""

    @dg.multi_asset(name=f"{tenant.slug}__{model.name}", specs=[asset_spec(tenant, model, parents=())])
    def rest_list(
        context: dg.AssetExecutionContext, code_location: dg.ResourceParam[CodeLocation]
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        # As in reports.py: not by the definitions.
        from canvas_sync_dagster.sync.rest_sync import live_term_ids, sync_list  # noqa: PLC0415

        with failures(), code_location.session(tenant.slug) as session:
            outcome = sync_list(session, model, run_id=context.run.run_id)
            if model.name == "terms":
                # Keys are only ever added: deleting one under a run would fail that run at its end.
                name = str(term_partitions(tenant.slug).name)
                context.instance.add_dynamic_partitions(name, list(live_term_ids(session)))
        yield materialization(tenant, outcome, outcome.models[0])

    return rest_list
