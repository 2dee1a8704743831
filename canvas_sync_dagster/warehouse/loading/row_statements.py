"""Statements about single rows: reading those that Canvas is asked about, and marking those that it reports as gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.system_columns import SYSTEM_VALUES, assignments, not_observed_after
from canvas_sync_dagster.warehouse.loading.target import system_columns


def read_rows(
    connection: Connection,
    schema: str,
    model: Model,
    columns: Iterable[str] | None,
    keys: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Reads columns of the rows with these keys, or every column of the table if None; absent rows are left out."""
    if not keys:
        return []
    names = None if columns is None else dict.fromkeys([*model.key, *columns])
    query = sql.SQL("select {} from {} t join unnest({}) as k ({}) using ({})").format(
        sql.SQL("t.*") if names is None else sql.SQL(", ").join(sql.Identifier("t", name) for name in names),
        sql.Identifier(schema, model.table),
        sql.SQL(", ").join(
            sql.SQL("{}::{}[]").format(sql.Literal([row[name] for row in keys]), sql.SQL(model[name].type.value))
            for name in model.key
        ),
        _names(model.key),
        _names(model.key),
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(query).fetchall())


def read_suspects(
    connection: Connection, schema: str, model: Model, columns: Iterable[str], limit: int
) -> list[dict[str, Any]]:
    """Reads suspects, some of them if there are more.

    The choice is random: rows that Canvas hides stay suspects, and the oldest would always come before the others.
    """
    names = list(dict.fromkeys([*model.key, *columns]))
    query = sql.SQL("select {} from {} where missing_since is not null order by random() limit {}").format(
        _names(names), sql.Identifier(schema, model.table), sql.Literal(limit)
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(query).fetchall())


def mark_deleted(
    connection: Connection,
    schema: str,
    model: Model,
    row: Mapping[str, Any],
    values: Mapping[str, object],
    observed_at: datetime,
) -> int:
    """Mark a row that Canvas reports as gone, unless it has a newer observation.

    Returns:
        How many rows were written: one or none.
    """
    if not values:
        return 0
    system = system_columns(connection, schema, model)
    key = sql.SQL(" and ").join(sql.SQL("t.{} = {}").format(sql.Identifier(n), sql.Literal(row[n])) for n in model.key)
    cursor = connection.execute(
        sql.SQL("update {} t set {} where {} and {}").format(
            sql.Identifier(schema, model.table),
            assignments(values, system, SYSTEM_VALUES, observed_at),
            key,
            not_observed_after(observed_at, system),
        )
    )
    return cursor.rowcount


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
