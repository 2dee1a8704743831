"""Looks up the digests of a table, to compare them with those of a report. Nothing is written."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from typing import cast

import polars as pl
from psycopg import sql

from canvas_sync_dagster.catalogue import Column, ColumnType
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.target import Target
from canvas_sync_dagster.warehouse.reading.keyed_blocks import DIGEST

MARK = "_mark"
"""Column of 1 where a condition holds for the row that was read, else 0."""
SPARSE = 4
"""A report that lists fewer than one in so many of the rows between its first key and its last is looked up key by key.
Reading a row in passing takes 0.2 µs, finding one by its key 2 µs, so it pays from ten on; PostgreSQL's estimate may err."""


KeyCondition = Callable[[str], sql.Composable]
"""Alias of a table → SQL condition on its key."""


class DigestLookup:
    """Compares keys and digests of a report with those of a table that has digests.

    Args:
        target: The table.
        key: Columns of the key.
    """

    def __init__(self, target: Target, key: Sequence[Column]) -> None:
        self._connection, self._target, self._key = target.connection, target, key
        self._expects_equal = True
        """Changes come in clusters: where the last piece had none, one sum is likely to settle the next piece, too."""

    def changed(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Return the keys whose digest the table does not have.

        Args:
            keys: One row per key, with its digest.
        """
        if keys.is_empty() or (self._expects_equal and self._is_equal(keys)):
            return keys.clear()
        found = keys.filter(~pl.col(DIGEST).is_in(self._digests(keys).implode()))
        self._expects_equal = found.is_empty()
        return found

    def keys_if_equal(self, edges: tuple[int, int], digests: pl.Series, *, wanted: bool) -> pl.DataFrame | None:
        """Return the keys of a block if the table has just its records between two keys, in whatever order; else None.

        Apart from the two, no key of the block is read: a digest covers its record's key. It takes the server 0.14 s per
        million rows, where reading the digests takes 0.21 s.

        Args:
            edges: Keys of the first record and the last.
            digests: One per record.
            wanted: Whether the caller needs the keys; else the frame has no rows.
        """
        key = self._key[0]
        named = (
            sql.SQL("string_agg(int8send({}), '')").format(sql.Identifier(key.name)) if wanted else sql.SQL("''::bytea")
        )
        query = sql.SQL("select count(*), bit_xor(row_hash), {} from {}").format(
            named, self._comparable(_between(key, *edges))
        )
        with self._connection.cursor(binary=True) as cursor:
            number, combined, text = cursor.execute(query).fetchone() or (0, None, None)
        if (number, combined) != (len(digests), digests.bitwise_xor()):
            return None
        return pl.DataFrame([_bigints(key.name, text)])

    def _is_equal(self, keys: pl.DataFrame) -> bool:
        """Return whether the table holds just these keys with just these digests, between the first key and the last.

        Their number and one xor of the digests are compared, which takes two thirds of the time of reading them. A
        digest covers the key, so equal sums of other rows are as unlikely as two equal digests: one in 2^64.
        """
        key = self._key[0]
        if len(self._key) > 1 or key.type is not ColumnType.BIGINT:
            return False
        listed = keys.get_column(key.name)
        query = sql.SQL("select count(*), bit_xor(row_hash) from {}").format(
            self._comparable(_between(key, listed.min(), listed.max()))
        )
        row = self._connection.execute(query).fetchone()
        return row is not None and tuple(row) == (keys.height, keys.get_column(DIGEST).bitwise_xor())

    def _digests(self, keys: pl.DataFrame) -> pl.Series:
        """Read the digests that the table has for keys, at least one; there may be those of more keys than asked for.

        A digest covers its record's key, so it does not matter which row has which. Rows that are suspected to be gone
        are left out, so that they count as changed and lose the suspicion.
        """
        first = self._key[0]
        listed = keys.get_column(first.name)
        near: list[KeyCondition] = []
        is_dense = False
        if first.type is ColumnType.BIGINT:
            lowest, highest = cast("int", listed.min()), cast("int", listed.max())
            near.append(_between(first, lowest, highest))
            # There cannot be more rows, which needs no estimate.
            is_dense = len(self._key) == 1 and highest - lowest < SPARSE * keys.height
        if not is_dense and self._estimated(*near) > SPARSE * keys.height:
            near = [_any_of(first, listed.unique())]
        return read_bigints(self._connection, [DIGEST], self._comparable(*near)).get_column(DIGEST)

    def _comparable(self, *conditions: KeyCondition) -> sql.Composed:
        """Return SQL behind `from`: the rows whose content their digest speaks for, with it as `row_hash`.

        Args:
            conditions: On the key; PostgreSQL does not derive a range of one table's keys from that of the other's.
        """
        required: list[sql.Composable] = [each("t") for each in conditions]
        required.append(sql.SQL("{} is not null").format(sql.Identifier("t", self._key[0].name)))
        if "missing_since" in self._target.system:
            required.append(sql.SQL("t.missing_since is null"))
        if self._target.digests_beside is None:
            source = sql.SQL("{} t").format(self._target.name)
            required.append(sql.SQL("t.row_hash is not null"))
        else:
            source = sql.SQL("{} t join {} d using ({})").format(
                self._target.name,
                self._target.digests_beside,
                sql.SQL(", ").join(sql.Identifier(column.name) for column in self._key),
            )
            required += [sql.SQL("d.row_version = t.xmin"), *(each("d") for each in conditions)]
        return sql.SQL("{} where {}").format(source, sql.SQL(" and ").join(required))

    def _estimated(self, *conditions: KeyCondition) -> float:
        query = sql.SQL("explain (format json) select from {} t where {}").format(
            self._target.name, sql.SQL(" and ").join([sql.SQL("true"), *(each("t") for each in conditions)])
        )
        row = self._connection.execute(query).fetchone()
        return float(row[0][0]["Plan"]["Plan Rows"]) if row else 0


def _between(column: Column, first: object, last: object) -> KeyCondition:
    def condition(alias: str) -> sql.Composable:
        return sql.SQL("{} between {} and {}").format(
            sql.Identifier(alias, column.name), sql.Literal(first), sql.Literal(last)
        )

    return condition


def _any_of(column: Column, keys: pl.Series) -> KeyCondition:
    wanted, array_type = sql.Literal(keys.to_list()), sql.SQL(f"{column.type.value}[]")

    def condition(alias: str) -> sql.Composable:
        return sql.SQL("{} = any({}::{})").format(sql.Identifier(alias, column.name), wanted, array_type)

    return condition


def read_bigints(
    connection: Connection,
    columns: Sequence[str],
    source: sql.Composable,
    alias: str | None = None,
    mark: sql.Composable | None = None,
) -> pl.DataFrame:
    """Read whole numbers, each column as one long byte string: a million pairs take 0.2 s, as rows of a COPY 1.8 s.

    Args:
        connection: In a transaction.
        columns: None of them null in any row.
        source: SQL behind `from`.
        alias: Of the table that has the columns.
        mark: SQL condition that is read as one more column, `_mark`, of 1 or 0.
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
    """Make a series of what PostgreSQL's `int8send` wrote, one value after the other."""
    values = array("q", text or b"")
    if sys.byteorder == "little":
        values.byteswap()
    return pl.Series(name, values, dtype=pl.Int64)
