"""Absence is not deletion: rows that a complete source no longer lists become suspects, unless too many vanish at once.

A suspect keeps its content and carries `missing_since`. Only Canvas's own word about the single object makes it deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from psycopg import sql

from canvas_sync_dagster.catalogue import ColumnType, Model
from canvas_sync_dagster.errors import VolumeGateError
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.frames import frame_of, valid
from canvas_sync_dagster.warehouse.known import read_bigints
from canvas_sync_dagster.warehouse.source import Source, described
from canvas_sync_dagster.warehouse.stamps import seen_by, stamped
from canvas_sync_dagster.warehouse.target import system_columns


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

    Raises:
        VolumeGateError: So much is missing that the source itself is in doubt.
    """
    if source.is_outdated or not has_suspects(connection, schema, model):
        return Absence()
    present = _live_keys(connection, schema, model, models, source)
    gone = present.join(listed, on=list(model.key), how="anti") if present.height else present
    verdict = judge(present.height, gone.height, gate) if gate else "mark"
    if verdict == "mark":
        _mark(connection, schema, model, gone)
        return Absence(present.height, gone.height)
    said = (
        f"{described(model.name, source)}: {gone.height:,} of {present.height:,} rows are missing at once. "
        "That is rather a filter, a lagging replica or a cut file than so many deletions"
    )
    if verdict == "hold":
        return Absence(present.height, gone.height, f"{said}; none was marked.")
    raise VolumeGateError(
        f"{said}. Nothing was published. Look at the report in Canvas; if it is right, run again with "
        "`accept_shrinkage: true` in sync_options."
    )


def has_suspects(connection: Connection, schema: str, model: Model) -> bool:
    """Says whether the table can mark suspects; one that was there before may lack the column."""
    row = connection.execute(
        "select count(*) from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s and a.attname = any(%s) and not a.attisdropped",
        (schema, model.name, ["missing_since", "observed_at"]),
    ).fetchone()
    return row is not None and int(row[0]) == 2


def count_suspects(connection: Connection, schema: str, model: Model) -> int:
    """Counts the rows that are suspected to be gone."""
    if not has_suspects(connection, schema, model):
        return 0
    query = sql.SQL("select count(*) from {} where missing_since is not null").format(
        sql.Identifier(schema, model.name)
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


def count_orphans(connection: Connection, schema: str, model: Model, models: Mapping[str, Model]) -> dict[str, int]:
    """Counts per parent model the live rows that point to a row which is not there."""
    found = {}
    for column, parent in model.references(models):
        query = sql.SQL(
            "select count(*) from {} t where t.{} is not null and {} and not exists (select from {} p where p.{} = t.{})"
        ).format(
            sql.Identifier(schema, model.name),
            sql.Identifier(column),
            not_deleted(model),
            sql.Identifier(schema, parent.name),
            sql.Identifier(parent.key[0]),
            sql.Identifier(column),
        )
        row = connection.execute(query).fetchone()
        found[parent.name] = int(row[0]) if row else 0
    return found


def in_scope(schema: str, model: Model, models: Mapping[str, Model], scope: str) -> sql.Composable:
    """Says in SQL which rows, aliased `t`, belong to a term; a row whose way to its term is broken belongs to none."""
    if not scope or not model.term_by:
        return sql.SQL("true")
    column = sql.Identifier("t", model.term_by[0])
    if len(model.term_by) == 1:
        return sql.SQL("{} = {}").format(column, sql.Literal(int(scope)))
    parent = models[model.term_by[1]]
    return sql.SQL("{} in (select t.{} from {} t where {})").format(
        column,
        sql.Identifier(parent.key[0]),
        sql.Identifier(schema, parent.name),
        in_scope(schema, parent, models, scope),
    )


def not_deleted(model: Model) -> sql.Composable:
    """Says in SQL that a row, aliased `t`, is not known to be deleted."""
    conditions: list[sql.Composable] = [
        sql.SQL("{} is distinct from {}").format(sql.Identifier("t", name), sql.Literal(value))
        for name, value in model.deleted_values.items()
    ]
    return sql.SQL("({})").format(sql.SQL(" or ").join(conditions)) if conditions else sql.SQL("true")


def _live_keys(
    connection: Connection, schema: str, model: Model, models: Mapping[str, Model], source: Source
) -> pl.DataFrame:
    """Reads the keys of the rows that the source should list: not deleted, and not seen later than it."""
    where = sql.SQL("{} t where {} and {} and (t.observed_at is null or t.observed_at <= {})").format(
        sql.Identifier(schema, model.name),
        in_scope(schema, model, models, source.scope),
        not_deleted(model),
        sql.Literal(source.observed_at),
    )
    if all(model[name].type is ColumnType.BIGINT for name in model.key):
        return read_bigints(connection, model.key, where, alias="t")
    named = sql.SQL(", ").join(sql.Identifier("t", name) for name in model.key)
    rows = connection.execute(sql.SQL("select {} from {}").format(named, where)).fetchall()
    return pl.DataFrame(rows, schema=no_keys(model).schema, orient="row")


def _mark(connection: Connection, schema: str, model: Model, gone: pl.DataFrame) -> None:
    if gone.is_empty():
        return
    connection.execute(
        sql.SQL("update {} t set missing_since = now() from {} g where {} and t.missing_since is null").format(
            sql.Identifier(schema, model.name), keys_as_table(model, gone), same_key(model)
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
            sql.Identifier(schema, model.name),
            stamped(dict.fromkeys(columns), system, ["updated_at"]),
            filled,
            in_scope(schema, model, models, source.scope),
            seen_by(source.observed_at, system),
            keys_as_table(model, listed),
            same_key(model),
        )
    )
    return cursor.rowcount


def write_absent(
    connection: Connection, schema: str, model: Model, source: Source, listed: pl.DataFrame, values: Mapping[str, str]
) -> int:
    """Writes values to the rows that a complete list did not show, and returns how many changed."""
    system = system_columns(connection, schema, model)
    differs = sql.SQL(" or ").join(
        sql.SQL("t.{} is distinct from {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in values.items()
    )
    cursor = connection.execute(
        sql.SQL("update {} t set {} where not exists (select from {} g where {}) and {} and ({})").format(
            sql.Identifier(schema, model.name),
            stamped(values, system, ["updated_at"], source.observed_at),
            keys_as_table(model, listed),
            same_key(model),
            seen_by(source.observed_at, system),
            differs,
        )
    )
    return cursor.rowcount
