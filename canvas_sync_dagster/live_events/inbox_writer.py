"""The connection by which a receiver writes events to an inbox: one round trip per group of events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from canvas_sync_dagster.live_events.event import Event
from canvas_sync_dagster.postgres_url import ENCODING
from canvas_sync_dagster.warehouse.connection import session_settings, settings
from canvas_sync_dagster.warehouse.state.inbox import insert_statement, insert_values
from canvas_sync_dagster.warehouse.state.inbox_partitions import lacks_inbox

CONNECT_SECONDS = 5
"""How long connecting may take; a commit may take 8 s in all."""
SETTINGS = {
    "synchronous_commit": "on",
    "statement_timeout": "8s",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""An acknowledged event must survive a crash of the server, whatever the server's own default is. Each event looks for
its copies by the index: a partition that has just begun seems empty to the planner, which then reads all of it for every
commit. With 100,000 events in the partition that is the difference between 2,300 and 4,400 events per second."""
SESSION_SETTINGS = SETTINGS | {
    "default_transaction_isolation": "read committed",
    "plan_cache_mode": "force_custom_plan",
}
"""Of a session of our own. A generic plan does not exclude partitions: 290 ms instead of 40 ms for 500 events."""
ISOLATION = "set transaction isolation level read committed"


class InboxWriter:
    """Writes events to one tenant's inbox, over a connection that is opened when it is needed.

    Where no pooler is in between, the session has its settings once, and the insert is prepared: 30 to 40 % less time
    for groups of 16 to 500 events than sending settings and text with each group, which a pooler requires.

    Args:
        url: Of the database.
        schema: Schema of the tenant.
        prepare: Creates the inbox or its partitions; blocking. Called when an insert finds that they are missing.
    """

    def __init__(self, url: str, schema: str, prepare: Callable[[], None]) -> None:
        self._url, self._prepare = url, prepare
        self._statement = insert_statement(schema)
        self._prepared = insert_statement(schema, binary=True)
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._is_pooled = True

    async def insert(self, events: list[Event]) -> None:
        """Insert and commit events; copies of stored events are skipped.

        A connection that was open before is replaced once when it turns out to be lost: servers, poolers and firewalls
        close idle connections, which shows only at the next statement. Inserting twice is safe.

        Args:
            events: At least one.

        Raises:
            psycopg.Error: The events are not committed.
            CanvasSyncError: The inbox is missing and cannot be created.
        """
        was_open = self._connection is not None
        try:
            await self._insert_once(events)
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction):
            # A server that became read-only is no longer the primary, which a new connection may reach.
            if not was_open:
                raise
            await self.disconnect()
            await self._insert_once(events)

    async def disconnect(self) -> None:
        """Close the connection; the next insert opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    async def _insert_once(self, events: list[Event]) -> None:
        connection = await self._connected()
        try:
            await self._execute(connection, events)
        except psycopg.Error as error:
            if not lacks_inbox(error):
                raise
            await asyncio.to_thread(self._prepare)
            await self._execute(connection, events)

    async def _execute(self, connection: psycopg.AsyncConnection[Any], events: list[Event]) -> None:
        values = insert_values(events, datetime.now(UTC))
        if not self._is_pooled:
            await connection.execute(self._prepared, values, prepare=True)
            return
        # Settings and insert in one message are one transaction; begin, set, insert and commit took four round trips.
        text = f"{ISOLATION}; {settings(connection.info.server_version, **SETTINGS)}; "
        await psycopg.AsyncClientCursor(connection).execute(sql.Composed([sql.SQL(text), self._statement]), values)

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            connection = await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name="canvas_sync live events",
                client_encoding=ENCODING,
                prepare_threshold=None,
            )
            try:
                await self._set_up(connection)
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
        return self._connection

    async def _set_up(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Find out whether a pooler is in between, and set up a session of our own otherwise."""
        row = await (await connection.execute("select pg_backend_pid()")).fetchone()
        # A pooler reports an invented process id.
        self._is_pooled = row is None or row[0] != connection.info.backend_pid
        if not self._is_pooled:
            # Several statements cannot be prepared; psycopg prepares only where a threshold is set.
            await connection.execute(session_settings(connection.info.server_version, **SESSION_SETTINGS).encode())
            connection.prepare_threshold = 0
