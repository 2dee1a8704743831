"""Reads the digests that a table knows, so that they can be compared with those of a report."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import cast

import polars as pl
from psycopg import sql

from canvas_sync_dagster.catalogue import Column, ColumnType
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.target import Target
from canvas_sync_dagster.warehouse.reading.keyed_blocks import DIGEST

KEYS_AT_ONCE = 500_000
"""Keys that are compared with the table in one piece: 4 MB per column and copy, however many there are. Looking for what
is missing among 10 million takes 334 MB at its peak, all at once 1.5 GB."""
MARK = "_mark"
"""Column that says of a row that was read whether a condition holds for it."""
SPARSE = 4
"""A report that tells fewer than one in so many of the rows between its first key and its last is looked up key by key.
Reading a row in passing takes 0.2 µs, finding one by its key 2 µs, so it pays from ten on; PostgreSQL's estimate may err."""


def is_known(connection: Connection, target: Target, key: Sequence[Column], keys: pl.DataFrame) -> bool:
    """Says whether the table holds just these keys with just these digests, between the first key and the last.

    Their number and one xor of the digests stand for all, which takes two thirds of the time of reading them. A digest
    covers the key, too, so that equal sums of other rows are as unlikely as two equal digests: one in 2^64.

    Args:
        connection: Within the load's transaction.
        target: The table; it has digests.
        key: Columns of the key.
        keys: What the report tells, one row per key, with the digests.
    """
    if len(key) > 1 or key[0].type is not ColumnType.BIGINT:
        return False
    told = keys.get_column(key[0].name)
    query = sql.SQL("select count(*), bit_xor(row_hash) from {} {}").format(
        target.name, _where([*_comparable(target, key), _between(key[0], told.min(), told.max())])
    )
    row = connection.execute(query).fetchone()
    return row is not None and tuple(row) == (keys.height, keys.get_column(DIGEST).bitwise_xor())


def known_keys(
    connection: Connection, target: Target, key: Column, edges: tuple[int, int], digests: pl.Series, *, wanted: bool
) -> pl.DataFrame | None:
    """Returns the keys of a block if the table holds just its records between two keys, in whatever order; else None.

    No key of the block but the two is read for it: a digest covers its record's key, too. It takes the server 0.14 s per
    million rows, where reading the digests takes 0.21.

    Args:
        connection: Within the load's transaction.
        target: The table; it has digests.
        key: The only column of the key, a bigint.
        edges: The keys of the first record and of the last.
        digests: One per record.
        wanted: Whether the keys are wanted; else none are returned.
    """
    keys = sql.SQL("string_agg(int8send({}), '')").format(sql.Identifier(key.name)) if wanted else sql.SQL("''::bytea")
    query = sql.SQL("select count(*), bit_xor(row_hash), {} from {} {}").format(
        keys, target.name, _where([*_comparable(target, [key]), _between(key, *edges)])
    )
    with connection.cursor(binary=True) as cursor:
        number, sum_of_digests, text = cursor.execute(query).fetchone() or (0, None, None)
    if (number, sum_of_digests) != (len(digests), digests.bitwise_xor()):
        return None
    return pl.DataFrame([_bigints(key.name, text)])


def known_digests(connection: Connection, target: Target, key: Sequence[Column], keys: pl.DataFrame) -> pl.Series:
    """Returns the digests that the table has for keys; there may be those of more keys than asked for.

    A digest covers its record's key, so that nobody need be told which row has which. Rows that are suspected to be gone are left out, so that they count as changed and lose the suspicion.

    Args:
        connection: Within the load's transaction.
        target: The table; it has digests.
        key: Columns of the key.
        keys: What the report tells, at least one row.
    """
    first = sql.Identifier(key[0].name)
    told = keys.get_column(key[0].name)
    conditions = _comparable(target, key)
    near = list(conditions)
    is_dense = False
    if key[0].type is ColumnType.BIGINT:
        lowest, highest = cast("int", told.min()), cast("int", told.max())
        near.append(_between(key[0], lowest, highest))
        # There cannot be more rows, which needs no estimate.
        is_dense = len(key) == 1 and highest - lowest < SPARSE * keys.height
    if not is_dense and _estimated(connection, target, near) > SPARSE * keys.height:
        wanted = sql.Literal(told.unique().to_list())
        near = [*conditions, sql.SQL("{} = any({}::{})").format(first, wanted, sql.SQL(f"{key[0].type.value}[]"))]
    return read_bigints(connection, [DIGEST], sql.SQL("{} {}").format(target.name, _where(near))).get_column(DIGEST)


def _comparable(target: Target, key: Sequence[Column]) -> list[sql.Composable]:
    """Leaves out the rows whose content a digest does not speak for."""
    named = sql.Identifier(key[0].name)
    conditions: list[sql.Composable] = [sql.SQL("row_hash is not null"), sql.SQL("{} is not null").format(named)]
    if "missing_since" in target.system:
        conditions.append(sql.SQL("missing_since is null"))
    return conditions


def _between(column: Column, first: object, last: object) -> sql.Composed:
    return sql.SQL("{} between {} and {}").format(sql.Identifier(column.name), sql.Literal(first), sql.Literal(last))


def _where(conditions: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL("where {}").format(sql.SQL(" and ").join(conditions))


def _estimated(connection: Connection, target: Target, conditions: Sequence[sql.Composable]) -> float:
    query = sql.SQL("explain (format json) select from {} {}").format(target.name, _where(conditions))
    row = connection.execute(query).fetchone()
    return float(row[0][0]["Plan"]["Plan Rows"]) if row else 0


def read_bigints(
    connection: Connection,
    columns: Sequence[str],
    source: sql.Composable,
    alias: str | None = None,
    mark: sql.Composable | None = None,
) -> pl.DataFrame:
    """Reads whole numbers, each column as one long byte string: a million pairs take 0.2 s, as rows of a COPY 1.8 s.

    Args:
        connection: In a transaction.
        columns: None of them null in any row.
        source: What stands behind `from`.
        alias: Of the table that has the columns.
        mark: A condition that is read beside them, as 1 or 0.
    """
    named: list[sql.Composable] = [sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns]
    if mark is not None:
        named.append(sql.SQL("({})::integer").format(mark))
    joined = sql.SQL(", ").join(sql.SQL("string_agg(int8send({}), '')").format(each) for each in named)
    with connection.cursor(binary=True) as cursor:
        row = cursor.execute(sql.SQL("select {} from {}").format(joined, source)).fetchone() or ()
    names = [*columns, *([MARK] if mark is not None else [])]
    return pl.DataFrame([_bigints(name, value) for name, value in zip(names, row, strict=True)])


def _bigints(name: str, text: bytes | None) -> pl.Series:
    """Makes a series of what PostgreSQL's `int8send` wrote, one value after the other."""
    values = array("q", text or b"")
    if sys.byteorder == "little":
        values.byteswap()
    return pl.Series(name, values, dtype=pl.Int64)
