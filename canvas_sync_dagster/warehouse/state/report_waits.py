"""Models whose deferred events wait for their next report, in `canvas_sync_remembered`: an entry for each model.

An entry is written once and not changed until the wait is over. It is kept afterwards: a model waits again only after a
sync of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from canvas_sync_dagster.warehouse.schema.ddl import DEFERRED_READS
from canvas_sync_dagster.warehouse.state.remembered import TABLE, remember
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Warehouse

NAME = "events left to the report of "
"""Beginning of the name of an entry; the model follows."""


@dataclass(frozen=True, slots=True)
class ReportWait:
    """Deferred events of a model that wait for its next report.

    Attributes:
        model: Name of the model.
        since: When the wait began; a report that Canvas starts later ends it.
        at: When the next sync of the model is scheduled.
        until: When the objects are read from Canvas after all, if there was no sync.
        terms: Canvas ids of the terms that the objects belong to; empty if the model has no terms or none is known.
        is_requested: Whether an early sync was requested.
    """

    model: str
    since: datetime
    at: datetime
    until: datetime
    terms: tuple[str, ...] = ()
    is_requested: bool = False


def read_waits(warehouse: Warehouse) -> dict[str, ReportWait]:
    """Read the latest wait of each model, ended ones included; none without the table."""
    if not warehouse.has(TABLE):
        return {}
    query = sql.SQL("select value from {} where starts_with(name, %s)").format(warehouse.identifier(TABLE))
    found = [_wait(json.loads(value)) for (value,) in warehouse.connection.execute(query, (NAME,)).fetchall()]
    return {wait.model: wait for wait in found}


def write_wait(warehouse: Warehouse, wait: ReportWait) -> None:
    """Store the latest wait of a model, in the caller's transaction."""
    times = {"since": wait.since.isoformat(), "at": wait.at.isoformat(), "until": wait.until.isoformat()}
    rest = {"model": wait.model, "terms": list(wait.terms), "is_requested": wait.is_requested}
    remember(warehouse, NAME + wait.model, json.dumps(rest | times))


def read_active_waits(warehouse: Warehouse, now: datetime | None = None) -> dict[str, ReportWait]:
    """Read the waits that are not over: neither too long ago, nor ended by a sync of the model in all affected terms."""
    now = now or datetime.now(UTC)
    waits = {name: wait for name, wait in read_waits(warehouse).items() if now < wait.until}
    if not waits:
        return {}
    synced = sync_observations(warehouse)
    return {name: wait for name, wait in waits.items() if not has_ended(wait, synced.get(name, {}))}


def sync_observations(warehouse: Warehouse) -> dict[str, dict[str, datetime]]:
    """Read model → scope → up to when its latest sync has observed Canvas."""
    found: dict[str, dict[str, datetime]] = {}
    for (model, scope), mark in Watermarks(warehouse).read_all().items():
        if mark.observed_at is not None:
            found.setdefault(model, {})[scope] = mark.observed_at
    return found


def has_ended(wait: ReportWait, synced: Mapping[str, datetime]) -> bool:
    """Return whether all affected terms were synced since a wait began.

    Args:
        wait: The wait of a model.
        synced: Scope → up to when the latest sync of the model has observed Canvas.
    """
    if wait.terms:
        return all(term in synced and synced[term] > wait.since for term in wait.terms)
    return any(at > wait.since for at in synced.values())


def count_deferred(warehouse: Warehouse, models: Iterable[str] | None = None) -> dict[str, tuple[int, int]]:
    """Count deferred events.

    Args:
        warehouse: The tenant's, in a transaction.
        models: Only these; all if None.

    Returns:
        Model → number of events, and of the objects that they are about.
    """
    chosen = None if models is None else list(models)
    query = sql.SQL(
        "select model, count(*), count(distinct object) from {} where %s::text[] is null or model = any(%s) group by 1"
    ).format(warehouse.identifier(DEFERRED_READS))
    rows = warehouse.connection.execute(query, (chosen, chosen)).fetchall()
    return {model: (events, objects) for model, events, objects in rows}


def _wait(value: Mapping[str, object]) -> ReportWait:
    since, at, until = (datetime.fromisoformat(str(value[name])) for name in ("since", "at", "until"))
    terms = value["terms"]
    return ReportWait(
        str(value["model"]),
        since,
        at,
        until,
        tuple(str(term) for term in terms) if isinstance(terms, list) else (),
        bool(value["is_requested"]),
    )
