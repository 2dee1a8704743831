"""SQL on `canvas_sync_erased_objects`: the ids of erased people and of their rows, which no load brings back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from psycopg import sql

from canvas_sync_dagster.warehouse.warehouse import Warehouse, lock_name

TABLE = "canvas_sync_erased_objects"
LOCK = "erase"
"""Loads hold this lock together, an erasure alone: a load that began before the erasure must not bring a row back."""

Erased = Mapping[str, frozenset[int]]
"""Model → Canvas ids that must not come back."""


def lock_for_erasure(warehouse: Warehouse) -> None:
    """Wait until no load is in progress, and make loads wait until the caller's transaction ends."""
    warehouse.lock(LOCK)


def read_erased(warehouse: Warehouse) -> Erased:
    """Return what was erased, and make further erasures wait until the caller's transaction ends."""
    # One round trip: this is read before every load.
    query = "select to_regclass(%s), pg_advisory_xact_lock_shared(hashtextextended(%s, 0))"
    name = warehouse.identifier(TABLE).as_string(warehouse.connection)
    row = warehouse.connection.execute(query, (name, lock_name(warehouse.schema, LOCK))).fetchone()
    if row is None or row[0] is None:
        return {}
    erased: dict[str, set[int]] = {}
    query_ids = sql.SQL("select model, canvas_id from {}").format(warehouse.identifier(TABLE))
    for model, number in warehouse.connection.execute(query_ids).fetchall():
        erased.setdefault(str(model), set()).add(int(number))
    return {model: frozenset(numbers) for model, numbers in erased.items()}


def remember_erased(warehouse: Warehouse, model: str, ids: Iterable[int]) -> None:
    """Keep ids from coming back, in the caller's transaction."""
    statement = sql.SQL(
        "insert into {} (model, canvas_id) select %s, unnest(%s::bigint[]) on conflict (model, canvas_id) do nothing"
    ).format(warehouse.identifier(TABLE))
    if numbers := sorted(set(ids)):
        warehouse.connection.execute(statement, (model, numbers))
