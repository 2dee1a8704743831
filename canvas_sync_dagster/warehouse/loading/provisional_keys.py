"""Keys of rows that a feed lists without a key: the key of the known row, or a provisional one.

Canvas's REST API has no ids of scores. A row that only the API has shown gets a negative key, which follows from its
identity, so that every walk finds it again. Once a report shows the row with its key, the provisional row is removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.warehouse.warehouse import Table

Row = dict[str, Any]
Identity = tuple[int | None, ...]


def with_keys(table: Table, rows: list[Row]) -> list[Row]:
    """Return rows with their keys; rows of a model without an identity are returned unchanged.

    Args:
        table: Of the rows, in the transaction that loads them.
        rows: Column → value.
    """
    model = table.model
    if not model.identity or not rows:
        return rows
    known, key = _known(table, rows), model.key[0]
    keyed = []
    for row in rows:
        identity = _identity(model, row)
        # A row without its identity is rejected for its empty key.
        number = None if identity[0] is None else known.get(identity, provisional_key(identity))
        keyed.append(row if row.get(key) is not None else {**row, key: number})
    return keyed


def provisional_key(identity: Identity) -> int:
    """Return the negative key of a row that has no known key.

    >>> provisional_key((1, None, None)) == provisional_key((1, None, None)) < 0
    True
    """
    return -1 - (int.from_bytes(hashlib.blake2b(repr(identity).encode(), digest_size=8).digest()) >> 2)


def remove_provisional(table: Table) -> int:
    """Delete provisional rows whose row is known by its key now; return how many."""
    model = table.model
    if not model.identity:
        return 0
    key = sql.Identifier(model.key[0])
    cursor = table.connection.execute(
        sql.SQL("delete from {0} p using {0} t where p.{1} < 0 and t.{1} > 0 and {2}").format(
            table.name, key, _same(model, "p")
        )
    )
    return cursor.rowcount


def _known(table: Table, rows: Sequence[Row]) -> dict[Identity, int]:
    """Read the keys of the rows that the table has; a real key is preferred to a provisional one."""
    model = table.model
    first, key = sql.Identifier(model.identity[0]), sql.Identifier(model.key[0])
    names = sql.SQL(", ").join(map(sql.Identifier, model.identity))
    query = sql.SQL("select {}, max({}) from {} where {} = any(%s::bigint[]) group by {}").format(
        names, key, table.name, first, names
    )
    given = [identity[0] for row in rows if (identity := _identity(model, row))[0] is not None]
    found = table.connection.execute(query, (given,)).fetchall()
    return {tuple(identity): int(number) for *identity, number in found}


def _identity(model: Model, row: Mapping[str, Any]) -> Identity:
    values = [row.get(name) for name in model.identity]
    return tuple(int(value) if value is not None and str(value).isdecimal() else None for value in values)


def _same(model: Model, alias: str) -> sql.Composable:
    first, *others = (sql.Identifier(name) for name in model.identity)
    equal = [sql.SQL("t.{0} = {1}.{0}").format(first, sql.Identifier(alias))]
    equal += [sql.SQL("t.{0} is not distinct from {1}.{0}").format(name, sql.Identifier(alias)) for name in others]
    return sql.SQL(" and ").join(equal)
