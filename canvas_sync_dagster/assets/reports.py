"""Factory of the report-fed assets: one Canvas report is one op, however many tables it fills.

A table whose report this Canvas does not offer is filled over REST by the same op.
"""

from collections.abc import Iterator

import dagster as dg

from canvas_sync_dagster.assets.checks import (
    check_results,
    check_specs,
    skipped_checks,
    skipped_observation,
    staleness_results,
)
from canvas_sync_dagster.assets.metadata import materialization
from canvas_sync_dagster.assets.run_options import run_options
from canvas_sync_dagster.assets.tenant_assets import TenantAssets
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource, as_dagster_failure
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.model_sync import sync_models
from canvas_sync_dagster.sync.report_request import ReportGroup, requested
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks


def report_asset(assets: TenantAssets, group: ReportGroup) -> dg.AssetsDefinition:
    """Return the asset of one report; the selection of its models decides the parameters of the report.

    Args:
        assets: Assets of the tenant.
        group: The models that the report feeds.
    """
    tenant, keys = assets.tenant, assets.keys
    place = assets.groups.index(group)
    later = [each for each in assets.groups[place + 1 :] if each.term_scoped == group.term_scoped]

    @dg.multi_asset(
        name=f"{tenant.slug}__{group.name}",
        specs=[assets.specs[model.name] for model in group.models],
        check_specs=[
            check for model in group.models for check in check_specs(keys.of(model.name), model, tenant.blocking_checks)
        ],
        can_subset=True,
        pool=f"canvas_reports__{tenant.slug}",
        # The executor runs the highest priority first: the reports must run in the order in which they are requested ahead.
        op_tags={"dagster/priority": str(-place)},
    )
    def report(
        context: dg.AssetExecutionContext,
        code_location: dg.ResourceParam[CodeLocation],
        sync_options: SyncOptionsResource,
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:  # type: ignore[type-arg]
        selected = keys.names_in(context.selected_asset_keys)
        wanted = context.selected_asset_check_keys
        with as_dagster_failure(), code_location.session(tenant.slug) as session:
            options = run_options(context, code_location, sync_options, session)
            scope = context.partition_key if group.term_scoped else ""
            flow = Flow.of(session, options, scope, log=context.log.info)
            in_run = keys.names_in(context.job_def.asset_layer.executable_asset_keys)
            following = [(each, {model.name for model in each.models} & in_run) for each in later]
            loaded: list[str] = []
            # One report, unless models of the group have additional parameters.
            reports = requested([(group, selected)], flow.policy.params)
            for place_in_op, (part, names) in enumerate(reports):
                ahead = [*reports[place_in_op + 1 :], *following]
                for outcome in sync_models(flow, part, names, following=ahead):
                    for name, why in outcome.skipped.items():
                        context.log_event(skipped_observation(keys.of(name), scope or None, why))
                        yield from skipped_checks(keys.of(name), why, wanted)
                    held = _held(session)
                    for each in outcome.models:
                        loaded.append(each.model.name)
                        yield materialization(assets, outcome, each, options.batch_id)
                        yield from check_results(keys.of(each.model.name), each, scope, held, wanted)
            covered = code_location.batches(tenant.slug, connections=session.connections).terms
            yield from staleness_results(covered, {name: keys.of(name) for name in loaded}, wanted)

    return report


def _held(session: Session) -> dict[tuple[str, str], str]:
    with session.warehouse("reading watermarks") as warehouse:
        return Watermarks(warehouse).held()
