"""`canvas-sync status`: what the copy holds, how fresh it is, and what waits for somebody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click
from psycopg import sql
from rich import box
from rich.console import Console
from rich.table import Table

from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import console
from canvas_sync_dagster.live_events.inbox import depth
from canvas_sync_dagster.live_events.silence import read_rhythm
from canvas_sync_dagster.settings import TenantSettings
from canvas_sync_dagster.sync.session import database_url
from canvas_sync_dagster.warehouse.batches import latest_batches
from canvas_sync_dagster.warehouse.connection import Connection, transaction
from canvas_sync_dagster.warehouse.state import missing, model_marked


@click.command()
@click.option("--tenant", help="Only this tenant; all if not given.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@located
def status(location: Location, tenant: str | None, as_json: bool) -> None:
    """Tell rows, freshness, suspects, rejects and waiting events."""
    told = [_of_tenant(location, each) for each in location.tenants(tenant)]
    if as_json:
        click.echo(json.dumps(told, default=str, indent=2))
        return
    for each in told:
        _print(console(), each)


def _of_tenant(location: Location, tenant: TenantSettings) -> dict[str, Any]:
    url, schema = database_url(location.settings, tenant), tenant.schema_in_database
    with transaction(url, "reading the status") as connection:
        lacking = missing(connection, schema, location.models)
        if lacking:
            return {"tenant": tenant.slug, "lacking": lacking}
        models = _models(connection, schema, location)
        spoken_of = {model.name for model in location.models if model.events}
        synced = [_synced(each) for each in models if each["model"] in spoken_of]
        return {
            "tenant": tenant.slug,
            "models": models,
            "batch": _batch(connection, schema),
            "events": _events(connection, schema, min(synced, default=None)),
            "rejects": _count(connection, schema, "canvas_sync_rejected_rows"),
        }


def _models(connection: Connection, schema: str, location: Location) -> list[dict[str, Any]]:
    marks = connection.execute(
        sql.SQL("select model, scope, observed_at, full_observed_at from {} order by 1, 2").format(
            sql.Identifier(schema, "canvas_sync_watermarks")
        )
    ).fetchall()
    found = []
    for model in location.models:
        mine = [(scope, observed, full) for name, scope, observed, full in marks if model_marked(name) == model.name]
        if not mine:
            continue
        found.append(
            {
                "model": model.name,
                "rows": _count(connection, schema, model.name),
                "suspects": _count(connection, schema, model.name, filled="missing_since"),
                "scopes": [{"term": s, "as_of": o, "full_as_of": f} for s, o, f in mine],
            }
        )
    return found


def _count(connection: Connection, schema: str, table: str, *, filled: str | None = None) -> int:
    where = sql.SQL("where {} is not null").format(sql.Identifier(filled)) if filled else sql.SQL("")
    query = sql.SQL("select count(*) from {} {}").format(sql.Identifier(schema, table), where)
    try:
        with connection.transaction():
            row = connection.execute(query).fetchone()
    except Exception:
        return 0
    return int(row[0]) if row else 0


def _batch(connection: Connection, schema: str) -> dict[str, Any] | None:
    batches = latest_batches(connection, schema, 1)
    if not batches:
        return None
    batch = batches[0]
    return {
        "key": batch.key,
        "status": batch.status,
        "started_at": batch.started_at,
        "reason": batch.details.get("reason"),
    }


def _synced(model: dict[str, Any]) -> datetime:
    """Says up to when a model was last synced; terms that are over are not synced any more."""
    found: datetime = max(scope["as_of"] for scope in model["scopes"])
    return found


def _events(connection: Connection, schema: str, synced: datetime | None) -> dict[str, Any]:
    """Tells what waits, and when events did not come.

    Args:
        connection: To the tenant's database.
        schema: In it.
        synced: Up to when all models that events speak of were synced; None if none was.
    """
    found, rhythm = depth(connection, schema), read_rhythm(connection, schema)
    silent = found.latest is not None and datetime.now(UTC) - found.latest > rhythm.unusual
    gaps = [
        {"since": gap.since, "until": gap.until, "repaired": synced is not None and synced > gap.until}
        for gap in rhythm.gaps
    ]
    return {
        "waiting": found.waiting,
        "dead": found.counts.get("dead", 0),
        "latest": found.latest,
        "silent": silent,
        "gaps": gaps,
    }


def _print(screen: Console, told: dict[str, Any]) -> None:
    if "lacking" in told:
        screen.print(
            f"{told['tenant']}: nothing is here yet; {len(told['lacking'])} tables or columns are missing. Run `canvas-sync migrate`."
        )
        return
    table = Table(title=told["tenant"], title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("model", "term"):
        table.add_column(name, no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("data as of", no_wrap=True)
    table.add_column("last full", no_wrap=True)
    table.add_column("suspects", justify="right")
    for model in told["models"]:
        for at, scope in enumerate(model["scopes"]):
            first = at == 0
            table.add_row(
                model["model"] if first else "",
                scope["term"],
                f"{model['rows']:,}" if first else "",
                _when(scope["as_of"]),
                _when(scope["full_as_of"]),
                f"{model['suspects']:,}" if first and model["suspects"] else "",
            )
    screen.print(table)
    if batch := told["batch"]:
        screen.print(f"last sync: {batch['key']} {batch['status']}{': ' + batch['reason'] if batch['reason'] else ''}")
    events = told["events"]
    screen.print(
        f"rejected rows: {told['rejects']:,}; live events waiting: {events['waiting']:,}, dead: {events['dead']:,}"
    )
    if events["silent"]:
        screen.print(
            f"no live event since {_when(events['latest'])}, which is longer than usual: is the receiver up, and the "
            "subscription active? The next sync reaches back over the gap by itself."
        )
    for gap in events["gaps"]:
        screen.print(
            f"no live event from {_when(gap['since'])} to {_when(gap['until'])}, which was longer than usual: "
            + (
                "syncs have reached back over it."
                if gap["repaired"]
                else "the next sync reaches back over it by itself."
            )
        )


def _when(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if moment else "never"
