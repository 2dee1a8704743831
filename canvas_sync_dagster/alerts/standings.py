"""What channels know of a tenant's alerts: in the tenant's database, and in the cursor while that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from canvas_sync_dagster.alert_settings import AlertKind
from canvas_sync_dagster.alerts.conditions import Condition
from canvas_sync_dagster.alerts.due import Standing
from canvas_sync_dagster.warehouse.state.alert_states import AlertStates, StoredAlert
from canvas_sync_dagster.warehouse.warehouse import Warehouse

Standings = dict[tuple[str, str], Standing]
"""Kind and subject → what a channel knows."""
TIMES = ("opened_at", "notified_at", "next_attempt_at")


def read_standings(warehouse: Warehouse, tenant: str, channel: str) -> Standings:
    """Read what a channel knows of a tenant's alerts."""
    found = (_standing(tenant, each) for each in AlertStates(warehouse).read(channel))
    return {each.condition.key: each for each in found}


def write_standings(
    warehouse: Warehouse, channel: str, before: Mapping[tuple[str, str], Standing], after: Standings
) -> None:
    """Write what has changed of what a channel knows."""
    table = AlertStates(warehouse)
    table.write(channel, (_stored(each) for key, each in after.items() if before.get(key) != each))
    table.delete(channel, [key for key in before if key not in after])


def as_json(standings: Iterable[Standing]) -> list[dict[str, Any]]:
    """Return standings as JSON, for the cursor."""
    found = []
    for each in map(_stored, standings):
        row = {name: getattr(each, name) for name in StoredAlert.__slots__}
        found.append({name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()})
    return found


def from_json(tenant: str, rows: Iterable[Mapping[str, Any]]) -> Standings:
    """Return the standings of `as_json`."""
    found: Standings = {}
    for row in rows:
        times = {name: datetime.fromisoformat(row[name]) for name in TIMES if row[name]}
        each = _standing(tenant, StoredAlert(**{**row, **times}))
        found[each.condition.key] = each
    return found


def _standing(tenant: str, row: StoredAlert) -> Standing:
    given = {name: row.condition[name] for name in ("text", "remedy", "path", "size")}
    condition = Condition(tenant, AlertKind(row.kind), row.subject, **given)
    return Standing(
        condition,
        row.opened_at,
        row.notified_at,
        row.notified_size,
        row.resolved,
        row.attempts,
        row.next_attempt_at,
        row.error or "",
    )


def _stored(standing: Standing) -> StoredAlert:
    condition = standing.condition
    return StoredAlert(
        condition.kind.value,
        condition.subject,
        {name: getattr(condition, name) for name in ("text", "remedy", "path", "size")},
        standing.opened_at,
        standing.notified_at,
        standing.notified_size,
        standing.resolved,
        standing.attempts,
        standing.next_attempt_at,
        standing.error or None,
    )
