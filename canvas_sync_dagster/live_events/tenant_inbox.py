"""One tenant's inbox while a receiver runs: whose events it accepts, its committer, and the drain after each commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from canvas_sync_dagster.errors import CanvasSyncError, DeliveryDeferredError
from canvas_sync_dagster.live_events.committer import Committer
from canvas_sync_dagster.live_events.event import Event, protected_event
from canvas_sync_dagster.redaction import message, summary
from canvas_sync_dagster.warehouse.reading.payloads import PayloadProtection

LOG = logging.getLogger(__name__)
LEARN_PAUSE = 10.0
"""Seconds between two requests for the UUID of a root account that Canvas does not answer."""


@dataclass(slots=True)
class Inbox:
    """Where the events of one tenant are stored.

    Attributes:
        tenant: Slug of the tenant.
        url: Address of the database.
        schema: Schema of the tenant in the database.
        prepare: Creates the inbox in that database; blocking.
        root_account_uuid: Root account whose events are accepted. While it is None, events are answered by 503.
        learn: Looks the UUID up in the database or asks Canvas; blocking.
        unsigned: Whether events without a signature are accepted.
        drain: Applies waiting events for some seconds and returns whether more are due; blocking.
        protection: Values of events that the tenant does not keep.
    """

    tenant: str
    url: str = field(repr=False)
    schema: str
    prepare: Callable[[], None]
    root_account_uuid: str | None = None
    learn: Callable[[], str | None] | None = None
    unsigned: bool = False
    drain: Callable[[], bool] | None = None
    protection: PayloadProtection = field(default_factory=PayloadProtection)


def belongs(event: Event, inbox: Inbox) -> bool:
    """Return whether an event comes from the tenant's Canvas: its root account has the UUID of the inbox."""
    return inbox.root_account_uuid is not None and event.metadata.get("root_account_uuid") == inbox.root_account_uuid


class TenantInbox:
    """Stores the events of one tenant, and drains them if the receiver is to do so.

    Args:
        inbox: Where the events are stored.
    """

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self._committer: Committer | None = None
        self._drain: asyncio.Task[None] | None = None
        self._drain_again = False
        self._closing = False
        self._learning = asyncio.Lock()
        self._learn_at = 0.0

    @property
    def waiting(self) -> int:
        """Return the number of events that wait for their commit."""
        return 0 if self._committer is None else self._committer.waiting

    async def store(self, event: Event) -> None:
        """Wait until an event is committed.

        Raises:
            DeliveryDeferredError: The event is not committed; the sender should retry.
            EventError: The database cannot store the event.
        """
        if self._committer is None:
            after = self._wake_drain if self.inbox.drain is not None else None
            self._committer = Committer(self.inbox.url, self.inbox.schema, self.inbox.prepare, after)
            self._committer.start()
        await self._committer.store(protected_event(event, self.inbox.protection))

    async def learn_root_account(self) -> None:
        """Find out whose events the tenant accepts; requests that arrive meanwhile wait for the answer.

        Raises:
            DeliveryDeferredError: The root account is not known yet; the sender should retry.
        """
        async with self._learning:
            if self.inbox.root_account_uuid is not None or self.inbox.learn is None:
                return
            if time.monotonic() >= self._learn_at:
                self._learn_at = time.monotonic() + LEARN_PAUSE
                try:
                    self.inbox.root_account_uuid = await asyncio.to_thread(self.inbox.learn)
                except CanvasSyncError as error:
                    LOG.warning("%s: the UUID of the root account is unknown: %s", self.inbox.tenant, message(error))
            if self.inbox.root_account_uuid is None:
                raise DeliveryDeferredError("the root account of this tenant is not known yet")

    async def close(self) -> None:
        """Commit the events that wait, and let the drain end."""
        self._closing = True
        if self._committer is not None:
            await self._committer.close()
        if self._drain is not None:
            await self._drain

    def _wake_drain(self) -> None:
        """Start the drain, or have the one that works look again."""
        if self._drain is not None and not self._drain.done():
            self._drain_again = True
            return
        self._drain = asyncio.create_task(self._drain_all())

    async def _drain_all(self) -> None:
        drain, more = self.inbox.drain, True
        while drain is not None and more and not self._closing:
            self._drain_again = False
            try:
                more = await asyncio.to_thread(drain)
            except Exception as error:
                LOG.warning("%s: draining failed, the sensor will continue: %s", self.inbox.tenant, summary(error))
                more = False
            more = more or self._drain_again
