"""Factory of the report-fed assets: one Canvas report is one op, however many tables it fills."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import dagster as dg

from canvas_sync_dagster.assets.checks import check_results, check_specs, skipped_checks, skipped_observation
from canvas_sync_dagster.assets.metadata import materialization
from canvas_sync_dagster.assets.run_options import run_options
from canvas_sync_dagster.assets.specs import asset_spec
from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource, as_dagster_failure
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.report_request import ReportGroup, requested
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.tenants import TenantSettings


def report_asset(
    tenant: TenantSettings,
    groups: Sequence[ReportGroup],
    group: ReportGroup,
    *,
    unscoped: Collection[str],
    earlier: Mapping[str, tuple[str, ...]],
) -> dg.AssetsDefinition:
    """Return the asset of one report; the selection of its models decides the parameters of the report.

    Args:
        tenant: Settings of the tenant.
        groups: All reports, in the order in which a run requests them.
        group: The models that the report feeds.
        unscoped: Names of the models without a term.
        earlier: Model → steps of the user that run before it.
    """

    place = groups.index(group)
    later = [each for each in groups[place + 1 :] if each.term_scoped == group.term_scoped]

    @dg.multi_asset(
        name=f"{tenant.slug}__{group.name}",
        specs=[
            asset_spec(tenant, model, parents=_drawn_parents(model, group, unscoped) + earlier[model.name])
            for model in group.models
        ],
        check_specs=[check for model in group.models for check in check_specs(tenant.slug, model)],
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
        selected = {key.path[-1] for key in context.selected_asset_keys}
        with as_dagster_failure(), code_location.session(tenant.slug) as session:
            options = run_options(context, code_location, sync_options, tenant.slug)
            scope = context.partition_key if group.term_scoped else ""
            flow = Flow.of(session, options, scope, log=context.log.info)
            in_run = set(context.job_def.asset_layer.executable_asset_keys)
            following = [(each, _selected(in_run, tenant.slug, each)) for each in later]
            # One report, unless models of the group have additional parameters.
            reports = requested([(group, selected)], flow.policy.params)
            for place_in_op, (part, names) in enumerate(reports):
                ahead = [*reports[place_in_op + 1 :], *following]
                outcome = sync_report(flow, part, names, following=ahead)
                for name, why in outcome.skipped.items():
                    context.log_event(skipped_observation(tenant.slug, name, scope or None, why))
                    yield from skipped_checks(tenant.slug, name, why, context.selected_asset_check_keys)
                for each in outcome.models:
                    yield materialization(tenant, outcome, each, options.batch_id)
                    yield from check_results(tenant.slug, each, context.selected_asset_check_keys)

    return report


def _selected(in_run: Collection[dg.AssetKey], slug: str, group: ReportGroup) -> set[str]:
    """Return the models of a report that the run has selected."""
    return {model.name for model in group.models if dg.AssetKey([slug, model.name]) in in_run}


def _drawn_parents(model: Model, group: ReportGroup, unscoped: Collection[str]) -> tuple[str, ...]:
    """Return the parents that become upstream assets.

    Tables of another report of the same term do not: reports of one term do not wait for each other, and a row that is
    loaded before its parent gets it a moment later.
    """
    together = {each.name for each in group.models}
    return tuple(name for name in model.parents if name in together or (model.term_scoped and name in unscoped))
