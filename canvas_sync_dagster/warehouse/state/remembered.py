"""SQL on `canvas_sync_remembered`: answers of Canvas that do not change, such as the uuid of its root account."""

from __future__ import annotations

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection


def remembered(connection: Connection, schema: str, name: str) -> str | None:
    """Returns what Canvas told once."""
    query = sql.SQL("select value from {} where name = %s").format(sql.Identifier(schema, "canvas_sync_remembered"))
    row = connection.execute(query, (name,)).fetchone()
    return str(row[0]) if row else None


def remember(connection: Connection, schema: str, name: str, value: str) -> None:
    """Keeps what Canvas told, in the caller's transaction."""
    query = sql.SQL(
        "insert into {} (name, value) values (%s, %s) on conflict (name) do update set value = excluded.value, updated_at = now()"
    ).format(sql.Identifier(schema, "canvas_sync_remembered"))
    connection.execute(query, (name, value))
