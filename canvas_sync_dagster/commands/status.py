"""`canvas-sync status`: rows, freshness, last and next sync, and whatever needs a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from psycopg import sql
from rich import box
from rich.console import Console
from rich.table import Table

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import console, write
from canvas_sync_dagster.live_events.event_gaps import read_event_gaps
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.session import database_url
from canvas_sync_dagster.sync.sync_status import ScopeStatus, read_status, unmet_schedules
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.schema.existing import fitness
from canvas_sync_dagster.warehouse.state.alert_states import AlertStates
from canvas_sync_dagster.warehouse.state.inbox import depth
from canvas_sync_dagster.warehouse.state.rejected_rows import RejectedRows
from canvas_sync_dagster.warehouse.state.sync_batches import Batch, SyncBatches
from canvas_sync_dagster.warehouse.table_counts import count_matching
from canvas_sync_dagster.warehouse.warehouse import Warehouse

FUTURE = (
    "A clock was wrong: there are observations that lie in the future. They do not count, and the next sync replaces "
    "what differs. Run `canvas-sync doctor` to compare the clocks; `canvas-sync sync --reload` gives each row a right time."
)


@click.command()
@click.option("--tenant", help="Only this tenant; all by default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@located
def status(location: Location, tenant: str | None, as_json: bool) -> None:
    """Show rows, freshness, last and next sync, suspects, rejects and waiting events."""
    told: list[dict[str, Any]] = []

    def work(each: TenantSettings) -> None:
        told.append(_of_tenant(location, each))
        if not as_json:
            _print(console(), told[-1])

    try:
        location.each(tenant, work)
    finally:
        if as_json:
            write(json.dumps(told, default=str, indent=2) + "\n")


def _of_tenant(location: Location, tenant: TenantSettings) -> dict[str, Any]:
    url, schema = database_url(location.settings, tenant), tenant.schema_in_database
    with transaction(url, "reading the status") as connection:
        lacking = fitness(connection, schema, location.models_of(tenant)).lacking
    if lacking:
        return {"tenant": tenant.slug, "lacking": lacking}
    found = read_status(CoveredTerms(tenant, url, location.models_of(tenant), location.extensions.term_scope))
    with transaction(url, "reading the status") as connection:
        warehouse = Warehouse(connection, schema)
        latest = SyncBatches(warehouse).latest()
        return {
            "tenant": tenant.slug,
            "schedule": f"{tenant.schedule} ({tenant.timezone})",
            "unmet": list(unmet_schedules(tenant, datetime.now(UTC))),
            "models": _models(warehouse, location.models_of(tenant), found),
            "under_way": [_batch(each) for each in SyncBatches(warehouse).under_way()],
            "batch": next(map(_batch, latest), None),
            "genres": [_genre(tenant.of_genre(name), latest) for name in tenant.genres],
            "events": _events(warehouse, _synced(found, location.models)),
            "rejects": sum(RejectedRows(warehouse).count_by_model().values()),
            "undelivered_alerts": [
                {"channel": channel, "count": count, "error": error}
                for channel, (count, error) in AlertStates(warehouse).count_undelivered().items()
            ],
        }


def _genre(tenant: TenantSettings, latest: Sequence[Batch]) -> dict[str, Any]:
    """Return the status of a genre.

    Args:
        tenant: Settings of the tenant for this genre.
        latest: Latest batch of each genre.
    """
    return {
        "genre": tenant.batch_genre,
        "schedule": f"{tenant.schedule} ({tenant.timezone})",
        "models": tenant.models,
        "batch": next((_batch(each) for each in latest if each.genre == tenant.batch_genre), None),
    }


def _models(warehouse: Warehouse, models: Sequence[Model], found: list[ScopeStatus]) -> list[dict[str, Any]]:
    rejected = RejectedRows(warehouse).count_by_model()
    tables = {model.name: warehouse.table(model) for model in models}
    return [
        {
            "model": model,
            "rows": count_matching(tables[model]),
            "suspects": count_matching(tables[model], sql.SQL("missing_since is not null")),
            "rejects": rejected.get(model, 0),
            "observed_in_future": count_matching(
                tables[model], sql.SQL("observed_at > {}").format(sql.Literal(horizon()))
            ),
            "scopes": [_scope(each) for each in found if each.model == model],
        }
        for model in dict.fromkeys(each.model for each in found)
    ]


def _scope(each: ScopeStatus) -> dict[str, Any]:
    last, coming = each.last, each.coming
    return {
        "term": each.scope,
        "as_of": each.mark.observed_at if each.mark else None,
        "as_of_in_future": each.mark is not None and each.mark.is_ahead(datetime.now(UTC)),
        "full_as_of": each.mark.full_observed_at if each.mark else None,
        "stale": each.behind,
        "last": last
        and {
            "status": last.status,
            "at": last.at,
            "mode": last.mode,
            "mode_reason": last.reason,
            "rows": last.rows,
            "superseded": last.superseded,
            "error": last.error,
        },
        "next": coming and {"mode": coming.mode, "mode_reason": coming.reason, "updated_after": coming.updated_after},
    }


def _batch(batch: Batch) -> dict[str, Any]:
    return {
        "key": batch.key,
        "genre": batch.genre,
        "status": batch.status,
        "started_at": batch.started_at,
        "reason": batch.details.get("reason"),
        "terms": batch.terms,
        "silent_seconds": round(batch.silence.total_seconds()),
    }


def _synced(found: list[ScopeStatus], models: Sequence[Model]) -> datetime | None:
    """Return the time up to which all models with live events were synced; ended terms are not synced any more."""
    spoken_of = {model.name for model in models if model.events}
    latest: dict[str, datetime] = {}
    for each in found:
        if each.model in spoken_of and each.mark and each.mark.observed_at:
            latest[each.model] = max(latest.get(each.model, each.mark.observed_at), each.mark.observed_at)
    return min(latest.values(), default=None)


def _events(warehouse: Warehouse, synced: datetime | None) -> dict[str, Any]:
    """Return what waits in the inbox, and when no events were received.

    Args:
        warehouse: The tenant's.
        synced: Up to when all models that events speak of were synced; None if none was.
    """
    found, received = depth(warehouse), read_event_gaps(warehouse)
    silent = found.latest is not None and datetime.now(UTC) - found.latest > received.limit
    gaps = [
        {"since": gap.since, "until": gap.until, "repaired": synced is not None and synced > gap.until}
        for gap in received.unusual
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
            f"{told['tenant']}: {len(told['lacking'])} tables or columns are missing. Run `canvas-sync migrate`."
        )
        return
    screen.print(_table(told))
    for line in _skipped(told["models"]):
        screen.print(line, soft_wrap=True)
    for batch in told["under_way"]:
        screen.print(f"under way: {batch['key']}, since {_when(batch['started_at'])}")
    if (batch := told["batch"]) and batch["status"] != "processing":
        screen.print(f"last sync: {batch['key']} {batch['status']}{': ' + batch['reason'] if batch['reason'] else ''}")
    screen.print(f"schedule: {told['schedule']}")
    for problem in told["unmet"]:
        screen.print(problem, markup=False)
    for each in told["genres"]:
        batch = each["batch"]
        last = f"; last sync: {batch['key']} {batch['status']}" if batch else ""
        screen.print(f"genre {each['genre']}: {each['schedule']}, models {', '.join(each['models'])}{last}")
    if any(model["observed_in_future"] for model in told["models"]) or any(
        scope["as_of_in_future"] for model in told["models"] for scope in model["scopes"]
    ):
        screen.print(FUTURE)
    events = told["events"]
    screen.print(
        f"rejected rows: {told['rejects']:,}; live events waiting: {events['waiting']:,}, dead: {events['dead']:,}"
    )
    for each in told["undelivered_alerts"]:
        screen.print(
            f"alerts not delivered by {each['channel']}: {each['count']:,}, and sent again later: {each['error']}",
            markup=False,
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


def _table(told: dict[str, Any]) -> Table:
    table = Table(title=told["tenant"], title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("model", "term"):
        table.add_column(name, no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("data as of", no_wrap=True)
    table.add_column("last sync")
    table.add_column("next sync")
    table.add_column("look at")
    for model in told["models"]:
        for at, scope in enumerate(_shown(model)):
            first = at == 0
            table.add_row(
                model["model"] if first else "",
                scope["term"],
                f"{model['rows']:,}" if first else "",
                "" if _is_skipped(scope) and scope["as_of"] is None else _when(scope["as_of"]),
                _last(scope["last"]),
                "" if _is_skipped(scope) else _next(scope["next"]),
                ", ".join(_notes(model if first else {}, scope)),
            )
    return table


def _shown(model: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the scopes to show of a model: one for all, if this Canvas cannot feed it."""
    scopes: list[dict[str, Any]] = model["scopes"]
    if scopes and all(_is_skipped(scope) and scope["as_of"] is None for scope in scopes):
        return [{**scopes[0], "term": ""}]
    return scopes


