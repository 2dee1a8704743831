"""SQL on `canvas_sync_sync_batches`: syncs over several runs, opened once per tenant and genre, closed when their runs end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from canvas_sync_dagster.warehouse.state.state_rows import NOW, OUR_BATCHES, as_json, insert, is_row, merged, update
from canvas_sync_dagster.warehouse.warehouse import Warehouse

TABLE = "canvas_sync_sync_batches"
NEW_TERMS = "new terms"
"""Trigger of a batch that was opened because terms came into scope; its detail `only` has their ids."""
LIVE_EVENTS = "live events"
"""Trigger of a batch that was opened before its time because live events wait for a report; its detail `only` has the ids
of the affected terms, if they are known."""
KEY = sql.SQL(f"({as_json('metadata', OUR_BATCHES)}->>'key')")


@dataclass(frozen=True, slots=True)
class Batch:
    """A sync over several runs.

    Attributes:
        id: Of its row.
        key: Value of the tag of its runs, `canvas_sync/batch_id`.
        genre: Batches of one genre follow each other.
        status: processing, completed or failed.
        started_at: When it was opened.
        completed_at: When it was closed.
        terms: Canvas ids of the terms that it syncs; None until its root run ends.
        silence: Time since its last heartbeat, or since the server was started.
        details: Its metadata: reason, terms in scope, lock and others.
    """

    id: int
    key: str
    genre: str
    status: str
    started_at: datetime
    completed_at: datetime | None
    terms: tuple[str, ...] | None
    silence: timedelta
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SyncBatches:
    """The batches of a tenant. Rows that the gem wrote into the table are ignored."""

    warehouse: Warehouse

    def open(self, key: str, genre: str, details: Mapping[str, Any]) -> Batch | None:
        """Open a batch, in the caller's transaction.

        An open batch of the same key is returned: an interrupted tick asks again. A closed one is opened again.

        Returns:
            None if another batch of the genre is open.
        """
        self.warehouse.lock("batches")
        for batch in self.under_way():
            if batch.key == key:
                return batch
            if batch.genre == genre:
                return None
        metadata = {**details, "key": key}
        if not self._reopen(key, metadata):
            values = {"status": "processing", "batch_genre": genre, "metadata": metadata}
            insert(self.warehouse, TABLE, {**values, "started_at": NOW, "heartbeat_at": NOW})
        return next(batch for batch in self.under_way() if batch.key == key)

    def _reopen(self, key: str, metadata: Mapping[str, Any]) -> bool:
        last = sql.SQL("id = (select max(id) from {} where {} = {})").format(self._table, KEY, sql.Literal(key))
        values = {"status": "processing", "completed_at": None, "heartbeat_at": NOW, "metadata": merged(metadata)}
        return update(self.warehouse, TABLE, values, last) == 1

    def under_way(self) -> list[Batch]:
        """Read the open batches, the oldest first; none if the table does not exist yet."""
        if not self.warehouse.has(TABLE):
            return []
        return self._read(sql.SQL(f"where status = 'processing' and {OUR_BATCHES} order by id"))

    def latest(self) -> list[Batch]:
        """Read the latest batch of each genre, the newest first."""
        latest = sql.SQL("where id in (select max(id) from {} where {} group by batch_genre) order by id desc")
        return self._read(latest.format(self._table, sql.SQL(OUR_BATCHES)))

    def latest_closed(self) -> list[Batch]:
        """Read the latest closed batch of each genre, the newest first."""
        latest = sql.SQL(
            "where id in (select max(id) from {} where {} and status <> 'processing' group by batch_genre) order by id desc"
        )
        return self._read(latest.format(self._table, sql.SQL(OUR_BATCHES)))

    def last_scope(self, genre: str) -> Sequence[str]:
        """Read which terms were in scope when a batch of a genre was last completed; none if there was no such batch."""
        query = sql.SQL(
            "select {scope} from {table} where status = 'completed' and batch_genre = %s "
            "and jsonb_typeof({scope}) = 'array' order by id desc limit 1"
        ).format(scope=sql.SQL(f"{as_json('metadata', OUR_BATCHES)}->'scope'"), table=self._table)
        row = self.warehouse.connection.execute(query, (genre,)).fetchone()
        return row[0] if row else ()

    def has_completed(self, genre: str) -> bool:
        """Return whether a batch of a genre was ever completed."""
        query = sql.SQL("select exists (select from {} where status = 'completed' and batch_genre = %s and {})")
        row = self.warehouse.connection.execute(query.format(self._table, sql.SQL(OUR_BATCHES)), (genre,)).fetchone()
        return bool(row and row[0])

    def tried_new_terms(self) -> set[str]:
        """Read the ids of the terms for which a batch was opened because they came into scope."""
        metadata = sql.SQL(as_json("metadata", OUR_BATCHES))
        query = sql.SQL(
            "select distinct jsonb_array_elements_text({0}->'only') from {1} where {0}->>'trigger' = %s"
        ).format(metadata, self._table)
        return {str(term) for (term,) in self.warehouse.connection.execute(query, (NEW_TERMS,)).fetchall()}

    def note(self, batch: Batch, details: Mapping[str, Any]) -> None:
        """Add details to a batch, and write its heartbeat."""
        update(self.warehouse, TABLE, {"metadata": merged(details), "heartbeat_at": NOW}, is_row(batch.id))

    def close(self, batch: Batch, status: str, details: Mapping[str, Any]) -> bool:
        """Close a batch once; return False if it is closed already.

        Args:
            batch: As it was read.
            status: completed or failed.
            details: Added to its metadata; `full_sync` is written to its column as well.
        """
        values = {
            "status": status,
            "full_sync": details.get("full_sync"),
            "metadata": merged(details),
            "completed_at": NOW,
        }
        still_open = sql.SQL("{} and status = 'processing'").format(is_row(batch.id))
        return update(self.warehouse, TABLE, values, still_open) == 1

    def _read(self, condition: sql.Composable) -> list[Batch]:
        query = sql.SQL(
            "select id, {}, batch_genre, status, started_at::timestamptz, completed_at::timestamptz, "
            "clock_timestamp() - greatest(heartbeat_at, started_at::timestamptz, pg_postmaster_start_time()) from {} {}"
        ).format(sql.SQL(as_json("metadata", OUR_BATCHES)), self._table, condition)
        return [_batch(row) for row in self.warehouse.connection.execute(query).fetchall()]

    @property
    def _table(self) -> sql.Identifier:
        return self.warehouse.identifier(TABLE)


def _batch(row: tuple[Any, ...]) -> Batch:
    number, metadata, genre, status, started_at, completed_at, silence = row
    details = metadata or {}
    terms = tuple(details["terms"]) if details.get("terms") is not None else None
    key = str(details.get("key", number))
    return Batch(number, key, genre, status, started_at, completed_at, terms, silence, details)
