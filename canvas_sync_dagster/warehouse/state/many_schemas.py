"""Look at the state tables of many schemas of one database in one query, so that an idle schema costs next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.schema.ddl import INBOX
from canvas_sync_dagster.warehouse.state.job_logs import JOB_LOGS
from canvas_sync_dagster.warehouse.state.sync_batches import TABLE as BATCHES

AT_ONCE = 50
"""Tables per statement: each takes a lock for itself and each of its indexes."""

INBOX_POSITIONS = """
select n.nspname, case when has_sequence_privilege(s.oid, 'USAGE, SELECT') then coalesce(pg_sequence_last_value(s.oid), 0)
end
from pg_class t join pg_namespace n on n.oid = t.relnamespace
left join pg_depend d on d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
  and d.refobjid = t.oid and d.refobjsubid > 0 and d.deptype in ('a', 'i')
  and exists (select from pg_class where oid = d.objid and relkind = 'S')
left join pg_class s on s.oid = d.objid
where t.relname = %s and n.nspname = any(%s)
"""

STATE_TABLES = """
select n.nspname, t.relname, has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(t.oid, 'SELECT')
from pg_class t join pg_namespace n on n.oid = t.relnamespace
where t.relname = any(%s) and t.relkind in ('r', 'p') and n.nspname = any(%s)
"""

OPEN_STATUS = {BATCHES: "processing", JOB_LOGS: "running"}


def inbox_positions(connection: Connection, schemas: Sequence[str]) -> dict[str, int | None]:
    """Return the number of the newest event in each inbox.

    It is read from the sequence of the ids: an inbox has about 25 partitions, and a new connection needs milliseconds
    to plan a query on them. The number grows before the event is committed.

    Args:
        connection: Connection to the database, in a transaction.
        schemas: Schemas of the tenants.

    Returns:
        Schema → number; 0 before the first event, None if the role may not read it. Schemas without an inbox are
        missing.
    """
    rows = connection.execute(INBOX_POSITIONS, (INBOX, list(schemas))).fetchall()
    return {str(schema): number for schema, number in rows}


def schemas_at_work(connection: Connection, schemas: Sequence[str]) -> set[str]:
    """Return the schemas with an open batch or a running job in the journal, and those whose tables cannot be read.

    Args:
        connection: Connection to the database, in a transaction.
        schemas: Schemas of the tenants.
    """
    rows = connection.execute(STATE_TABLES, (list(OPEN_STATUS), list(schemas))).fetchall()
    found = {str(schema) for schema, _, readable in rows if not readable}
    readable = [(str(schema), str(table)) for schema, table, _ in rows if schema not in found]
    for part in _parts(readable):
        query = sql.SQL(" union all ").join(_is_open(schema, table) for schema, table in part)
        found |= {str(schema) for (schema,) in connection.execute(query).fetchall()}
    return found


def _is_open(schema: str, table: str) -> sql.Composed:
    return sql.SQL("select {} where exists (select from {} where status = {})").format(
        sql.Literal(schema), sql.Identifier(schema, table), sql.Literal(OPEN_STATUS[table])
    )


def _parts(tables: Sequence[tuple[str, str]]) -> list[Sequence[tuple[str, str]]]:
    return [tables[start : start + AT_ONCE] for start in range(0, len(tables), AT_ONCE)]
