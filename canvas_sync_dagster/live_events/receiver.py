"""The receiver: a thin ASGI application that answers 2xx only when an event is committed.

Plain ASGI, no framework: measured, one route of a framework costs as much as verifying the signature.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from canvas_sync_dagster.errors import CanvasSyncError, ComeAgainError, EventError, ProvenanceError
from canvas_sync_dagster.live_events.committer import Committer
from canvas_sync_dagster.live_events.event import Event, read_event
from canvas_sync_dagster.live_events.inbox import depth
from canvas_sync_dagster.live_events.provenance import Provenance
from canvas_sync_dagster.warehouse.connection import connect

LOG = logging.getLogger(__name__)
PATH = "/canvas_sync/api/v1/live_event"
LARGEST_BODY = 1 << 20
"""Bytes. Canvas cuts texts at 8 KB, so that its largest events have some dozens of KB."""
DEADLINE = 12.0
"""Seconds until any request is answered; Canvas gives up after fifteen and counts it as a failure."""

LEARN_PAUSE = 10.0
"""Seconds between two questions for a root account's uuid that Canvas does not answer."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Belongs = Callable[[Event, "Inbox"], bool]


def belongs(event: Event, inbox: Inbox) -> bool:
    """Says whether an event is of the tenant's Canvas: by the uuid of its root account."""
    return inbox.root_account_uuid is not None and event.metadata.get("root_account_uuid") == inbox.root_account_uuid


@dataclass(slots=True)
class Inbox:
    """Where the events of one tenant go.

    Attributes:
        tenant: Its slug.
        url: Of its database.
        schema: In it.
        prepare: Makes the inbox ready in that database; blocking.
        root_account_uuid: Whose events are accepted; None until Canvas has told it, and until then they are sent back.
        learn: Asks Canvas for that uuid; blocking.
        unsigned: Whether events that nobody signed are believed.
        drain: Applies what waits; blocking.
    """

    tenant: str
    url: str = field(repr=False)
    schema: str
    prepare: Callable[[], None]
    root_account_uuid: str | None = None
    learn: Callable[[], str | None] | None = None
    unsigned: bool = False
    drain: Callable[[], object] | None = None


