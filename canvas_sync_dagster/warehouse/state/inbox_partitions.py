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
from canvas_sync_dagster.warehouse.schema.ddl import DEFERRED_READS
from canvas_sync_dagster.warehouse.schema.ddl import INBOX as TABLE
from canvas_sync_dagster.warehouse.schema.ddl import INBOX_DEFAULT as DEFAULT
from canvas_sync_dagster.warehouse.warehouse import Warehouse

PATIENCE = "2s"
"""How long attaching or dropping a partition waits for readers of the inbox, such as a backup. Queries of the drain
wait behind it; the next drain or nightly job tries again."""
DAYS_AHEAD = 7
"""Days whose partitions are made ahead. The nightly job may fail for so long before the default partition is used."""

FILLED = 60
"""Percent of a page that new events fill. An event that is settled then stays on its page, and only the bytes that differ
are written to the WAL: 272 bytes in place of 1,296 for events of 830 bytes, for 2.2 kB of disk per event, which it takes
without it as well until the partition is vacuumed. 75 percent left too little room: 1,255 bytes."""
DAYS_BEHIND = 2
"""Days before the present one that have a partition: each event looks for its copies in the last 26 hours, and where one
of these days had none, it would look in the default partition, and wait for any lock on that."""


def ensure_partitions(warehouse: Warehouse, today: date | None = None) -> None:
    """Make the default partition and one per day until `DAYS_AHEAD`, if the role may; the caller commits.

    Each is created by itself and attached afterwards: created as a partition it would lock the inbox until all readers
    are done, and every event would wait behind it. A day whose events are in the default partition already stays there.

    Args:
        warehouse: The tenant's, in a transaction.
        today: Day to start from; the present one in UTC if not given.

    Raises:
        SchemaError: The present day has no partition, and the role may not create one.
    """
    today = today or datetime.now(UTC).date()
    days = {_name(day): day for day in (today + timedelta(days=n) for n in range(-DAYS_BEHIND, DAYS_AHEAD + 1))}
    wanted = {DEFAULT, *days}
    present = set(_partitions(warehouse))
    if wanted <= present:
        return
    if not _may_create(warehouse):
        if not present & {DEFAULT, _name(today)}:
            raise SchemaError(
                f"the inbox {warehouse.schema}.{TABLE} has no partition for today, and the role may not create one. "
                "Run `canvas-sync migrate` as the owner of the schema."
            )
        return
    warehouse.lock("inbox")
    present = set(_partitions(warehouse))
    if DEFAULT not in present and not _attach(warehouse, DEFAULT, sql.SQL("default")):
        return
    taken = _days_in_default(warehouse)
    for name, day in days.items():
        bounds = (sql.Literal(day.isoformat()), sql.Literal((day + timedelta(days=1)).isoformat()))
        made = (
            name in present
            or day in taken
            or _attach(warehouse, name, sql.SQL("for values from ({}) to ({})").format(*bounds))
        )
        if not made:
            return


def lacks_inbox(error: psycopg.Error) -> bool:
    """Return whether an insert failed because the inbox is not there, or has no partition for the day."""
    return isinstance(error, psycopg.errors.UndefinedTable) or (
        isinstance(error, psycopg.errors.CheckViolation) and "no partition" in str(error)
    )


def age_out(warehouse: Warehouse, keep: timedelta, keep_dead: timedelta | None = None) -> int:
    """Drop the days that are older than `keep`; where an event of such a day still waits, delete the others.

    Dead events are first moved to the present day, so that they keep no other event of their day; those that were
    received longer ago than `keep_dead` are deleted. A role that does not own the inbox deletes in place of dropping.

    Args:
        warehouse: The tenant's, in a transaction that the caller commits.
        keep: How long settled events are kept.
        keep_dead: How long dead events are kept, from when they were received; for ever if None.

    Returns:
        Number of days that were dropped.
    """
    before = (datetime.now(UTC) - keep).date()
    _move_dead(warehouse, before, keep_dead)
    old = [name for name in _partitions(warehouse) if name != DEFAULT and name < _name(before)]
    dropped = 0
    if _may_create(warehouse):
        dropped = sum(_is_settled(warehouse, name) and _drop(warehouse, name) for name in old)
    query = sql.SQL("delete from {} where received_on < %s and state not in ('pending', 'failed')")
    warehouse.connection.execute(query.format(warehouse.identifier(TABLE)), (before,))
    return dropped


