"""Statements about single rows: reading rows by key, and marking those that Canvas reports as gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from canvas_sync_dagster.warehouse.history import REST, written_by
from canvas_sync_dagster.warehouse.loading.system_columns import SYSTEM_VALUES, assignments, not_observed_after
from canvas_sync_dagster.warehouse.loading.target import system_columns
from canvas_sync_dagster.warehouse.row_conditions import EVERY_ROW, in_scope, not_deleted
from canvas_sync_dagster.warehouse.warehouse import Table


def read_rows(table: Table, columns: Iterable[str] | None, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Read the key and further columns of the rows with these keys; rows that do not exist are left out.

    Args:
        table: Of the rows.
        columns: Names; None for every column of the table.
        keys: Rows that have at least the columns of the key.
    """
    if not keys:
        return []
    model = table.model
    names = None if columns is None else dict.fromkeys([*model.key, *columns])
    query = sql.SQL("select {} from {} t join unnest({}) as k ({}) using ({})").format(
        sql.SQL("t.*") if names is None else sql.SQL(", ").join(sql.Identifier("t", name) for name in names),
        table.name,
        sql.SQL(", ").join(
            sql.SQL("{}::{}[]").format(sql.Literal([row[name] for row in keys]), sql.SQL(model[name].type.value))
            for name in model.key
        ),
        _identifiers(model.key),
        _identifiers(model.key),
    )
    with table.connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(query).fetchall())


def read_existing_ids(table: Table, ids: Collection[int]) -> set[int]:
    """Return those of the ids that the table of a model contains whose key is one id."""
    query = sql.SQL("select {key} from {table} where {key} = any(%s::bigint[])").format(
        key=sql.Identifier(table.model.key[0]), table=table.name
    )
    return {int(number) for (number,) in table.connection.execute(query, (list(ids),)).fetchall()}


def read_live_ids(table: Table, scope: str, *, among: sql.Composable = EVERY_ROW, deleted: bool = False) -> list[int]:
    """Read the ids of the rows of a scope that are not marked as deleted, in order.

    Args:
        table: Table of a model whose key is one id.
        scope: Canvas term id; empty for all rows.
        among: Further SQL condition on rows `t`.
        deleted: Whether rows that are marked as deleted are read, too.
    """
    live = EVERY_ROW if deleted else not_deleted(table.model)
    query = sql.SQL("select t.{} from {} t where {} and {} and {} order by 1").format(
        sql.Identifier(table.model.key[0]), table.name, live, in_scope(table, scope), among
    )
    return [int(row[0]) for row in table.connection.execute(query).fetchall()]


def read_live_contexts(table: Table, scope: str, *, among: sql.Composable = EVERY_ROW) -> list[tuple[int, str, int]]:
    """Read the rows as `read_live_ids` does, each with the type and the id of its context; rows without one are left out."""
    query = sql.SQL(
        "select t.{}, t.canvas_context_type, t.canvas_context_id from {} t where {} and {} and {} "
        "and t.canvas_context_id is not null order by 1"
    ).format(sql.Identifier(table.model.key[0]), table.name, not_deleted(table.model), in_scope(table, scope), among)
    rows = table.connection.execute(query).fetchall()
    return [(int(number), str(kind), int(context)) for number, kind, context in rows]


def mark_deleted(table: Table, row: Mapping[str, Any], values: Mapping[str, object], observed_at: datetime) -> int:
    """Mark a row that Canvas reports as gone, unless it has a newer observation.

    Args:
        table: Of the row.
        row: Has at least the columns of the key.
        values: Column → value that marks a row of this model as deleted; if empty, nothing is written.
        observed_at: When Canvas reported it.

    Returns:
        Number of written rows: one or none.
    """
    if not values:
        return 0
    system = system_columns(table)
    key = [sql.SQL("t.{} = {}").format(sql.Identifier(name), sql.Literal(row[name])) for name in table.model.key]
    statement = sql.SQL("update {} t set {} where {} and {}").format(
        table.name,
        assignments(values, system, SYSTEM_VALUES, observed_at),
        sql.SQL(" and ").join(key),
        not_observed_after(observed_at, system),
    )
    with written_by(table, REST):
        return table.connection.execute(statement).rowcount


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
