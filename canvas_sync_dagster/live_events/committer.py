"""Group commit: the events of many requests become one insert and one commit, and each request is answered after it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from canvas_sync_dagster.errors import ComeAgainError, EventError
from canvas_sync_dagster.live_events.event import Event
from canvas_sync_dagster.live_events.inbox import insert_statement, insert_values
from canvas_sync_dagster.live_events.partitions import lacks_inbox
from canvas_sync_dagster.postgres_url import ENCODING
from canvas_sync_dagster.redaction import summary
from canvas_sync_dagster.warehouse.connection import settings

LOG = logging.getLogger(__name__)
MOST_WAITING = 2_000
"""Events that may wait for their commit; beyond it senders are told to come again. At 1.5 KB each that is 3 MB."""
MOST_AT_ONCE = 500
ISOLATION = "set transaction isolation level read committed"
SETTINGS = {
    "synchronous_commit": "on",
    "statement_timeout": "8s",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""What is acknowledged must survive the death of the server, whatever its own default is. And each event looks for its
copies by the index: a partition that has just begun seems empty to the planner, which then reads all of it for every
commit; with 100,000 events in it that is the difference between 2,300 and 4,400 events per second. Set in each
transaction, because a pooler shares sessions between clients."""
STATEMENT_TIMEOUT = 8.0
"""Seconds. Canvas gives up after fifteen; a commit that takes longer must not hang the next ones."""


class Committer:
    """Commits events to one tenant's inbox.

    Args:
        url: Of the database.
        schema: The tenant's.
        prepare: Makes the inbox ready; blocking. Called when a commit finds that it is not.
        committed: Called after each commit.
    """

    def __init__(
        self, url: str, schema: str, prepare: Callable[[], None], committed: Callable[[], None] | None = None
    ) -> None:
        self._url, self._schema, self._prepare, self._committed = url, schema, prepare, committed
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._connection: psycopg.AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._statement = insert_statement(schema)
        self._closing = False

    def start(self) -> None:
        """Begins to commit; within a running loop."""
        self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Commits what waits, and ends."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        if self._connection is not None:
            await self._connection.close()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def store(self, event: Event) -> None:
        """Returns when the event is committed.

        Raises:
            ComeAgainError: It is not.
            EventError: It never will be.
        """
        if len(self._waiting) >= MOST_WAITING or self._closing:
            raise ComeAgainError("too many events wait for their commit")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        self._wake.set()
        await future

    async def _work(self) -> None:
        while not self._closing or self._waiting:
            await self._wake.wait()
            if not self._waiting:
                self._wake.clear()
                continue
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            await self._commit(batch)

    async def _commit(self, batch: list[tuple[Event, asyncio.Future[None]]]) -> None:
        try:
            await asyncio.wait_for(self._insert([event for event, _ in batch]), STATEMENT_TIMEOUT)
        except psycopg.DataError:
            if len(batch) == 1:
                _refuse(batch, EventError("the database cannot hold what it says"))
            else:
                # One event that cannot be stored must not keep its neighbours out for ever.
                for each in batch:
                    await self._commit([each])
            return
        except Exception as error:
            # Whatever it was, whoever comes next must find somebody at work.
            LOG.warning("events of %s are not committed: %s", self._schema, summary(error))
            await self._forget()
            _refuse(batch, ComeAgainError("the database does not take events now"))
            return
        for _, future in batch:
            if not future.done():
                future.set_result(None)
        if self._committed is not None:
            self._committed()

    async def _insert(self, events: list[Event]) -> None:
        """Insert events; a connection that had been open before is replaced once when it turns out to be lost.

        Servers, poolers and firewalls close idle connections, which shows only at the next statement. Inserting twice
        is safe: copies of what is stored are dropped.
        """
        was_open = self._connection is not None
        try:
            await self._insert_once(events)
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction):
            # A server that became read-only is no longer the primary, which a new connection may reach.
            if not was_open:
                raise
            await self._forget()
            await self._insert_once(events)

    async def _insert_once(self, events: list[Event]) -> None:
        connection = await self._connected()
        try:
            await self._execute(connection, events)
        except psycopg.Error as error:
            if not lacks_inbox(error):
                raise
            await asyncio.to_thread(self._prepare)
            await self._execute(connection, events)

    async def _execute(self, connection: psycopg.AsyncConnection, events: list[Event]) -> None:
        """Set and insert in one message, which is one transaction; begin, set, insert and commit took four round trips."""
        text = f"{ISOLATION}; {settings(connection.info.server_version, **SETTINGS)}; "
        statement = sql.Composed([sql.SQL(text), self._statement])
        await psycopg.AsyncClientCursor(connection).execute(statement, insert_values(events, datetime.now(UTC)))

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                connect_timeout=5,
                application_name="canvas_sync live events",
                client_encoding=ENCODING,
                prepare_threshold=None,
            )
        return self._connection

    async def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


def _refuse(batch: list[tuple[Event, asyncio.Future[None]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
