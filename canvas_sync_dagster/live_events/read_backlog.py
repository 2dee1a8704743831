"""The deferred events of a tenant while a drain works: which of them wait for a report, by the rate of its own reads."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

from psycopg import sql

from canvas_sync_dagster.live_events.waiting import coming_syncs, new_waits
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.row_conditions import in_scope
from canvas_sync_dagster.warehouse.schema.ddl import DEFERRED_READS
from canvas_sync_dagster.warehouse.state.report_waits import (
    count_deferred,
    read_active_waits,
    read_waits,
    sync_observations,
    write_wait,
)
from canvas_sync_dagster.warehouse.warehouse import Warehouse

MEASURED_SECONDS = 10.0
"""Seconds of reading after which the rate is known well enough: some hundred requests."""
LOOK_SECONDS = 60.0
"""Seconds between two looks at the backlog: counting 300,000 deferred events takes 0.3 s."""


class ReadBacklog:
    """Measures how fast objects are read, and decides which models wait for their reports.

    Args:
        session: The tenant's Canvas and database.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._read, self._seconds, self._looked_at = 0, 0.0, -LOOK_SECONDS
        self.waiting: tuple[str, ...] = ()
        """Models whose deferred events are not claimed."""

    def look(self) -> None:
        """Read which models wait, at most once in `LOOK_SECONDS`, and let further ones wait."""
        if time.monotonic() < self._looked_at + LOOK_SECONDS:
            return
        now = datetime.now(UTC)
        with self._session.warehouse("reading the backlog of deferred events") as warehouse:
            active = read_active_waits(warehouse, now)
            if self._seconds >= MEASURED_SECONDS:
                begun = self._begin(warehouse, set(active), now)
                self._looked_at = time.monotonic()
                self._read, self._seconds = 0, 0.0
                self.waiting = (*active, *begun)
            else:
                self.waiting = tuple(active)

    def measured(self, objects: int, seconds: float) -> None:
        """Add that so many objects were read from Canvas in so many seconds."""
        self._read += objects
        self._seconds += seconds

    def _begin(self, warehouse: Warehouse, active: set[str], now: datetime) -> list[str]:
        backlog = {name: objects for name, (_, objects) in count_deferred(warehouse).items() if name not in active}
        waits = new_waits(
            backlog,
            self._read / self._seconds,
            coming_syncs(self._session.tenant, self._session.models, now),
            {name: max(scopes.values()) for name, scopes in sync_observations(warehouse).items()},
            read_waits(warehouse),
            now,
        )
        for wait in waits:
            write_wait(warehouse, replace(wait, terms=_affected_terms(warehouse, wait.model)))
        return [wait.model for wait in waits]


def _affected_terms(warehouse: Warehouse, name: str) -> tuple[str, ...]:
    """Return the terms that the deferred objects of a model belong to; none if it has no terms or no row is known."""
    model = warehouse.models[name]
    if not model.term_scoped or model.key != ("canvas_id",):
        return ()
    table, found = warehouse.table(model), list[str]()
    for term in sorted(sync_observations(warehouse).get(name, {})):
        query = sql.SQL(
            "select exists (select from {} t where {} and t.canvas_id in "
            "(select object::bigint from {} where model = %s and object ~ '^-?[0-9]+$'))"
        ).format(table.name, in_scope(table, term), warehouse.identifier(DEFERRED_READS))
        row = warehouse.connection.execute(query, (name,)).fetchone()
        if row and row[0]:
            found.append(term)
    return tuple(found)