def _skipped(models: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each model that was skipped, with the reason."""
    reasons = {
        model["model"]: scope["last"]["mode_reason"]
        for model in models
        for scope in model["scopes"]
        if _is_skipped(scope)
    }
    return [f"skipped: {model}, because {why}" for model, why in reasons.items()]


def _is_skipped(scope: dict[str, Any]) -> bool:
    return bool(scope["last"] and scope["last"]["status"] == "skipped")


def _last(last: dict[str, Any] | None) -> str:
    if last is None:
        return "none"
    if last["status"] == "skipped":
        return "skipped"
    if last["status"] == "cancelled":
        return f"{_when(last['at'])} cancelled"
    if last["status"] != "success":
        return f"{_when(last['at'])} {last['status']}{': ' + last['error'].splitlines()[0] if last['error'] else ''}"
    return f"{_when(last['at'])} {last['mode']}, {last['rows'] or 0:,} rows: {last['mode_reason']}"


def _next(coming: dict[str, Any] | None) -> str:
    if coming is None:
        return "out of scope"
    since = f" since {_when(coming['updated_after'])}" if coming["updated_after"] else f": {coming['mode_reason']}"
    return f"{coming['mode']}{since}"


def _notes(model: dict[str, Any], scope: dict[str, Any]) -> list[str]:
    counted = [f"{model[name]:,} {name}" for name in ("suspects", "rejects") if model.get(name)]
    if model.get("observed_in_future"):
        counted.append(f"{model['observed_in_future']:,} observed in the future")
    if superseded := (scope["last"] or {}).get("superseded"):
        counted.append(f"{superseded:,} superseded")
    marks = {"stale": scope["stale"], "synced in the future": scope["as_of_in_future"]}
    return [*(name for name, applies in marks.items() if applies), *counted]


def _when(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if moment else "never"
