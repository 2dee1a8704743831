"""Compare the keys that a complete source lists with the rows that the table has in its scope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import polars as pl
from psycopg import sql

from canvas_sync_dagster.catalogue import ColumnType, Model
from canvas_sync_dagster.warehouse.listed_keys import ListedKeys, no_keys
from canvas_sync_dagster.warehouse.loading.digest_lookup import MARK, read_bigints
from canvas_sync_dagster.warehouse.reading.frames import frame_of, valid
from canvas_sync_dagster.warehouse.row_conditions import EVERY_ROW, has_key_of, has_term, in_scope, not_deleted
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Table

KEYS_AT_ONCE = 500_000
"""Keys that are compared with the table in one piece: 4 MB per column and copy, however many there are. Finding what is
missing among 10 million keys in one piece takes 1.5 GB at its peak."""
LIVE = pl.col(MARK)


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """How the keys that a source lists differ from those that it should list.

    Attributes:
        expected: Number of live rows that it should list.
        gone: Keys of those rows that it does not list.
        out_of_scope: Keys that it lists although the tables do not show that they belong to its scope.
    """

    expected: int
    gone: pl.DataFrame
    out_of_scope: pl.DataFrame


def keys_of(model: Model, rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Return the keys of rows, one row per key; rows with an invalid key are left out."""
    columns = [model[name] for name in model.key]
    return valid(frame_of(rows, columns), columns)[0].select(model.key)


def compare_keys(
    table: Table, scope: str, listed: ListedKeys, *, among: sql.Composable, seen: sql.Composable
) -> KeyDifference:
    """Compare what a source lists with what it should list, piece by piece.

    Args:
        table: Of the rows.
        scope: Canvas term id of the source; empty for all rows.
        listed: Key of each record of the source.
        among: SQL condition on rows `t`: the source covers the row.
        seen: SQL condition on rows `t`: the row has no newer observation than the source.
    """
    model, key = table.model, list(table.model.key)
    # What the report of another term lists is missed by that term's report, whatever the tables show.
    own, elsewhere = _kept_out_of_scope(table, scope)
    homeless = _without_term(table, own, among, seen).join(elsewhere, on=key, how="anti")
    expected, out_of_scope = homeless.height, [no_keys(model)]
    if not homeless.is_empty():
        for keys in listed.frames():
            homeless = homeless.join(keys, on=key, how="anti")
    gone = [homeless]
    # A row of the scope that the source need not list, but does, is not out of scope.
    expected_rows = sql.SQL("{} and coalesce({}, false)").format(seen, among)
    for keys, piece in _pieces(listed, model):
        known = _read_keys(table, in_scope(table, scope), piece, *([] if scope else [among]), live=expected_rows)
        present = known.filter(LIVE).select(key).join(elsewhere, on=key, how="anti")
        expected += present.height
        gone.append(present.join(keys, on=key, how="anti"))
        if scope:
            out_of_scope.append(keys.join(known, on=key, how="anti").sort(key))
    return KeyDifference(expected, pl.concat(gone), pl.concat(out_of_scope))


def _pieces(listed: ListedKeys, model: Model) -> Iterator[tuple[pl.DataFrame, sql.Composable]]:
    """Yield ranges of keys with the SQL condition that a row `t` is in the range; together the ranges have all rows.

    The ranges are those of the first column of the key, if that is a bigint.
    """
    name, at_once = model.key[0], max(1, KEYS_AT_ONCE // len(model.key))
    if model[name].type is not ColumnType.BIGINT or listed.height <= at_once:
        yield listed.frame().unique(), EVERY_ROW
        return
    # Loads list keys in their order, which needs no copy.
    frames = listed.frames() if listed.is_ordered else iter([listed.frame().sort(name)])
    start: int | None = None
    held = no_keys(model)
    for keys in chain.from_iterable(frame.iter_slices(at_once) for frame in frames):
        held = pl.concat([held, keys])
        firsts = held.get_column(name)
        # More rows with the last value may follow.
        complete = int(firsts.search_sorted(firsts[-1], "left"))
        if held.height > at_once and complete:
            yield held[:complete].unique(), _between(name, start, firsts[-1])
            start, held = firsts[-1], held[complete:]
    yield held.unique(), _between(name, start, None)


def _between(name: str, start: int | None, stop: int | None) -> sql.Composable:
    """Return the condition that a column of `t` is at least `start` and less than `stop`; None is no limit."""
    column = sql.Identifier("t", name)
    bounds: list[sql.Composable] = [EVERY_ROW]
    if start is not None:
        bounds.append(sql.SQL("{} >= {}").format(column, sql.Literal(start)))
    if stop is not None:
        bounds.append(sql.SQL("{} < {}").format(column, sql.Literal(stop)))
    return sql.SQL(" and ").join(bounds)


def _read_keys(table: Table, *conditions: sql.Composable, live: sql.Composable) -> pl.DataFrame:
    """Read keys with a mark at those that a source should list: not deleted, and as `live` requires."""
    model = table.model
    where = sql.SQL("{} t where {}").format(table.name, sql.SQL(" and ").join([EVERY_ROW, *conditions]))
    mark = sql.SQL("({} and {})").format(not_deleted(model), live)
    if all(model[name].type is ColumnType.BIGINT for name in model.key):
        return read_bigints(table.connection, model.key, where, alias="t", mark=mark).with_columns(pl.col(MARK) == 1)
    named = sql.SQL(", ").join(sql.Identifier("t", name) for name in model.key)
    rows = table.connection.execute(sql.SQL("select {}, {} from {}").format(named, mark, where)).fetchall()
    return pl.DataFrame(rows, schema={**no_keys(model).schema, MARK: pl.Boolean}, orient="row")


def _kept_out_of_scope(table: Table, scope: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read the out-of-scope keys that the last complete source of this scope listed, and those of all other scopes.

    A source of all rows has none.
    """
    model = table.model
    if not scope:
        return no_keys(model), no_keys(model)
    kept = Watermarks(table.warehouse).out_of_scope_keys(model.name)
    usable = {of: keys.select(model.key) for of, keys in kept.items() if set(keys.columns) == set(model.key)}
    elsewhere = pl.concat([no_keys(model), *(keys for of, keys in usable.items() if of != scope)])
    return usable.get(scope, no_keys(model)), elsewhere


def _without_term(table: Table, keys: pl.DataFrame, covered: sql.Composable, seen: sql.Composable) -> pl.DataFrame:
    """Read which out-of-scope keys should be listed again: those of live rows that still belong to no term."""
    if keys.is_empty():
        return keys
    given, same_key = has_key_of(table.model, keys)
    listed = sql.SQL("exists (select from {} where {})").format(given, same_key)
    without_term = sql.SQL("not ({})").format(has_term(table))
    return _read_keys(table, listed, covered, without_term, live=seen).filter(LIVE).select(table.model.key)
