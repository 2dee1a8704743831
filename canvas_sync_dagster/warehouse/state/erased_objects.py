"""SQL on `canvas_sync_erased_objects`: the ids that no sync and no event brings back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection

TABLE = "canvas_sync_erased_objects"

Erased = Mapping[str, frozenset[int]]
"""Model → Canvas ids that must not come back."""


def lock_key(schema: str) -> str:
    """Return what loads lock together, and an erasure alone: a load that began before it must not bring a row back."""
    return f"canvas_sync erase {schema}"


def read_erased(connection: Connection, schema: str) -> Erased:
    """Return what was erased, and keep further erasures waiting until the caller's transaction ends."""
    query = "select to_regclass(%s), pg_advisory_xact_lock_shared(hashtextextended(%s, 0))"
    row = connection.execute(query, (f'"{schema}".{TABLE}', lock_key(schema))).fetchone()
    if row is None or row[0] is None:
        return {}
    found: dict[str, set[int]] = {}
    listed = sql.SQL("select model, canvas_id from {}").format(sql.Identifier(schema, TABLE))
    for model, number in connection.execute(listed).fetchall():
        found.setdefault(str(model), set()).add(int(number))
    return {model: frozenset(numbers) for model, numbers in found.items()}


def remember_erased(connection: Connection, schema: str, model: str, ids: Iterable[int]) -> None:
    """Keep ids from coming back, in the caller's transaction."""
    statement = sql.SQL(
        "insert into {} (model, canvas_id) select %s, unnest(%s::bigint[]) on conflict (model, canvas_id) do nothing"
    ).format(sql.Identifier(schema, TABLE))
    if numbers := sorted(set(ids)):
        connection.execute(statement, (model, numbers))
