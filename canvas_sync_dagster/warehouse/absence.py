"""Absence is not deletion: rows that a complete source no longer lists become suspects, unless too many vanish at once.

A suspect keeps its content and carries `missing_since`. Only Canvas's own word about the single object makes it deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl
from psycopg import sql

from canvas_sync_dagster.catalogue import ColumnType, Model, RestFeed
from canvas_sync_dagster.errors import VolumeGateError
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.digest_lookup import MARK, read_bigints
from canvas_sync_dagster.warehouse.loading.system_columns import assignments, not_observed_after
from canvas_sync_dagster.warehouse.loading.target import system_columns
from canvas_sync_dagster.warehouse.reading.frames import frame_of, valid
from canvas_sync_dagster.warehouse.reading.source import Source, described
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class VolumeGate:
    """How much of a scope may vanish at once.

    Attributes:
        minimum: Rows; fewer are always believed to be missing, though still not to be deleted.
        hold: Share of the scope's rows from which on nothing is marked.
        refuse: Share from which on the whole load is refused.
    """

    minimum: int = 5
    hold: float = 0.2
    refuse: float = 0.5


KEYS_AT_ONCE = 500_000
"""Keys that are compared with the table in one piece: 4 MB per column and copy, however many there are. Looking for what
is missing among 10 million takes 334 MB at its peak, all at once 1.5 GB."""
SUSPICION = frozenset({"missing_since", "observed_at"})
"""What a table needs for marking suspects."""
EVERY_ROW = sql.SQL("true")
LIVE = pl.col(MARK)
GATE = VolumeGate()
"""A course list does not shrink by a fifth between two syncs; a filter, a lagging replica or a cut file makes it."""


@dataclass(frozen=True, slots=True)
class Absence:
    """What a complete source no longer lists.

    Attributes:
        expected: Live rows that the table has in the scope.
        missing: Those of them that the source does not list.
        held: Why they were not marked; empty if they were.
    """

    expected: int = 0
    missing: int = 0
    held: str = ""


@dataclass(frozen=True, slots=True)
class _Difference:
    """How what a source lists differs from what it should list.

    Attributes:
        expected: Live rows that it should list.
        gone: Keys of those that it does not.
        strays: Keys that it lists, and that are not in its scope by what the tables tell.
    """

    expected: int
    gone: pl.DataFrame
    strays: pl.DataFrame


def judge(expected: int, missing: int, gate: VolumeGate = GATE) -> str:
    """Says what becomes of missing rows: `mark`, `hold` or `refuse`.

    >>> [judge(100, 3), judge(100, 30), judge(100, 90), judge(4, 4)]
    ['mark', 'hold', 'refuse', 'mark']
    """
    if missing < gate.minimum or missing <= gate.hold * expected:
        return "mark"
    return "hold" if missing <= gate.refuse * expected else "refuse"


def mark_missing(
    connection: Connection,
    schema: str,
    model: Model,
    models: Mapping[str, Model],
    source: Source,
    listed: pl.DataFrame,
    *,
    gate: VolumeGate | None = GATE,
    among: sql.Composable = EVERY_ROW,
    values: Mapping[str, str] | None = None,
) -> Absence:
    """Marks the rows of a scope that a complete source does not list, in the load's transaction.

    Args:
        connection: Of the load.
        schema: The tenant's.
        model: Whose rows.
        models: All models, for finding a row's term.
        source: Complete; its scope is a term, or empty for all rows.
        listed: The key of each record of the source.
        gate: None lets any number vanish, for a person has said so.
        among: Says in SQL of which rows, aliased `t`, the source speaks at all.
        values: What is written to the missing rows in place of a suspicion, where the source's word is enough.

    Raises:
        VolumeGateError: So much is missing that the source itself is in doubt.
    """
    system = system_columns(connection, schema, model)
    if source.is_outdated or not (values or system >= SUSPICION):
        return Absence()
    seen = not_observed_after(source.observed_at, system)
    found = _difference(connection, schema, model, models, source, listed, among=among, seen=seen)
    expected, missing = found.expected, found.gone.height
    verdict = judge(expected, missing, gate) if gate else "mark"
    if verdict == "mark":
        if source.scope:
            Watermarks(Warehouse(connection, schema)).keep_out_of_scope_keys(model.name, source.scope, found.strays)
        _mark(connection, schema, model, found.gone, _written(source, system, values))
        return Absence(expected, missing)
    said = (
        f"{described(model.name, source)}: {missing:,} of {expected:,} rows are missing at once. "
        "That is rather a filter, a lagging replica or a cut file than so many deletions"
    )
    if verdict == "hold":
        return Absence(expected, missing, f"{said}; none was marked.")
    raise VolumeGateError(
        f"{said}. Nothing was published. Look at the report in Canvas; if it is right, run again with "
        "`accept_shrinkage: true` in sync_options."
    )


def _difference(
    connection: Connection,
    schema: str,
    model: Model,
    models: Mapping[str, Model],
    source: Source,
    listed: pl.DataFrame,
    *,
    among: sql.Composable,
    seen: sql.Composable,
) -> _Difference:
    """Compares what a source lists with what it should list, piece by piece."""
    key, scope = list(model.key), in_scope(schema, model, models, source.scope)
    # What another term's report lists is that term's to miss, whatever the tables tell.
    own, elsewhere = _kept_strays(connection, schema, model, source.scope)
    homeless = _homeless(connection, schema, model, models, own, seen).join(elsewhere, on=key, how="anti")
    expected, strays = homeless.height, [no_keys(model)]
    gone = [homeless.join(listed.join(homeless, on=key, how="semi"), on=key, how="anti")]
    for keys, piece in _pieces(listed, model):
        known = _keys(connection, schema, model, scope, among, piece, live=seen)
        present = known.filter(LIVE).select(key).join(elsewhere, on=key, how="anti")
        expected += present.height
        gone.append(present.join(keys, on=key, how="anti"))
        if source.scope:
            strays.append(keys.join(known, on=key, how="anti").sort(key))
    return _Difference(expected, pl.concat(gone), pl.concat(strays))


def _pieces(listed: pl.DataFrame, model: Model) -> Iterator[tuple[pl.DataFrame, sql.Composable]]:
    """Cuts keys into ranges, and says in SQL which rows, aliased `t`, are in each; together they have all rows."""
    name = model.key[0]
    if len(model.key) > 1 or model[name].type is not ColumnType.BIGINT or listed.height <= KEYS_AT_ONCE:
        yield listed.unique(), EVERY_ROW
        return
    keys, column = listed.get_column(name).sort(), sql.Identifier("t", name)
    starts = keys.gather_every(KEYS_AT_ONCE)[1:].unique(maintain_order=True)
    places = [0, *keys.search_sorted(starts, "left"), len(keys)]
    for (first, end), (start, stop) in zip(pairwise(places), pairwise([None, *starts, None]), strict=True):
        bounds: list[sql.Composable] = []
        if start is not None:
            bounds.append(sql.SQL("{} >= {}").format(column, sql.Literal(start)))
        if stop is not None:
            bounds.append(sql.SQL("{} < {}").format(column, sql.Literal(stop)))
        yield keys[first:end].unique().to_frame(), sql.SQL(" and ").join(bounds)


def has_suspects(connection: Connection, schema: str, model: Model) -> bool:
    """Says whether the table can mark suspects; one that was there before may lack the column."""
    return system_columns(connection, schema, model) >= SUSPICION


def count_suspects(connection: Connection, schema: str, model: Model) -> int:
    """Counts the rows that are suspected to be gone."""
    if not has_suspects(connection, schema, model):
        return 0
    query = sql.SQL("select count(*) from {} where missing_since is not null").format(
        sql.Identifier(schema, model.table)
    )
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def no_keys(model: Model) -> pl.DataFrame:
    """Returns a frame of keys that is empty."""
    types = {name: pl.Int64 if model[name].type is ColumnType.BIGINT else pl.String for name in model.key}
    return pl.DataFrame(schema=types)


def keys_of(model: Model, rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Picks the keys of rows."""
    columns = [model[name] for name in model.key]
    return valid(frame_of(rows, columns), columns)[0].select(model.key)


