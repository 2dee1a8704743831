"""Syncs over several runs, as rows: opened once per tenant and genre, closed when their runs are over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.state.state_rows import NOW, OUR_BATCHES, as_json, insert, is_row, merged, update

TABLE = "canvas_sync_sync_batches"
KEY = sql.SQL(f"({as_json('metadata', OUR_BATCHES)}->>'key')")


@dataclass(frozen=True, slots=True)
class Batch:
    """A sync over several runs.

    Attributes:
        id: Of its row.
        key: What its runs carry as tag `canvas_sync/batch_id`.
        genre: Batches of one genre follow each other.
        status: processing, completed or failed.
        started_at: When it was opened.
        completed_at: When it was closed.
        terms: The terms that it syncs; None until its root run is over.
        silence: How long nobody has looked after it.
        details: What else is known of it.
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


def open_batch(connection: Connection, schema: str, key: str, genre: str, details: Mapping[str, Any]) -> Batch | None:
    """Open a batch, in the caller's transaction; return None if another one of the genre is open.

    An open batch of the same key is returned: an interrupted tick asks again. A closed one is opened again.
    """
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"canvas_sync batches {schema}",))
    for batch in open_batches(connection, schema):
        if batch.key == key:
            return batch
        if batch.genre == genre:
            return None
    metadata = {**details, "key": key}
    if not _reopened(connection, schema, key, metadata):
        values = {"status": "processing", "batch_genre": genre, "metadata": metadata}
        insert(connection, schema, TABLE, {**values, "started_at": NOW, "heartbeat_at": NOW})
    return next(batch for batch in open_batches(connection, schema) if batch.key == key)


def _reopened(connection: Connection, schema: str, key: str, metadata: Mapping[str, Any]) -> bool:
    last = sql.SQL("id = (select max(id) from {} where {} = {})").format(
        sql.Identifier(schema, TABLE), KEY, sql.Literal(key)
    )
    values = {"status": "processing", "completed_at": None, "heartbeat_at": NOW, "metadata": merged(metadata)}
    return update(connection, schema, TABLE, values, last) == 1


def open_batches(connection: Connection, schema: str) -> list[Batch]:
    """Reads the batches that are not over, the oldest first."""
    return _read(connection, schema, sql.SQL(f"where status = 'processing' and {OUR_BATCHES} order by id"))


def latest_batches(connection: Connection, schema: str) -> list[Batch]:
    """Reads the latest batch of each genre, the newest first."""
    latest = sql.SQL("where id in (select max(id) from {} where {} group by batch_genre) order by id desc")
    return _read(connection, schema, latest.format(sql.Identifier(schema, TABLE), sql.SQL(OUR_BATCHES)))


def last_scope(connection: Connection, schema: str, genre: str) -> Sequence[str]:
    """Reads which terms were in scope when a sync of a genre was completed last; none if there was none."""
    query = sql.SQL(
        "select {scope} from {table} where status = 'completed' and batch_genre = %s "
        "and jsonb_typeof({scope}) = 'array' order by id desc limit 1"
    ).format(scope=sql.SQL(f"{as_json('metadata', OUR_BATCHES)}->'scope'"), table=sql.Identifier(schema, TABLE))
    row = connection.execute(query, (genre,)).fetchone()
    return row[0] if row else ()


def _read(connection: Connection, schema: str, condition: sql.Composable) -> list[Batch]:
    query = sql.SQL(
        "select id, {}, batch_genre, status, started_at::timestamptz, completed_at::timestamptz, "
        "clock_timestamp() - greatest(heartbeat_at, started_at::timestamptz, pg_postmaster_start_time()) from {} {}"
    ).format(sql.SQL(as_json("metadata", OUR_BATCHES)), sql.Identifier(schema, TABLE), condition)
    return [
        Batch(
            int(id_),
            str((metadata or {}).get("key", id_)),
            str(genre),
            str(status),
            started,
            completed,
            tuple(metadata["terms"]) if metadata and metadata.get("terms") is not None else None,
            silence,
            metadata or {},
        )
        for id_, metadata, genre, status, started, completed, silence in connection.execute(query).fetchall()
    ]


def note(connection: Connection, schema: str, batch: Batch, details: Mapping[str, Any]) -> None:
    """Adds what has become known, and that somebody looks after the batch."""
    values = {"metadata": merged(details), "heartbeat_at": NOW}
    update(connection, schema, TABLE, values, is_row(batch.id))


def close_batch(connection: Connection, schema: str, batch: Batch, status: str, details: Mapping[str, Any]) -> bool:
    """Closes a batch once; False if somebody else has."""
    values = {
        "status": status,
        "full_sync": details.get("full_sync"),
        "metadata": merged(details),
        "completed_at": NOW,
    }
    open_still = sql.SQL("{} and status = 'processing'").format(is_row(batch.id))
    return update(connection, schema, TABLE, values, open_still) == 1
