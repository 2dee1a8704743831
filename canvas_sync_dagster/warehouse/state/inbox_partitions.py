"""Partitions of the inbox: one per day, made ahead, and a default one that takes what has none.

Making a partition requires ownership of the inbox, receiving an event does not: whatever role the receiver has, and
however long the nightly job has not run, an event finds a partition. Those of the default partition are deleted when
they are old; a day with its own partition is dropped as a whole, which is faster and leaves no dead rows.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import psycopg
from psycopg import sql

from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.schema.ddl import INBOX as TABLE
from canvas_sync_dagster.warehouse.schema.ddl import INBOX_DEFAULT as DEFAULT

PATIENCE = "2s"
"""How long attaching or dropping a partition waits for readers of the inbox, such as a backup. Queries of the drain
wait behind it; the next drain or nightly job tries again."""
DAYS_AHEAD = 7
"""Days whose partitions are made ahead. The nightly job may fail for so long before the default partition is used."""

DAYS_BEHIND = 2
"""Days before the present one that have a partition: each event looks for its copies in the last 26 hours, and where one
of these days had none, it would look in the default partition, and wait for any lock on that."""


def ensure_partitions(connection: Connection, schema: str, today: date | None = None) -> None:
    """Make the default partition and one per day until `DAYS_AHEAD`, if the role may; the caller commits.

    Each is created by itself and attached afterwards: created as a partition it would lock the inbox until all readers
    are done, and every event would wait behind it. A day whose events are in the default partition already stays there.

    Args:
        connection: In a transaction.
        schema: The tenant's.
        today: Day to start from; the present one in UTC if not given.

    Raises:
        SchemaError: The present day has no partition, and the role may not create one.
    """
    today = today or datetime.now(UTC).date()
    days = {_name(day): day for day in (today + timedelta(days=n) for n in range(-DAYS_BEHIND, DAYS_AHEAD + 1))}
    wanted = {DEFAULT, *days}
    present = set(_partitions(connection, schema))
    if wanted <= present:
        return
    if not _may_create(connection, schema):
        if not present & {DEFAULT, _name(today)}:
            raise SchemaError(
                f"the inbox {schema}.{TABLE} has no partition for today, and the role may not create one. "
                "Run `canvas-sync migrate` as the owner of the schema."
            )
        return
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"canvas_sync inbox {schema}",))
    present = set(_partitions(connection, schema))
    if DEFAULT not in present and not _attach(connection, schema, DEFAULT, sql.SQL("default")):
        return
    taken = _days_in_default(connection, schema)
    for name, day in days.items():
        bounds = (sql.Literal(day.isoformat()), sql.Literal((day + timedelta(days=1)).isoformat()))
        made = (
            name in present
            or day in taken
            or _attach(connection, schema, name, sql.SQL("for values from ({}) to ({})").format(*bounds))
        )
        if not made:
            return


def lacks_inbox(error: psycopg.Error) -> bool:
    """Return whether an insert failed because the inbox is not there, or has no partition for the day."""
    return isinstance(error, psycopg.errors.UndefinedTable) or (
        isinstance(error, psycopg.errors.CheckViolation) and "no partition" in str(error)
    )


def age_out(connection: Connection, schema: str, keep: timedelta, keep_dead: timedelta | None = None) -> int:
    """Drop the days that are older than `keep`; where an event of such a day still waits, delete the others.

    Dead events are first moved to the present day, so that they keep no other event of their day; those that were
    received longer ago than `keep_dead` are deleted. A role that does not own the inbox deletes in place of dropping.

    Args:
        connection: Whose transaction the caller commits.
        schema: The tenant's.
        keep: How long settled events are kept.
        keep_dead: How long dead events are kept, from when they were received; for ever if None.

    Returns:
        Number of days that were dropped.
    """
    before = (datetime.now(UTC) - keep).date()
    _move_dead(connection, schema, before, keep_dead)
    old = [name for name in _partitions(connection, schema) if name != DEFAULT and name < _name(before)]
    dropped = 0
    if _may_create(connection, schema):
        dropped = sum(_is_settled(connection, schema, name) and _drop(connection, schema, name) for name in old)
    query = sql.SQL("delete from {} where received_on < %s and state not in ('pending', 'failed')")
    connection.execute(query.format(sql.Identifier(schema, TABLE)), (before,))
    return dropped


def _move_dead(connection: Connection, schema: str, day: date, keep_dead: timedelta | None) -> None:
    table = sql.Identifier(schema, TABLE)
    if keep_dead is not None:
        old = sql.SQL("delete from {} where state = 'dead' and received_at < now() - %s::interval").format(table)
        connection.execute(old, (keep_dead,))
    query = sql.SQL("select from {} where state = 'dead' and received_on < %s limit 1").format(table)
    if connection.execute(query, (day,)).fetchone() is None:
        return
    ensure_partitions(connection, schema)
    today = sql.SQL("(now() at time zone 'UTC')::date")
    # An event that came again today is there already; the older copy goes with its day.
    connection.execute(
        sql.SQL(
            "delete from {table} t where state = 'dead' and received_on < %s and exists "
            "(select from {table} o where o.content_hash = t.content_hash and o.received_on = {today})"
        ).format(table=table, today=today),
        (day,),
    )
    moved = sql.SQL("update {} set received_on = {} where state = 'dead' and received_on < %s").format(table, today)
    connection.execute(moved, (day,))


def _name(day: date) -> str:
    return f"{TABLE}_{day:%Y%m%d}"


def _partitions(connection: Connection, schema: str) -> list[str]:
    rows = connection.execute(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent "
        "join pg_namespace n on n.oid = p.relnamespace where n.nspname = %s and p.relname = %s order by 1",
        (schema, TABLE),
    ).fetchall()
    return [str(name) for (name,) in rows]


def _may_create(connection: Connection, schema: str) -> bool:
    row = connection.execute(
        "select pg_has_role(c.relowner, 'usage') and has_schema_privilege(n.oid, 'create') from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s",
        (schema, TABLE),
    ).fetchone()
    return bool(row and row[0])


def _days_in_default(connection: Connection, schema: str) -> set[date]:
    query = sql.SQL("select distinct received_on from {} where received_on >= (now() at time zone 'utc')::date - 7")
    return {day for (day,) in connection.execute(query.format(sql.Identifier(schema, DEFAULT))).fetchall()}


def _attach(connection: Connection, schema: str, name: str, bounds: sql.SQL | sql.Composed) -> bool:
    parent, table = sql.Identifier(schema, TABLE), sql.Identifier(schema, name)
    return _patiently(
        connection,
        sql.SQL("create table {} (like {} including defaults)").format(table, parent),
        sql.SQL("alter table {} attach partition {} {}").format(parent, table, bounds),
    )


def _is_settled(connection: Connection, schema: str, name: str) -> bool:
    waiting = sql.SQL("select 1 from {} where state in ('pending', 'failed') limit 1")
    return connection.execute(waiting.format(sql.Identifier(schema, name))).fetchone() is None


def _drop(connection: Connection, schema: str, name: str) -> bool:
    return _patiently(connection, sql.SQL("drop table {}").format(sql.Identifier(schema, name)))


def _patiently(connection: Connection, *statements: sql.Composed) -> bool:
    """Execute all statements or none: none if readers hold the inbox, or an event of the day has just arrived."""
    try:
        with connection.transaction():
            connection.execute("select set_config('lock_timeout', %s, true)", (PATIENCE,))
            for statement in statements:
                connection.execute(statement)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.CheckViolation):
        return False
    return True
