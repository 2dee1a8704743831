"""Syncs over several runs, as rows: opened once per tenant and genre, closed when their runs are over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection

TABLE = "canvas_sync_sync_batches"


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
    metadata = json.dumps({**details, "key": key})
    if not _reopened(connection, schema, key, metadata):
        _insert(connection, schema, genre, metadata)
    return next(batch for batch in open_batches(connection, schema) if batch.key == key)


def _reopened(connection: Connection, schema: str, key: str, metadata: str) -> bool:
    cursor = connection.execute(
        sql.SQL(
            "update {table} set status = 'processing', completed_at = null, heartbeat_at = clock_timestamp(), "
            "updated_at = clock_timestamp(), metadata = metadata || %s::jsonb "
            "where id = (select max(id) from {table} where metadata->>'key' = %s)"
        ).format(table=sql.Identifier(schema, TABLE)),
        (metadata, key),
    )
    return cursor.rowcount == 1


def _insert(connection: Connection, schema: str, genre: str, metadata: str) -> None:
    connection.execute(
        sql.SQL(
            "insert into {} (status, batch_genre, started_at, heartbeat_at, metadata) "
            "values ('processing', %s, clock_timestamp(), clock_timestamp(), %s)"
        ).format(sql.Identifier(schema, TABLE)),
        (genre, metadata),
    )


def open_batches(connection: Connection, schema: str) -> list[Batch]:
    """Reads the batches that are not over, the oldest first."""
    return _read(connection, schema, sql.SQL("where status = 'processing' order by id"))


def latest_batches(connection: Connection, schema: str) -> list[Batch]:
    """Reads the latest batch of each genre, the newest first."""
    latest = sql.SQL("where id in (select max(id) from {} group by batch_genre) order by id desc")
    return _read(connection, schema, latest.format(sql.Identifier(schema, TABLE)))


def last_scope(connection: Connection, schema: str, genre: str) -> Sequence[str]:
    """Reads which terms were in scope when a sync of a genre was completed last; none if there was none."""
    query = sql.SQL(
        "select metadata->'scope' from {} where status = 'completed' and batch_genre = %s "
        "and jsonb_typeof(metadata::jsonb->'scope') = 'array' order by id desc limit 1"
    ).format(sql.Identifier(schema, TABLE))
    row = connection.execute(query, (genre,)).fetchone()
    return row[0] if row else ()


def _read(connection: Connection, schema: str, condition: sql.Composable) -> list[Batch]:
    query = sql.SQL(
        "select id, metadata, batch_genre, status, started_at, completed_at, "
        "clock_timestamp() - greatest(heartbeat_at, started_at, pg_postmaster_start_time()) from {} {}"
    ).format(sql.Identifier(schema, TABLE), condition)
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
    connection.execute(
        sql.SQL(
            "update {} set metadata = coalesce(metadata, '{{}}') || %s::jsonb, heartbeat_at = clock_timestamp(), "
            "updated_at = clock_timestamp() where id = %s"
        ).format(sql.Identifier(schema, TABLE)),
        (json.dumps(details), batch.id),
    )


def close_batch(connection: Connection, schema: str, batch: Batch, status: str, details: Mapping[str, Any]) -> bool:
    """Closes a batch once; False if somebody else has."""
    cursor = connection.execute(
        sql.SQL(
            "update {} set status = %s, full_sync = %s, metadata = coalesce(metadata, '{{}}') || %s::jsonb, "
            "completed_at = clock_timestamp(), updated_at = clock_timestamp() where id = %s and status = 'processing'"
        ).format(sql.Identifier(schema, TABLE)),
        (status, details.get("full_sync"), json.dumps(details), batch.id),
    )
    return cursor.rowcount == 1