class Receiver:
    """The ASGI application.

    Args:
        inboxes: One per tenant; `?org=` chooses where there are several.
        provenance: Of signed and encrypted events.
        accepts: Whether an event belongs to an inbox.
    """

    def __init__(self, inboxes: Mapping[str, Inbox], provenance: Provenance, accepts: Belongs = belongs) -> None:
        self._inboxes, self._provenance, self._accepts = dict(inboxes), provenance, accepts
        self._committers: dict[str, Committer] = {}
        self._drains: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: set[str] = set()
        self._learning = asyncio.Lock()
        self._learn_at: dict[str, float] = {}
        self.answers: Counter[tuple[str, int]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            status, body, kind = await self._answer(scope, receive)
            headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
            if status == 503:
                headers.append((b"retry-after", b"5"))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                for committer in self._committers.values():
                    await committer.close()
                await asyncio.gather(*self._tasks)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        path, method = scope["path"], scope["method"]
        if path == PATH and method == "POST":
            return await self._event(scope, receive)
        if path == "/health" and method == "GET":
            return await self._health()
        if path == "/metrics" and method == "GET":
            return 200, self._metrics(), b"text/plain; version=0.0.4"
        known = {PATH: b"POST", "/health": b"GET", "/metrics": b"GET"}
        return (405 if path in known else 404), b"", b"text/plain"

    async def _event(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        org = parse_qs(scope["query_string"].decode("latin-1")).get("org", [""])[0]
        inbox = self._inboxes.get(org) or (
            next(iter(self._inboxes.values())) if not org and len(self._inboxes) == 1 else None
        )
        name = inbox.tenant if inbox else ""
        try:
            async with asyncio.timeout(DEADLINE):
                status, problem = await self._store(inbox, scope, receive)
        except TimeoutError:
            status, problem = 503, "the database does not answer in time"
        self.answers[name, status] += 1
        if status < 300:
            return status, b"", b"text/plain"
        return status, json.dumps({"error": problem}).encode(), b"application/json"

    async def _store(self, inbox: Inbox | None, scope: Scope, receive: Receive) -> tuple[int, str]:
        headers = dict(scope["headers"])
        body = await _read(receive, headers)
        if body is None:
            return 413, f"an event has at most {LARGEST_BODY} bytes"
        if inbox is None:
            return 401, "there is no such tenant"
        provenance = self._provenance if not inbox.unsigned else _unsigned(self._provenance)
        try:
            claims = await provenance.open(body, headers.get(b"content-type", b"").decode("latin-1"))
            event = read_event(claims, datetime.now(UTC))
            if self._accepts is belongs and inbox.root_account_uuid is None:
                await self._learn(inbox)
            if not self._accepts(event, inbox):
                return 401, "the event is of another Canvas"
            await self._committer(inbox).store(event)
        except ProvenanceError as error:
            return 401, str(error)
        except EventError as error:
            return 422, str(error)
        except ComeAgainError as error:
            return 503, str(error)
        return 200, ""

    async def _learn(self, inbox: Inbox) -> None:
        """Asks Canvas whose events are the tenant's; everybody who comes meanwhile waits for the answer."""
        async with self._learning:
            if inbox.root_account_uuid is not None or inbox.learn is None:
                return
            if time.monotonic() >= self._learn_at.get(inbox.tenant, 0.0):
                self._learn_at[inbox.tenant] = time.monotonic() + LEARN_PAUSE
                try:
                    inbox.root_account_uuid = await asyncio.to_thread(inbox.learn)
                except CanvasSyncError as error:
                    LOG.warning("%s: the uuid of the root account is not known: %s", inbox.tenant, error)
            if inbox.root_account_uuid is None:
                raise ComeAgainError("Canvas does not tell whose events are this tenant's; set root_account_uuid")

    def _committer(self, inbox: Inbox) -> Committer:
        if inbox.tenant not in self._committers:
            after = (lambda: self._wake_drain(inbox)) if inbox.drain is not None else None
            self._committers[inbox.tenant] = Committer(inbox.url, inbox.schema, inbox.prepare, after)
            self._committers[inbox.tenant].start()
        return self._committers[inbox.tenant]

    def _wake_drain(self, inbox: Inbox) -> None:
        """Drains beside the receiving, one drain per tenant at a time."""
        if inbox.tenant in self._drains:
            self._again.add(inbox.tenant)
            return
        self._drains.add(inbox.tenant)
        task = asyncio.create_task(self._drain(inbox))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, inbox: Inbox) -> None:
        try:
            while True:
                self._again.discard(inbox.tenant)
                try:
                    await asyncio.to_thread(inbox.drain or (lambda: None))
                except CanvasSyncError as error:
                    LOG.warning("%s: draining failed, the sensor will go on: %s", inbox.tenant, error)
                if inbox.tenant not in self._again:
                    return
        finally:
            self._drains.discard(inbox.tenant)

    async def _health(self) -> tuple[int, bytes, bytes]:
        told: dict[str, Any] = {"keys": {"known": self._provenance.keys.size, "age_seconds": self._provenance.keys.age}}
        fine = True
        for inbox in self._inboxes.values():
            found = await asyncio.to_thread(_inbox_health, inbox)
            told[inbox.tenant] = found
            fine = fine and found["database"] == "ok"
        return (
            (200 if fine else 503),
            json.dumps({"status": "ok" if fine else "failing", **told}).encode(),
            b"application/json",
        )

    def _metrics(self) -> bytes:
        lines = ["# TYPE canvas_sync_live_events_total counter"]
        lines += [
            f'canvas_sync_live_events_total{{tenant="{tenant}",status="{status}"}} {count}'
            for (tenant, status), count in sorted(self.answers.items())
        ]
        lines.append("# TYPE canvas_sync_live_events_uncommitted gauge")
        lines += [
            f'canvas_sync_live_events_uncommitted{{tenant="{tenant}"}} {committer.waiting}'
            for tenant, committer in self._committers.items()
        ]
        lines += [
            "# TYPE canvas_sync_live_events_keys gauge",
            f"canvas_sync_live_events_keys {self._provenance.keys.size}",
        ]
        return ("\n".join(lines) + "\n").encode()


async def _read(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes | None:
    """Reads a body, or gives up on one that is too large."""
    told = headers.get(b"content-length", b"0")
    if told.isdigit() and int(told) > LARGEST_BODY:
        return None
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            return None
        if not message.get("more_body", False):
            return body


def _unsigned(provenance: Provenance) -> Provenance:
    return Provenance(provenance.keys, provenance.secrets, unsigned=True, issuers=provenance.issuers)


def _inbox_health(inbox: Inbox) -> dict[str, Any]:
    try:
        with connect(inbox.url) as connection:
            found = depth(connection, inbox.schema)
    except Exception as error:
        return {"database": f"failing: {type(error).__name__}"}
    age = (datetime.now(UTC) - found.oldest).total_seconds() if found.oldest else 0.0
    return {
        "database": "ok",
        "waiting": found.waiting,
        "dead": found.counts.get("dead", 0),
        "oldest_seconds": round(age, 1),
    }
