"""How long the sync's own records are kept."""

from __future__ import annotations

from datetime import timedelta

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection

EVENTS_KEPT = timedelta(days=14)
"""How long settled live events are kept."""
DEAD_EVENTS_KEPT = timedelta(days=90)
"""How long dead live events are kept, so that they can be replayed after a fix; as long as rejected rows."""
KEPT = {
    "canvas_sync_job_logs": timedelta(days=90),
    "canvas_sync_sync_batches": timedelta(days=365),
    "canvas_sync_reports": timedelta(days=90),
    "canvas_sync_rejected_rows": timedelta(days=90),
}
"""Table → how long its rows are kept; the gem keeps ninety days of everything."""


def drop_old_rows(connection: Connection, schema: str) -> dict[str, int]:
    """Deletes records that are older than they are kept, in the caller's transaction; returns how many of each table."""
    return {
        table: connection.execute(
            sql.SQL("delete from {} where created_at < now() - %s::interval").format(sql.Identifier(schema, table)),
            (kept,),
        ).rowcount
        for table, kept in KEPT.items()
    }
