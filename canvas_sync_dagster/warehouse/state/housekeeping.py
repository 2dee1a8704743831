"""How long the sync's own records are kept."""

from __future__ import annotations

from datetime import timedelta

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.state.state_rows import OUR_BATCHES, OUR_JOBS

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

OURS = {
    "canvas_sync_job_logs": f"(job_arguments is null or {OUR_JOBS})",
    "canvas_sync_sync_batches": OUR_BATCHES,
}
"""Table that an application of the gem's may use, too → which of its rows are ours; the others are not ours to delete."""


def drop_old_rows(connection: Connection, schema: str) -> dict[str, int]:
    """Deletes records that are older than they are kept, in the caller's transaction; returns how many of each table."""
    return {
        table: connection.execute(
            sql.SQL("delete from {} where created_at < now() - {}::interval and {}").format(
                sql.Identifier(schema, table), sql.Literal(kept), sql.SQL(OURS.get(table, "true"))
            )
        ).rowcount
        for table, kept in KEPT.items()
    }
