"""The `drift` checks of a tenant, and the job that audits its tables.

The checks are evaluated by the job `<tenant>__audit`, or if a person executes one in the UI. A run that materializes an
asset evaluates all of its checks; it repeats the result of the latest audit, because an audit takes hundreds of requests.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from canvas_sync_dagster.assets.checks import markdown_table
from canvas_sync_dagster.assets.tenant_assets import TenantAssets
from canvas_sync_dagster.audit.comparison import Cause, Difference
from canvas_sync_dagster.audit.estimate import Share
from canvas_sync_dagster.audit.plan import audited_models
from canvas_sync_dagster.audit.result import ModelAudit
from canvas_sync_dagster.audit.run import audit_plans, chosen_models, cost_of, plan_models
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG
from canvas_sync_dagster.resources import CodeLocation, as_dagster_failure
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.state.audits import Audits, StoredAudit

DRIFT = "drift"
DESCRIPTION = (
    "The latest audit found no drift: a random sample of the rows was read from Canvas by another path than the sync's, and "
    "objects of random lists of Canvas were looked up in the table."
)
SHOWN = 50
"""Differences in the metadata of a check; all are in canvas_sync_audits."""
CONFIG = {
    "sample": dg.Field(
        dg.Noneable(int),
        default_value=None,
        is_required=False,
        description="Maximum rows, and maximum lists of Canvas, per model. Default: the tenant's audit_sample.",
    ),
    "repair": dg.Field(
        bool, default_value=False, description="true reads the rows that differ again, and writes what Canvas has."
    ),
}


def drift_checks(assets: TenantAssets, extensions: Extensions) -> dg.AssetChecksDefinition | None:
    """Return the `drift` checks of a tenant's models; None if no model has an independent path.

    Args:
        assets: Assets of the tenant.
        extensions: The user's functions.
    """
    tenant, keys = assets.tenant, assets.keys
    names = [model.name for model in audited_models(assets.models, tenant, extensions)]
    if not names:
        return None

    @dg.multi_asset_check(
        name=f"{tenant.slug}__drift",
        specs=[dg.AssetCheckSpec(DRIFT, asset=keys.of(name), description=DESCRIPTION) for name in names],
        can_subset=True,
        config_schema=CONFIG,
        required_resource_keys={"code_location"},
    )
    def drift(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        location: CodeLocation = context.resources.code_location
        config: Mapping[str, Any] = context.op_execution_context.op_config
        chosen = [name for name in names if dg.AssetCheckKey(keys.of(name), DRIFT) in context.selected_asset_check_keys]
        with as_dagster_failure(), location.session(tenant.slug) as session:
            if context.run.asset_selection:
                yield from _latest(session, assets, chosen)
                return
            plans = plan_models(session, chosen_models(session, chosen), config["sample"] or tenant.audit_sample)
            context.log.info(f"{tenant.slug}: {cost_of(session, plans)}")
            for audit in audit_plans(session, plans, repair=config["repair"], run_id=context.run.run_id):
                context.log.info(_sentence(audit))
                context.op_execution_context.log_event(_observation(keys.of(audit.model), audit))
                yield _result(keys.of(audit.model), audit)

    return drift


def audit_job(assets: TenantAssets, checks: dg.AssetChecksDefinition) -> Any:
    """Return the job that audits a tenant's tables.

    Args:
        assets: Assets of the tenant.
        checks: Its `drift` checks.
    """
    slug = assets.tenant.slug
    return dg.define_asset_job(
        f"{slug}__audit",
        selection=dg.AssetSelection.checks(*checks.check_keys),
        description=f"Estimates how true the tables of {slug} are: compares a random sample with Canvas.",
        tags={TENANT_TAG: slug},
    )


def _result(key: dg.AssetKey, audit: ModelAudit) -> dg.AssetCheckResult:
    rows = [_row(each) for each in audit.differences[:SHOWN]]
    metadata: dict[str, Any] = {name: value for name, value in _numbers(audit).items() if value is not None}
    if rows:
        metadata["differences"] = dg.MetadataValue.md(markdown_table(("key", "difference", "cause", "columns"), rows))
    if audit.columns:
        metadata["differing_columns"] = dict(audit.columns)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=DRIFT,
        passed=not audit.drifted and not audit.failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=_sentence(audit),
        metadata=metadata,
    )


def _observation(key: dg.AssetKey, audit: ModelAudit) -> dg.AssetObservation:
    """Return the event from which the UI plots the numbers of the audits."""
    metadata = {name: value for name, value in _numbers(audit).items() if value is not None}
    return dg.AssetObservation(key, description=_sentence(audit), metadata=metadata)


def _numbers(audit: ModelAudit) -> dict[str, float | int | None]:
    return {
        "rows_compared": audit.compared,
        "objects_looked_up": audit.looked_up,
        "drifted": audit.drifted,
        **_percents("wrong", audit.wrong),
        **_percents("missing", audit.missing),
        "lag_p50_seconds": audit.lag(0.5),
        "lag_p95_seconds": audit.lag(0.95),
        "audit_requests": audit.requests,
    }


def _percents(name: str, share: Share | None) -> dict[str, float | int | None]:
    if share is None:
        return {}
    return {f"{name}_percent": round(100 * share.value, 4), f"{name}_percent_at_most": round(100 * share.high, 4)}


def _sentence(audit: ModelAudit) -> str:
    parts = []
    if audit.wrong is not None:
        parts.append(f"wrong rows: {audit.wrong} of {audit.compared:,} compared")
    if audit.missing is not None:
        parts.append(f"missing objects: {audit.missing} of {audit.looked_up:,} looked up")
    if reason := (audit.reason or (audit.failed and (audit.rows_reason or audit.objects_reason))):
        parts.append(f"not audited: {reason}")
    if undated := audit.count(None, Cause.UNDATED):
        parts.append(f"{undated:,} differences may be changes after the last sync")
    if audit.repaired is not None:
        parts.append(f"{audit.repaired:,} rows were read again and written")
    return f"{audit.model}: {'; '.join(parts)}."


def _row(each: Difference) -> tuple[str, str, str, str]:
    key = ", ".join(f"{name} {value}" for name, value in each.key.items())
    return key, each.kind.value, each.cause.value, ", ".join(each.columns)


def _latest(session: Session, assets: TenantAssets, names: Iterable[str]) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of the latest audits."""
    with session.warehouse("reading audits") as warehouse:
        stored = Audits(warehouse).latest()
    for name in names:
        audit = stored.get(name)
        yield dg.AssetCheckResult(
            asset_key=assets.keys.of(name),
            check_name=DRIFT,
            passed=audit is None or not audit.drifted,
            severity=dg.AssetCheckSeverity.WARN,
            description=_repeated(assets.tenant.slug, audit),
        )


def _repeated(slug: str, audit: StoredAudit | None) -> str:
    if audit is None:
        return f"Not audited yet; {slug}__audit does it."
    return f"The audit of {audit.audited_at:%Y-%m-%d %H:%M %Z} found {audit.drifted:,} differences."
