"""`canvas-sync status`: rows, freshness, last and next sync, and whatever needs a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from psycopg import sql

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.commands.known_demo import located_or_demo
from canvas_sync_dagster.commands.location import Location
from canvas_sync_dagster.commands.output import json_option, show, width_of_output, write_json
from canvas_sync_dagster.commands.status_report import problems, status_lines
from canvas_sync_dagster.live_events.event_gaps import read_event_gaps
from canvas_sync_dagster.orchestration.batch_service import ends_by_itself_at
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.missing_headers import read_missing_headers
from canvas_sync_dagster.sync.session import database_url
from canvas_sync_dagster.sync.sync_status import ScopeStatus, read_status, unmet_schedules
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.schema.existing import fitness
from canvas_sync_dagster.warehouse.state.alert_states import AlertStates
from canvas_sync_dagster.warehouse.state.audits import Audits, StoredAudit
from canvas_sync_dagster.warehouse.state.inbox import depth
from canvas_sync_dagster.warehouse.state.rejected_rows import RejectedRows
from canvas_sync_dagster.warehouse.state.report_waits import count_deferred, read_active_waits
from canvas_sync_dagster.warehouse.state.sync_batches import Batch, SyncBatches
from canvas_sync_dagster.warehouse.table_counts import count_matching
from canvas_sync_dagster.warehouse.warehouse import Warehouse


@click.command()
@click.option("--tenant", help="Only this tenant; all by default.")
@click.option("--by-term", is_flag=True, help="Show a row for each model and term, with reasons.")
@json_option
@located_or_demo()
def status(location: Location, tenant: str | None, as_json: bool, by_term: bool) -> None:
    """Show rows, freshness, last and next sync, suspects, rejects and waiting events.

    \b
    Examples:
      canvas-sync status
      canvas-sync status --by-term --tenant school
      canvas-sync status --json | jq '.[].problems'

    The verdict comes first, then what needs attention with its remedy, then a line per model. Exit code 0, also if something
    needs attention; `doctor` and the alerts are for scripts.
    """
    told: list[dict[str, Any]] = []

    def work(each: TenantSettings) -> None:
        found = _of_tenant(location, each)
        told.append(found | {"problems": problems(found)})
        if not as_json:
            show(status_lines(found, width_of_output(), datetime.now(UTC), by_term=by_term))

    try:
        location.each(tenant, work)
    finally:
        if as_json:
            write_json(told)


def _of_tenant(location: Location, tenant: TenantSettings) -> dict[str, Any]:
    url, schema = database_url(location.settings, tenant), tenant.schema_in_database
    with transaction(url, "reading the status") as connection:
        fit = fitness(connection, schema, location.models_of(tenant))
    if fit.lacking:
        return {"tenant": tenant.slug, "lacking": fit.lacking}
    found = read_status(CoveredTerms(tenant, url, location.models_of(tenant), location.extensions.term_scope))
    with transaction(url, "reading the status") as connection:
        warehouse = Warehouse(connection, schema)
        latest = SyncBatches(warehouse).latest()
        return {
            "tenant": tenant.slug,
            "schedule": f"{tenant.schedule} ({tenant.timezone})",
            "unmet": list(unmet_schedules(tenant, datetime.now(UTC))),
            "models": _models(warehouse, location.models_of(tenant), found),
            "under_way": [
                {**_batch(each), "ends_by_itself_at": ends_by_itself_at(warehouse, tenant, each)}
                for each in SyncBatches(warehouse).under_way()
            ],
            "batch": next(map(_batch, latest), None),
            "genres": [_genre(tenant.of_genre(name), latest) for name in tenant.genres],
            "events": _events(warehouse, _synced(found, location.models)),
            "audits": [
                {"model": each.model, "at": each.audited_at, "drifted": each.drifted, **_shares(each)}
                for each in Audits(warehouse).latest().values()
            ],
            "unwritable": dict(fit.skipped),
            "missing_headers": [str(each) for each in read_missing_headers(warehouse, location.models_of(tenant))],
            "rejects": sum(RejectedRows(warehouse).count_by_model().values()),
            "undelivered_alerts": [
                {"channel": channel, "count": count, "error": error}
                for channel, (count, error) in AlertStates(warehouse).count_undelivered().items()
            ],
        }


def _shares(audit: StoredAudit) -> dict[str, float | None]:
    names = (
        "wrong_share",
        "wrong_low",
        "wrong_high",
        "missing_share",
        "missing_low",
        "missing_high",
        "lag_p95_seconds",
    )
    return {name: getattr(audit, name) for name in names}


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
            "has_report": not isinstance(tables[model].model.feed, RestFeed),
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
            "feed": last.feed,
            "feed_reason": last.feed_reason,
            "requests": last.requests,
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
        "left_to_reports": _left_to_reports(warehouse),
        "latest": found.latest,
        "silent": silent,
        "gaps": gaps,
    }


def _left_to_reports(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return the deferred events that wait for the next report of their model."""
    waits = read_active_waits(warehouse)
    counts = count_deferred(warehouse, waits) if waits else {}
    return [
        {
            "model": name,
            "events": counts[name][0],
            "since": wait.since,
            "at": wait.at,
            "terms": list(wait.terms),
            "early_sync": wait.is_requested,
        }
        for name, wait in waits.items()
        if name in counts
    ]
