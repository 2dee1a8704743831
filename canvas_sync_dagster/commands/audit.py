"""`canvas-sync audit`: estimate how true the tables are, and repair what differs."""

from __future__ import annotations

import json
from typing import Any

import click
from rich import box
from rich.table import Table

from canvas_sync_dagster.audit.plan import ModelPlan
from canvas_sync_dagster.audit.result import ModelAudit
from canvas_sync_dagster.audit.run import SAMPLE, audit_plans, chosen_models, cost_of, plan_models
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import console, say, write
from canvas_sync_dagster.errors import AuditIncompleteError
from canvas_sync_dagster.tenants import TenantSettings

SHOWN = 20
"""Differences of one model that are printed; all are in `--json` and in `canvas_sync_audits`."""


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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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

    A random sample of the rows is read from Canvas by another path than the sync's, and objects of random lists of Canvas
    are looked up in the tables. Drift that is found does not change the exit code.
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
            write(json.dumps(told, default=str, indent=2) + "\n")


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
                _print(tenant.slug, found)
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


def _print(slug: str, audits: list[ModelAudit]) -> None:
    screen = console()
    table = Table(title=slug, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    for name in ("rows compared", "wrong (95 %)", "objects looked up", "missing (95 %)", "lag p50 / p95"):
        table.add_column(name, justify="right")
    table.add_column("differing columns")
    for each in audits:
        table.add_row(
            each.model,
            f"{each.compared:,}" if each.compared else "",
            str(each.wrong or ""),
            f"{each.looked_up:,} in {each.lists:,}" if each.lists else "",
            str(each.missing or ""),
            _lag(each),
            ", ".join(f"{name} {count}" for name, count in each.columns.items()),
        )
    screen.print(table)
    for each in audits:
        for difference in each.differences[:SHOWN]:
            key = ", ".join(f"{name} {value}" for name, value in difference.key.items())
            where = f" in {', '.join(difference.columns)}" if difference.columns else ""
            screen.print(f"{each.model}: {key}: {difference.kind}{where} ({difference.cause})", soft_wrap=True)
        if len(each.differences) > SHOWN:
            screen.print(f"{each.model}: and {len(each.differences) - SHOWN:,} more, in canvas_sync_audits")
        if each.repaired is not None:
            screen.print(f"{each.model}: {each.repaired:,} rows read again from Canvas and written")


def _lag(audit: ModelAudit) -> str:
    middle, most = audit.lag(0.5), audit.lag(0.95)
    return "" if middle is None or most is None else f"{_spelled(middle)} / {_spelled(most)}"


def _spelled(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"
