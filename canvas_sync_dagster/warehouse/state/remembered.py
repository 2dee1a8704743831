"""SQL on `canvas_sync_remembered`: answers of Canvas that do not change, such as the UUID of its root account."""

from __future__ import annotations

from psycopg import sql

from canvas_sync_dagster.warehouse.warehouse import Warehouse

TABLE = "canvas_sync_remembered"


def remembered(warehouse: Warehouse, name: str) -> str | None:
    """Return the value that is kept under a name; None if there is none."""
    query = sql.SQL("select value from {} where name = %s").format(warehouse.identifier(TABLE))
    row = warehouse.connection.execute(query, (name,)).fetchone()
    return str(row[0]) if row else None


def remember(warehouse: Warehouse, name: str, value: str) -> None:
    """Keep a value under a name, in the caller's transaction."""
    query = sql.SQL(
        "insert into {} (name, value) values (%s, %s) "
        "on conflict (name) do update set value = excluded.value, updated_at = now()"
    ).format(warehouse.identifier(TABLE))
    warehouse.connection.execute(query, (name, value))
