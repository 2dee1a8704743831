"""A session-level lock that shows whether the process that works on a batch is alive.

PostgreSQL releases it when the connection of its holder ends, so that others see at once that the process is gone.
Heartbeats cover what it cannot: a host that vanished without closing its connections, and transaction poolers.
"""

from __future__ import annotations

from datetime import datetime

import psycopg

from canvas_sync_dagster.warehouse.connection import Connection, dedicated_session, explained
from canvas_sync_dagster.warehouse.warehouse import Warehouse, lock_name


class ProcessLock:
    """The lock of one batch, held by this process.

    Args:
        url: URL of the database; holds a password.
        schema: The tenant's schema.
        key: Key of the batch.
    """

    def __init__(self, url: str, schema: str, key: str) -> None:
        self._url = url
        self._name = _name(schema, key)
        self._connection: Connection | None = None
        self._since: datetime | None = None
        self._possible = True

    def hold(self) -> datetime | None:
        """Take the lock, or take it again if its connection was lost.

        Returns:
            Since when it is held, on the server's clock; None behind a transaction pooler, where no session lasts.

        Raises:
            CanvasSyncError: The database is away.
        """
        if self._possible and not self._is_connected():
            self._since = self._take()
        return self._since

    def close(self) -> None:
        """Release the lock with its connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._since = None

    def _is_connected(self) -> bool:
        try:
            return self._connection is not None and bool(self._connection.execute("select 1"))
        except psycopg.Error:
            self.close()
            return False

    def _take(self) -> datetime | None:
        self._connection = dedicated_session(self._url)
        if self._connection is None:
            self._possible = False
            return None
        query = "select pg_try_advisory_lock(hashtextextended(%s, 0)), clock_timestamp()"
        with explained(self._url, "locking a batch"):
            row = self._connection.execute(query, (self._name,)).fetchone()
        return row[1] if row and row[0] else None


def is_released(warehouse: Warehouse, key: str, since: datetime) -> bool:
    """Return whether the process that held the lock of a batch is gone.

    False as well if the server was started after the lock was taken: then the process may be alive, and lock it again
    with its next heartbeat. The lock is looked up and not tried, because two that try would see each other.

    Args:
        warehouse: The tenant's.
        key: Key of the batch.
        since: Since when the lock was held, as the holder wrote it down.
    """
    row = warehouse.connection.execute("select pg_postmaster_start_time() <= %s", (since,)).fetchone()
    return bool(row and row[0]) and not is_held(warehouse, key)


def is_held(warehouse: Warehouse, key: str) -> bool:
    """Return whether a process holds the lock of a batch now.

    Args:
        warehouse: The tenant's.
        key: Key of the batch.
    """
    query = (
        "select exists (select from pg_locks, hashtextextended(%s, 0) as hash "
        "where locktype = 'advisory' and granted and objsubid = 1 "
        "and database = (select oid from pg_database where datname = current_database()) "
        "and classid::bigint = (hash >> 32) & 4294967295 and objid::bigint = hash & 4294967295)"
    )
    row = warehouse.connection.execute(query, (_name(warehouse.schema, key),)).fetchone()
    return bool(row and row[0])


def was_lost_with_server(warehouse: Warehouse, key: str, since: datetime) -> bool:
    """Return whether the lock of a batch was lost with the server, which was started since, and is not held again."""
    row = warehouse.connection.execute("select pg_postmaster_start_time() > %s", (since,)).fetchone()
    return bool(row and row[0]) and not is_held(warehouse, key)


def _name(schema: str, key: str) -> str:
    return lock_name(schema, "process", key)
