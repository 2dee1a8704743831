"""Whether a receiver can store events: what `/health` reports of the keys and of each tenant's inbox."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.live_events.tenant_inbox import Inbox
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.state.audits import Audits, StoredAudit
from canvas_sync_dagster.warehouse.state.inbox import depth
from canvas_sync_dagster.warehouse.warehouse import Warehouse

HEALTH_SECONDS = 5.0
"""How long a probe waits for a database; orchestrators give up after about ten."""
HEALTH_AGE = 1.0
"""Seconds for which one look into the databases answers all probes; each look opens a connection per tenant."""
THREADS = 4
"""Looks into databases at the same time. They have threads of their own: databases that hang must not take the threads
that draining needs."""


@dataclass(frozen=True, slots=True)
class InboxHealth:
    """State of one tenant's inbox.

    Attributes:
        database: `ok`, or `failing` with the reason.
        waiting: Number of events that are not applied yet.
        dead: Number of events that failed as often as they may.
        oldest_seconds: Age of the oldest waiting event.
        audits: Model → its latest audit, for `/metrics`.
    """

    database: str = "ok"
    waiting: int = 0
    dead: int = 0
    oldest_seconds: float = 0.0
    audits: Mapping[str, StoredAudit] = field(default_factory=dict)


UNANSWERED = InboxHealth("failing: it does not answer in time")


class HealthProbes:
    """Looks into the inboxes of all tenants; probes at about the same time share one look.

    Args:
        inboxes: Tenant → its inbox.
    """

    def __init__(self, inboxes: Mapping[str, Inbox]) -> None:
        self._inboxes = dict(inboxes)
        self._threads = ThreadPoolExecutor(THREADS, "canvas_sync probe")
        self._look: asyncio.Task[dict[str, InboxHealth]] | None = None
        self._until = 0.0

    async def look(self) -> dict[str, InboxHealth]:
        """Return tenant → health of its inbox, at most `HEALTH_AGE` old."""
        if self._look is None or time.monotonic() >= self._until:
            self._until = time.monotonic() + HEALTH_AGE
            self._look = asyncio.create_task(self._look_anew())
        return await asyncio.shield(self._look)

    def close(self) -> None:
        """Start no further look."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_anew(self) -> dict[str, InboxHealth]:
        found = await asyncio.gather(*map(self._probe, self._inboxes.values()))
        return dict(zip(self._inboxes, found, strict=True))

    async def _probe(self, inbox: Inbox) -> InboxHealth:
        looking = asyncio.get_running_loop().run_in_executor(self._threads, inbox_health, inbox.url, inbox.schema)
        try:
            return await asyncio.wait_for(looking, HEALTH_SECONDS)
        except TimeoutError:
            return UNANSWERED


def inbox_health(url: str, schema: str) -> InboxHealth:
    """Return the state of an inbox; blocking."""
    try:
        with transaction(url, "looking into the inbox") as connection:
            warehouse = Warehouse(connection, schema)
            found, audits = depth(warehouse), Audits(warehouse).latest()
    except CanvasSyncError as error:
        return InboxHealth(f"failing: {type(error).__name__}")
    age = (datetime.now(UTC) - found.oldest).total_seconds() if found.oldest else 0.0
    return InboxHealth("ok", found.waiting, found.counts.get("dead", 0), round(max(0.0, age), 1), audits)


def health_document(keys: KeySet, inboxes: Mapping[str, InboxHealth]) -> tuple[bool, bytes]:
    """Return whether all inboxes can be reached, and the JSON document for a probe."""
    fine = all(each.database == "ok" for each in inboxes.values())
    document = {
        "status": "ok" if fine else "failing",
        "keys": {"known": keys.size, "age_seconds": keys.age, "server": "away" if keys.away else "ok"},
        **{tenant: _shown(each) for tenant, each in inboxes.items()},
    }
    return fine, json.dumps(document).encode()


def _shown(inbox: InboxHealth) -> dict[str, object]:
    """Return what a probe is told about an inbox; audits are no matter of health."""
    return {name: value for name, value in asdict(inbox).items() if name != "audits"}
