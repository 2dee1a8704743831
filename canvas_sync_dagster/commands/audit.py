"""`canvas-sync audit`: estimate how true the tables are, and repair what differs."""

from __future__ import annotations

from typing import Any

import click

from canvas_sync_dagster.audit.plan import ModelPlan
from canvas_sync_dagster.audit.result import ModelAudit
from canvas_sync_dagster.audit.run import SAMPLE, audit_plans, chosen_models, cost_of, plan_models
from canvas_sync_dagster.commands.audit_report import audit_lines
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import json_option, say, show, width_of_output, write_json
from canvas_sync_dagster.errors import AuditIncompleteError
from canvas_sync_dagster.tenants import TenantSettings


@click.command()
@click.option("--model", "models", multiple=True, help="Only this model; may be repeated. All by default.")
@click.option(
    "--sample",
    type=click.IntRange(1, 100_000),
    default=SAMPLE,
    show_default=True,
    help="Maximum rows, and maximum lists of Canvas, per model.",
)
@click.option("--repair", is_flag=True, help="Read the rows that differ again, and write what Canvas has.")
@click.option("--seed", type=int, help="Draw the same sample as another audit with this seed.")
@click.option("--tenant", help="Only this tenant; all by default.")
@json_option
@located
def audit(
    location: Location,
    models: tuple[str, ...],
    sample: int,
    seed: int | None,
    tenant: str | None,
    *,
    repair: bool,
    as_json: bool,
) -> None:
    """Estimate how true the tables are.

    \b
    Examples:
      canvas-sync audit
      canvas-sync audit --model enrollments --sample 1000
      canvas-sync audit --model courses --repair

    A random sample of the rows is read from Canvas by another path than the sync's, and objects of random lists of Canvas
    are looked up in the tables. Drift that is found does not change the exit code. Exit code
    1: Canvas hides from the token what the audit has to read, or does not answer.
    """
    told: list[dict[str, Any]] = []

    def work(each: TenantSettings) -> None:
        found: list[ModelAudit] = []
        try:
            _audit(location, each, models, sample, seed, found, repair=repair, quiet=as_json)
        finally:
            told.append({"tenant": each.slug, "models": [one.as_json() for one in found]})

    try:
        location.each(tenant, work)
    finally:
        if as_json:
            write_json(told)


def _audit(
    location: Location,
    tenant: TenantSettings,
    names: tuple[str, ...],
    sample: int,
    seed: int | None,
    found: list[ModelAudit],
    *,
    repair: bool,
    quiet: bool,
) -> None:
    """Audit one tenant, and append the audit of each model to `found`."""
    with location.project.session(tenant) as session:
        plans = plan_models(session, chosen_models(session, names), sample, seed=seed)
        say(f"{tenant.slug}: {cost_of(session, plans)}", err=True)
        for line in map(_about, plans):
            if line:
                say(f"{tenant.slug}/{line}", err=True)
        try:
            for each in audit_plans(session, plans, repair=repair):
                found.append(each)
        finally:
            if found and not quiet:
                show(audit_lines(tenant.slug, found, width_of_output()))
    failed = [f"{each.model}: {each.rows_reason or each.objects_reason}" for each in found if each.failed]
    if failed:
        raise AuditIncompleteError(tenant.slug, failed)


def _about(plan: ModelPlan) -> str:
    """Return what a person should know about a sample; empty if nothing."""
    if plan.reason:
        return f"{plan.model.name}: not audited: {plan.reason}"
    if plan.sample > plan.rows and not plan.rows_reason:
        return f"{plan.model.name}: the sample of {plan.sample:,} is larger than the table; all {plan.rows:,} rows are compared"
    return ""
