"""Write rows of the journal and of the batches into the tables as they are: ours, or those that the gem's migrations made.

In the gem's tables JSON is `text` or `json`, times have no zone, and Rails's `created_at` and `updated_at` are NOT NULL
without a default. Each value is therefore cast to its column's own type. Rows that the gem wrote stay untouched; their
text may be YAML, and is never read as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from psycopg import sql

from canvas_sync_dagster.warehouse.warehouse import Warehouse

NOW = sql.SQL("clock_timestamp()")
OUR_JOBS = r"""(job_arguments::text ~ '^\{("[^"]*": |\})')"""
"""SQL condition: a row of `canvas_sync_job_logs` is ours. Arguments of ours are an object, as Python or PostgreSQL spells
JSON; those of the gem's are a list, as JSON or YAML."""
OUR_BATCHES = "(heartbeat_at is not null)"
"""SQL condition: a row of `canvas_sync_sync_batches` is ours. The gem's have no heartbeat."""


def as_json(column: str, ours: str) -> str:
    """Return SQL that reads a column of our rows as jsonb, and null for the others, whose text may be anything."""
    return f"(case when {ours} then {column}::jsonb end)"


def insert(warehouse: Warehouse, table: str, values: Mapping[str, object]) -> int:
    """Insert a row, with the times of its creation and update, and return its id."""
    types = column_types(warehouse, table)
    written = {"created_at": NOW, "updated_at": NOW, **values}
    query = sql.SQL("insert into {} ({}) values ({}) returning id").format(
        warehouse.identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, written)),
        sql.SQL(", ").join(_cast(value, types[name]) for name, value in written.items()),
    )
    row = warehouse.connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 (returning always returns)
    return int(row[0])


def update(warehouse: Warehouse, table: str, values: Mapping[str, object], condition: sql.Composable) -> int:
    """Update the rows that match a condition, and the time of their update; return how many there are."""
    types = column_types(warehouse, table)
    written = {"updated_at": NOW, **values}
    assignments = [
        sql.SQL("{} = {}").format(sql.Identifier(name), _cast(value, types[name])) for name, value in written.items()
    ]
    query = sql.SQL("update {} set {} where {}").format(
        warehouse.identifier(table), sql.SQL(", ").join(assignments), condition
    )
    return warehouse.connection.execute(query).rowcount


def is_row(number: int) -> sql.Composable:
    """Return the condition for one row."""
    return sql.SQL("id = {}").format(sql.Literal(number))


def merged(details: Mapping[str, object]) -> sql.Composable:
    """Return SQL that adds details to the metadata of a row of ours."""
    given = sql.Literal(json.dumps(details, default=str))
    return sql.SQL("(coalesce(metadata::jsonb, '{{}}') || {}::jsonb)").format(given)


def column_types(warehouse: Warehouse, table: str) -> dict[str, str]:
    """Read the types of a table's columns, as PostgreSQL spells them."""
    rows = warehouse.connection.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_catalog.pg_attribute a "
        "join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped",
        (warehouse.schema, table),
    ).fetchall()
    return {str(name): str(kind) for name, kind in rows}


def _cast(value: object, kind: str) -> sql.Composable:
    """Return a value in a column's type. A text that is too long for a `varchar(n)` is cut by the cast."""
    if isinstance(value, Mapping):
        value = json.dumps(value, default=str)
    given = value if isinstance(value, sql.Composable) else sql.Literal(value)
    if kind.endswith("without time zone") and (value is NOW or isinstance(value, datetime)):
        # Rails keeps UTC in columns without a zone.
        given = sql.SQL("({} at time zone 'UTC')").format(given)
    return sql.SQL("{}::{}").format(given, sql.SQL(kind))