def _move_dead(warehouse: Warehouse, day: date, keep_dead: timedelta | None) -> None:
    table = warehouse.identifier(TABLE)
    if keep_dead is not None:
        old = sql.SQL(
            "delete from {} where state = 'dead' and not deferred and received_at < now() - %s::interval"
        ).format(table)
        warehouse.connection.execute(old, (keep_dead,))
    query = sql.SQL("select from {} where state = 'dead' and not deferred and received_on < %s limit 1").format(table)
    if warehouse.connection.execute(query, (day,)).fetchone() is None:
        return
    ensure_partitions(warehouse)
    today = sql.SQL("(now() at time zone 'UTC')::date")
    # An event that came again today is there already; the older copy goes with its day.
    warehouse.connection.execute(
        sql.SQL(
            "delete from {table} t where state = 'dead' and not deferred and received_on < %s and exists "
            "(select from {table} o where o.content_hash = t.content_hash and o.received_on = {today})"
        ).format(table=table, today=today),
        (day,),
    )
    moved = sql.SQL("update {} set received_on = {} where state = 'dead' and not deferred and received_on < %s").format(
        table, today
    )
    warehouse.connection.execute(moved, (day,))


def _name(day: date) -> str:
    return f"{TABLE}_{day:%Y%m%d}"


def _partitions(warehouse: Warehouse) -> list[str]:
    rows = warehouse.connection.execute(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent "
        "join pg_namespace n on n.oid = p.relnamespace where n.nspname = %s and p.relname = %s order by 1",
        (warehouse.schema, TABLE),
    ).fetchall()
    return [str(name) for (name,) in rows]


def _may_create(warehouse: Warehouse) -> bool:
    row = warehouse.connection.execute(
        "select pg_has_role(c.relowner, 'usage') and has_schema_privilege(n.oid, 'create') from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s",
        (warehouse.schema, TABLE),
    ).fetchone()
    return bool(row and row[0])


def _days_in_default(warehouse: Warehouse) -> set[date]:
    query = sql.SQL("select distinct received_on from {} where received_on >= (now() at time zone 'utc')::date - 7")
    return {day for (day,) in warehouse.connection.execute(query.format(warehouse.identifier(DEFAULT))).fetchall()}


def _attach(warehouse: Warehouse, name: str, bounds: sql.SQL | sql.Composed) -> bool:
    parent, table = warehouse.identifier(TABLE), warehouse.identifier(name)
    return _patiently(
        warehouse,
        sql.SQL("create table {} (like {} including defaults) with (fillfactor = {})").format(
            table, parent, sql.Literal(FILLED)
        ),
        sql.SQL("alter table {} attach partition {} {}").format(parent, table, bounds),
    )


def _is_settled(warehouse: Warehouse, name: str) -> bool:
    waiting = sql.SQL(
        "(select 1 from {day} where state in ('pending', 'failed') and not deferred limit 1) union all "
        "(select 1 from {reads} r join {day} e on e.id = r.event_id where e.deferred limit 1)"
    ).format(day=warehouse.identifier(name), reads=warehouse.identifier(DEFERRED_READS))
    return warehouse.connection.execute(waiting).fetchone() is None


def _drop(warehouse: Warehouse, name: str) -> bool:
    return _patiently(warehouse, sql.SQL("drop table {}").format(warehouse.identifier(name)))


def _patiently(warehouse: Warehouse, *statements: sql.Composed) -> bool:
    """Execute all statements or none: none if readers hold the inbox, or an event of the day has just arrived."""
    try:
        with warehouse.connection.transaction():
            warehouse.connection.execute("select set_config('lock_timeout', %s, true)", (PATIENCE,))
            for statement in statements:
                warehouse.connection.execute(statement)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.CheckViolation):
        return False
    return True