def _finds_term(model: Model, models: Mapping[str, Model]) -> bool:
    """Says whether the tables tell the terms of a model's rows: those of a model that is not synced do not."""
    return bool(model.term_by) and all(name in models for name in model.term_by[1:])


def in_scope(schema: str, model: Model, models: Mapping[str, Model], scope: str) -> sql.Composable:
    """Says in SQL which rows, aliased `t`, belong to a term; a row whose way to its term is broken belongs to none."""
    if not scope:
        return EVERY_ROW
    if not _finds_term(model, models):
        return sql.SQL("false")
    column = sql.Identifier("t", model.term_by[0])
    if len(model.term_by) == 1:
        return sql.SQL("{} = {}").format(column, sql.Literal(int(scope)))
    parent = models[model.term_by[1]]
    return sql.SQL("{} in (select t.{} from {} t where {})").format(
        column,
        sql.Identifier(parent.key[0]),
        sql.Identifier(schema, parent.table),
        in_scope(schema, parent, models, scope),
    )


def has_term(schema: str, model: Model, models: Mapping[str, Model]) -> sql.Composable:
    """Says in SQL that the tables tell which term a row, aliased `t`, belongs to."""
    if not _finds_term(model, models):
        return sql.SQL("false")
    column = sql.Identifier("t", model.term_by[0])
    if len(model.term_by) == 1:
        return sql.SQL("{} is not null").format(column)
    parent = models[model.term_by[1]]
    return sql.SQL("coalesce({} in (select t.{} from {} t where {}), false)").format(
        column,
        sql.Identifier(parent.key[0]),
        sql.Identifier(schema, parent.table),
        has_term(schema, parent, models),
    )


