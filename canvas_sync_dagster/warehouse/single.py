"""Statements about single rows: reading what Canvas is asked about, and marking what it says is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.target import inspect_target


def read_rows(
    connection: Connection, schema: str, model: Model, columns: Iterable[str], keys: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Reads columns of the rows with these keys; what is not there is left out."""
    if not keys:
        return []
    names = list(dict.fromkeys([*model.key, *columns]))
    query = sql.SQL("select {} from {} t join unnest({}) as k ({}) using ({})").format(
        sql.SQL(", ").join(sql.Identifier("t", name) for name in names),
        sql.Identifier(schema, model.name),
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

    Any of them, and not those of longest standing: rows that Canvas hides stay suspects, and would stand before the
    others for ever.
    """
    names = list(dict.fromkeys([*model.key, *columns]))
    query = sql.SQL("select {} from {} where missing_since is not null order by random() limit {}").format(
        _names(names), sql.Identifier(schema, model.name), sql.Literal(limit)
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
    """Writes that Canvas says a row is gone, unless the row was seen later than that.

    Returns:
        How many rows were written: one or none.
    """
    if not values:
        return 0
    system = inspect_target(connection, schema, model, set(values)).system
    changed = sql.SQL("({}) is distinct from ({})").format(
        _names(values), sql.SQL(", ").join(map(sql.Literal, values.values()))
    )
    ours = {
        "updated_at": sql.SQL("case when {} then now() else updated_at end").format(changed),
        "observed_at": sql.Literal(observed_at),
        "missing_since": sql.SQL("null"),
        "row_hash": sql.SQL("null"),
    }
    written: dict[str, sql.Composable] = {name: sql.Literal(value) for name, value in values.items()}
    written |= {name: value for name, value in ours.items() if name in system}
    older = sql.SQL("(observed_at is null or observed_at <= {})").format(sql.Literal(observed_at))
    cursor = connection.execute(
        sql.SQL("update {} set {} where {} and {}").format(
            sql.Identifier(schema, model.name),
            sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), value) for n, value in written.items()),
            sql.SQL(" and ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Literal(row[n])) for n in model.key),
            older if "observed_at" in system else sql.SQL("true"),
        )
    )
    return cursor.rowcount


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
