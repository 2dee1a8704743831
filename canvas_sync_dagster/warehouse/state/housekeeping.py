"""Retention of the sync's own records."""

from __future__ import annotations

from datetime import timedelta

from psycopg import sql

from canvas_sync_dagster.warehouse.schema.names import digest_table_name
from canvas_sync_dagster.warehouse.state.digests_beside import remove_digests_without_row
from canvas_sync_dagster.warehouse.state.state_rows import OUR_BATCHES, OUR_JOBS
from canvas_sync_dagster.warehouse.warehouse import Warehouse

EVENTS_KEPT = timedelta(days=14)
"""Retention of settled live events."""
DEAD_EVENTS_KEPT = timedelta(days=90)
"""Retention of dead live events, so that they can be replayed after a fix; as long as rejected rows."""
WALKS_KEPT = timedelta(days=7)
"""Retention of what interrupted walks have staged. It is resumed for a day; no walk lasts a week."""
KEPT = {
    "canvas_sync_job_logs": timedelta(days=90),
    "canvas_sync_sync_batches": timedelta(days=365),
    "canvas_sync_reports": timedelta(days=90),
    "canvas_sync_rejected_rows": timedelta(days=90),
    "canvas_sync_audits": timedelta(days=365),
    "canvas_sync_walks": WALKS_KEPT,
    "canvas_sync_walk_parents": WALKS_KEPT,
    "canvas_sync_walk_rows": WALKS_KEPT,
}
"""Table → retention of its rows; the gem keeps ninety days of everything."""

AGED_BY = {"canvas_sync_rejected_rows": "last_seen_at"}
"""Table → column that tells the age of its rows, where it is not `created_at`."""

OURS = {
    "canvas_sync_job_logs": f"(job_arguments is null or {OUR_JOBS})",
    "canvas_sync_sync_batches": OUR_BATCHES,
}
"""Table that an application with the gem may use as well → SQL condition for our rows; the others are not deleted."""


def drop_old_rows(warehouse: Warehouse) -> dict[str, int]:
    """Delete records that are older than their retention, and digests of rows that are gone, in the caller's transaction.

    Returns:
        Table → number of deleted rows.
    """
    removed = {
        table: warehouse.connection.execute(
            sql.SQL("delete from {} where {} < now() - {}::interval and {}").format(
                warehouse.identifier(table),
                sql.Identifier(AGED_BY.get(table, "created_at")),
                sql.Literal(kept),
                sql.SQL(OURS.get(table, "true")),
            )
        ).rowcount
        for table, kept in KEPT.items()
    }
    for model in warehouse.models.values():
        if digests := remove_digests_without_row(warehouse.table(model)):
            removed[digest_table_name(model.table)] = digests
    return removed