def not_deleted(model: Model) -> sql.Composable:
    """Says in SQL that a row, aliased `t`, is not known to be deleted."""
    conditions: list[sql.Composable] = [
        sql.SQL("{} is distinct from {}").format(sql.Identifier("t", name), sql.Literal(value))
        for name, value in model.deleted_values.items()
    ]
    return sql.SQL("({})").format(sql.SQL(" or ").join(conditions)) if conditions else EVERY_ROW


def _keys(
    connection: Connection, schema: str, model: Model, *conditions: sql.Composable, live: sql.Composable
) -> pl.DataFrame:
    """Reads keys with a mark at those that a source should list: not deleted, and as `live` says."""
    where = sql.SQL("{} t where {}").format(
        sql.Identifier(schema, model.table), sql.SQL(" and ").join([EVERY_ROW, *conditions])
    )
    mark = sql.SQL("({} and {})").format(not_deleted(model), live)
    if all(model[name].type is ColumnType.BIGINT for name in model.key):
        return read_bigints(connection, model.key, where, alias="t", mark=mark).with_columns(pl.col(MARK) == 1)
    named = sql.SQL(", ").join(sql.Identifier("t", name) for name in model.key)
    rows = connection.execute(sql.SQL("select {}, {} from {}").format(named, mark, where)).fetchall()
    return pl.DataFrame(rows, schema={**no_keys(model).schema, MARK: pl.Boolean}, orient="row")


