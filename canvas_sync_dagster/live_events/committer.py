"""Group commit: the events of many requests are stored by one insert, and each request is answered after its commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import psycopg

from canvas_sync_dagster.errors import DeliveryDeferredError, EventError
from canvas_sync_dagster.live_events.event import Event
from canvas_sync_dagster.live_events.inbox_writer import InboxWriter
from canvas_sync_dagster.redaction import summary

LOG = logging.getLogger(__name__)
MOST_WAITING = 2_000
"""Events that may wait for their commit; further ones are answered by 503. At 1.5 KB each that is 3 MB."""
MOST_AT_ONCE = 500
"""Events per commit; 500 take 40 to 60 ms."""
COMMIT_SECONDS = 8.0
"""How long a commit may take. Canvas gives up after 15 s, and the next commits wait."""


class Committer:
    """Commits events to one tenant's inbox, one group at a time.

    Args:
        url: Of the database.
        schema: Schema of the tenant.
        prepare: Creates the inbox or its partitions; blocking. Called when a commit finds that they are missing.
        committed: Called after each commit.
    """

    def __init__(
        self, url: str, schema: str, prepare: Callable[[], None], committed: Callable[[], None] | None = None
    ) -> None:
        self._schema, self._committed = schema, committed
        self._writer = InboxWriter(url, schema, prepare)
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Start committing, in the running event loop."""
        self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Commit the events that wait, and stop; further events are refused."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self._writer.disconnect()

    @property
    def waiting(self) -> int:
        """Return the number of events that wait for their commit."""
        return len(self._waiting)

    async def store(self, event: Event) -> None:
        """Wait until an event is committed.

        Raises:
            DeliveryDeferredError: The event is not committed; the sender should retry.
            EventError: The database cannot store the event.
        """
        if len(self._waiting) >= MOST_WAITING or self._closing:
            raise DeliveryDeferredError("too many events wait for their commit")
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
            await asyncio.wait_for(self._writer.insert([event for event, _ in batch]), COMMIT_SECONDS)
        except psycopg.DataError:
            if len(batch) == 1:
                _refuse(batch, EventError("the database cannot store the content of the event"))
            else:
                # One event that cannot be stored must not keep the others of its group out for ever.
                for each in batch:
                    await self._commit([each])
            return
        except Exception as error:
            # Whatever the error was, this task must go on: later requests wait for it.
            LOG.warning(
                "schema %s: events are not committed and were answered by 503: %s", self._schema, summary(error)
            )
            await self._writer.disconnect()
            _refuse(batch, DeliveryDeferredError("the database cannot store events now"))
            return
        for _, future in batch:
            if not future.done():
                future.set_result(None)
        if self._committed is not None:
            self._committed()


def _refuse(batch: list[tuple[Event, asyncio.Future[None]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
