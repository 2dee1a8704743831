"""What the database role may do, of what loads need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from canvas_sync_dagster.warehouse.connection import Connection

DML = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""Rights on each table: rows are compared, added, changed, and the sync's own records age out."""


def may_create_temporary(connection: Connection) -> bool:
    """Return whether the role may create temporary tables, in which loads collect rows."""
    return _one(connection, "select has_database_privilege(current_database(), 'TEMPORARY')")


def may_use(connection: Connection, schema: str) -> bool:
    """Return whether the role may use a schema that exists."""
    return _one(connection, "select has_schema_privilege(%s, 'USAGE')", schema)


def lacking_rights(connection: Connection, schema: str, tables: Iterable[str]) -> Mapping[tuple[str, ...], list[str]]:
    """Find the tables on which the role lacks a right; tables that do not exist are passed over.

    Returns:
        Missing rights → names of the tables that lack just them.
    """
    rows = connection.execute(
        "select r.lacking, array_agg(r.name order by r.name) from (select c.relname::text as name, "
        "(select array_agg(p) from unnest(%s::text[]) p where not has_table_privilege(c.oid, p)) as lacking "
        "from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = any(%s)) r "
        "where r.lacking is not null group by r.lacking order by 2",
        (list(DML), schema, list(tables)),
    ).fetchall()
    return {tuple(lacking): list(names) for lacking, names in rows}


def _one(connection: Connection, query: str, *values: str) -> bool:
    row = connection.execute(query.encode(), values).fetchone()
    return bool(row and row[0])