def _kept_strays(connection: Connection, schema: str, model: Model, scope: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads the strays that the last complete source of this scope listed, and those of all others.

    A source of all rows has none.
    """
    if not scope:
        return no_keys(model), no_keys(model)
    kept = Watermarks(Warehouse(connection, schema)).out_of_scope_keys(model.name)
    usable = {of: keys.select(model.key) for of, keys in kept.items() if set(keys.columns) == set(model.key)}
    elsewhere = pl.concat([no_keys(model), *(keys for of, keys in usable.items() if of != scope)])
    return usable.get(scope, no_keys(model)), elsewhere


def _homeless(
    connection: Connection,
    schema: str,
    model: Model,
    models: Mapping[str, Model],
    strays: pl.DataFrame,
    seen: sql.Composable,
) -> pl.DataFrame:
    """Reads which strays should be listed again: those that no term has by now."""
    if strays.is_empty():
        return strays
    among = sql.SQL("exists (select from {} g where {})").format(keys_as_table(model, strays), same_key(model))
    homeless = sql.SQL("not ({})").format(has_term(schema, model, models))
    return _keys(connection, schema, model, among, homeless, live=seen).filter(LIVE).select(model.key)


def _written(source: Source, system: Collection[str], values: Mapping[str, str] | None) -> dict[str, sql.Composable]:
    """Says in SQL what is written to a missing row: a suspicion, or what the source's word means for it."""
    if not values:
        return {"missing_since": sql.SQL("now()")}
    written: dict[str, sql.Composable] = {name: sql.Literal(value) for name, value in values.items()}
    ours = {"updated_at": sql.SQL("now()"), "observed_at": sql.Literal(source.observed_at), "row_hash": sql.SQL("null")}
    return written | {name: value for name, value in ours.items() if name in system}


def _mark(
    connection: Connection, schema: str, model: Model, gone: pl.DataFrame, written: Mapping[str, sql.Composable]
) -> None:
    if gone.is_empty():
        return
    sets = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in written.items())
    # Who is a suspect already stays one, and is not written again.
    anew = sql.SQL("t.missing_since is null") if "missing_since" in written else EVERY_ROW
    connection.execute(
        sql.SQL("update {} t set {} from {} g where {} and {}").format(
            sql.Identifier(schema, model.table), sets, keys_as_table(model, gone), same_key(model), anew
        )
    )


def keys_as_table(model: Model, keys: pl.DataFrame) -> sql.Composed:
    """Writes keys as a table expression."""
    arrays = [
        sql.SQL("{}::{}[]").format(sql.Literal(keys.get_column(name).to_list()), sql.SQL(model[name].type.value))
        for name in model.key
    ]
    return sql.SQL("(select * from unnest({}) as k ({}))").format(
        sql.SQL(", ").join(arrays), sql.SQL(", ").join(map(sql.Identifier, model.key))
    )


def same_key(model: Model) -> sql.Composed:
    """Says in SQL that rows `t` and `g` have one key."""
    pairs: Sequence[sql.Composable] = [sql.SQL("t.{0} = g.{0}").format(sql.Identifier(name)) for name in model.key]
    return sql.SQL(" and ").join(pairs)


def clear_unlisted(
    connection: Connection,
    schema: str,
    model: Model,
    models: Mapping[str, Model],
    source: Source,
    *,
    columns: Sequence[str],
    listed: pl.DataFrame,
) -> int:
    """Empties columns that only an enriching table fills, on the rows of the scope that it no longer lists.

    Returns:
        How many rows changed.
    """
    system = system_columns(connection, schema, model)
    filled = sql.SQL(" or ").join(sql.SQL("t.{} is not null").format(sql.Identifier(name)) for name in columns)
    cursor = connection.execute(
        sql.SQL("update {} t set {} where ({}) and {} and {} and not exists (select from {} g where {})").format(
            sql.Identifier(schema, model.table),
            assignments(dict.fromkeys(columns), system, ["updated_at"]),
            filled,
            in_scope(schema, model, models, source.scope),
            not_observed_after(source.observed_at, system),
            keys_as_table(model, listed),
            same_key(model),
        )
    )
    return cursor.rowcount


def spoken_of(feed: RestFeed, silent: Sequence[int]) -> sql.Composable:
    """Says in SQL of which rows, aliased `t`, a walk speaks: not of those whose parent has no list.

    Args:
        feed: Of the walk.
        silent: Ids of the parents that Canvas did not find.
    """
    conditions: list[sql.Composable] = [EVERY_ROW]
    if feed.among is not None:
        column, value = feed.among
        conditions.append(sql.SQL("{} = {}").format(sql.Identifier("t", column), sql.Literal(value)))
    if feed.holder is not None and silent:
        holder = sql.Identifier("t", feed.holder)
        conditions.append(sql.SQL("({0} is null or {0} <> all({1}))").format(holder, sql.Literal(list(silent))))
    return sql.SQL(" and ").join(conditions)
