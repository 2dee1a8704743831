"""Digests of rows whose table cannot have the column `row_hash`, because it belongs to another role.

They are in a table beside it, by key. Each is recorded with the version of its row (`xmin`, the transaction that wrote
it), and counts for this version only. Whoever changes the row, this sync or the application that owns the table, makes a
new version, so that the next report's record is compared by its content. A digest whose row was deleted counts for
nothing, and is removed by housekeeping.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from canvas_sync_dagster.warehouse.schema.existing import read_tables
from canvas_sync_dagster.warehouse.schema.names import digest_table_name
from canvas_sync_dagster.warehouse.warehouse import Table


def find_digests_beside(table: Table) -> sql.Identifier | None:
    """Return the table with the digests of a model's table; None if there is none, or for another key."""
    name = digest_table_name(table.model.table)
    found = read_tables(table.connection, table.warehouse.schema, [name]).get(name)
    return table.warehouse.identifier(name) if found and found.columns.keys() >= set(table.model.key) else None


def record_digests(table: Table, digests: sql.Identifier, stage: sql.Composable, is_equal: sql.Composable) -> None:
    """Record the digests of a stage for the rows that have the content of their record.

    Rows that differ have a newer observation, or a trigger changed them; they are compared again by the next load.

    Args:
        table: Of the rows.
        digests: The table beside it.
        stage: Table of records with key and `row_hash`.
        is_equal: SQL condition that row `o` of the table has the content of record `s`.
    """
    key = _names(table.model.key)
    table.connection.execute(
        sql.SQL(
            "insert into {digests} as d ({key}, row_hash, row_version) select {staged}, s.row_hash, o.xmin "
            "from {stage} s join {table} o using ({key}) where {is_equal} order by {staged} "
            "on conflict ({key}) do update set row_hash = excluded.row_hash, row_version = excluded.row_version"
        ).format(
            digests=digests,
            key=key,
            staged=_names(table.model.key, "s"),
            stage=stage,
            table=table.name,
            is_equal=is_equal,
        )
    )


def remove_digests_without_row(table: Table) -> int:
    """Delete the digests whose row no longer exists; return how many there were."""
    digests = find_digests_beside(table)
    if digests is None:
        return 0
    same_key = sql.SQL(" and ").join(sql.SQL("t.{0} = d.{0}").format(sql.Identifier(name)) for name in table.model.key)
    query = sql.SQL("delete from {} d where not exists (select from {} t where {})").format(
        digests, table.name, same_key
    )
    return table.connection.execute(query).rowcount


def _names(columns: Iterable[str], alias: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns)
