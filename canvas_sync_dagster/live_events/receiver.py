"""The receiver: a thin ASGI application that answers 2xx only when an event is committed.

Plain ASGI, no framework: measured, one route of a framework costs as much as verifying the signature.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from canvas_sync_dagster.errors import CanvasSyncError, ComeAgainError, EventError, ProvenanceError
from canvas_sync_dagster.live_events.budget import STATE, Budget
from canvas_sync_dagster.live_events.committer import Committer
from canvas_sync_dagster.live_events.event import Event, read_event
from canvas_sync_dagster.live_events.health import (
    UNANSWERED,
    InboxHealth,
    health_document,
    inbox_health,
    metrics_text,
)
from canvas_sync_dagster.live_events.provenance import Provenance
from canvas_sync_dagster.redaction import message, summary, trace

LOG = logging.getLogger(__name__)
PATH = "/canvas_sync/api/v1/live_event"
LARGEST_BODY = 1 << 20
"""Bytes. Canvas cuts texts at 8 KB, so that its largest events have some dozens of KB."""
DEADLINE = 12.0
"""Seconds until any request is answered; Canvas gives up after fifteen and counts it as a failure."""

LEARN_PAUSE = 10.0
"""Seconds between two questions for a root account's uuid that Canvas does not answer."""
LONGEST_LOG = 4_000
"""Characters of a traceback in the log."""
HEALTH_SECONDS = 5.0
"""How long a probe waits for a database; orchestrators give up after about ten."""
HEALTH_AGE = 1.0
"""Seconds for which one look into the databases answers all probes; each look opens a connection per tenant."""
EVENT_METHODS = {PATH: ("POST",)}
PROBE_METHODS = {"/health": ("GET", "HEAD"), "/metrics": ("GET", "HEAD")}

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
        drain: Applies what waits, for some seconds, and says whether more waits; blocking.
    """

    tenant: str
    url: str = field(repr=False)
    schema: str
    prepare: Callable[[], None]
    root_account_uuid: str | None = None
    learn: Callable[[], str | None] | None = None
    unsigned: bool = False
    drain: Callable[[], bool] | None = None


class Receiver:
    """The ASGI application.

    It may be mounted in another one; whoever mounts it where lifespan events do not reach it calls `close` at the end.

    Args:
        inboxes: One per tenant; `?org=` chooses where there are several.
        provenance: Of signed and encrypted events.
        accepts: Whether an event belongs to an inbox.
        broken: Tenants that were left out for a wrong setting; their events are answered by 503.
        budget: Limits of the connections, for a server that uses `LimitedProtocol`.
        health_port: Port at which `/health` and `/metrics` are answered, and events are not; None for the same port.
    """

    def __init__(
        self,
        inboxes: Mapping[str, Inbox],
        provenance: Provenance,
        accepts: Belongs = belongs,
        *,
        broken: Collection[str] = (),
        budget: Budget | None = None,
        health_port: int | None = None,
    ) -> None:
        self.budget = Budget() if budget is None else budget
        self._health_port = health_port
        self._health_found: asyncio.Task[dict[str, InboxHealth]] | None = None
        self._health_until = 0.0
        self._inboxes, self._provenance, self._accepts = dict(inboxes), provenance, accepts
        self._broken = frozenset(broken)
        self._believing = replace(provenance, unsigned=True)
        self._committers: dict[str, Committer] = {}
        self._drains: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._closing = False
        self._learning = {tenant: asyncio.Lock() for tenant in self._inboxes}
        self._learn_at: dict[str, float] = {}
        # Probes of databases that hang must not take the threads that draining needs.
        self._probes = ThreadPoolExecutor(4, "canvas_sync probe")
        self.answers: Counter[tuple[str, int]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope.get("state", {})[STATE] = self.budget
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            methods = self._methods(scope)
            status, body, kind = await self._answer(scope, receive, methods)
            headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
            if status == 503:
                headers.append((b"retry-after", b"5"))
            if status == 405:
                headers.append((b"allow", ", ".join(methods[_path(scope)]).encode()))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def close(self) -> None:
        """Commits what waits for its commit, lets drains end, and takes no more events."""
        self._closing = True
        for committer in self._committers.values():
            await committer.close()
        await asyncio.gather(*self._drains.values())
        self._probes.shutdown(wait=False, cancel_futures=True)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _methods(self, scope: Scope) -> Mapping[str, tuple[str, ...]]:
        """Return path → methods at the port that a request came to."""
        if self._health_port is None:
            return EVENT_METHODS | PROBE_METHODS
        server = scope.get("server")
        return PROBE_METHODS if server and server[1] == self._health_port else EVENT_METHODS

    async def _answer(
        self, scope: Scope, receive: Receive, methods: Mapping[str, tuple[str, ...]]
    ) -> tuple[int, bytes, bytes]:
        path = _path(scope)
        if scope["method"] not in methods.get(path, ()):
            return (405 if path in methods else 404), b"", b"text/plain"
        if path == PATH:
            return await self._event(scope, receive)
        found = await self._health()
        if path == "/metrics":
            waiting = {tenant: committer.waiting for tenant, committer in self._committers.items()}
            text = metrics_text(self.answers, waiting, self._provenance.keys, found, self.budget)
            return 200, text, b"text/plain; version=0.0.4; charset=utf-8"
        fine, body = health_document(self._provenance.keys, found)
        return (200 if fine else 503), body, b"application/json"

    async def _event(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        org = _org(scope)
        inbox = self._inbox(org)
        status, problem = 408, "the body did not arrive in time"
        try:
            async with asyncio.timeout(DEADLINE):
                headers = dict(scope["headers"])
                body = await _read(receive, headers)
                status, problem = 503, "the database does not answer in time"
                kind = headers.get(b"content-type", b"").decode("latin-1")
                status, problem = await self._store(org, body, kind)
        except TimeoutError:
            pass
        except Exception as error:
            # Not LOG.exception: the logger's own stack trace would quote values, and a sender could fill the log.
            LOG.error("an event could not be received: %s", trace(error)[-LONGEST_LOG:])  # noqa: TRY400
            status, problem = 503, "the receiver failed; see its log"
        self.answers[inbox.tenant if inbox else "", status] += 1
        if status < 300:
            return status, b"", b"text/plain"
        return status, json.dumps({"error": problem}).encode(), b"application/json"

    def _inbox(self, org: str) -> Inbox | None:
        only = next(iter(self._inboxes.values())) if not org and len(self._inboxes) == 1 else None
        return self._inboxes.get(org) or only

    async def _store(self, org: str, body: bytes | None, content_type: str) -> tuple[int, str]:
        """Verify and store an event; until its signature is verified, no answer depends on which tenants exist."""
        if body is None:
            return 413, f"an event has at most {LARGEST_BODY} bytes"
        inbox = self._inbox(org)
        provenance = self._believing if inbox is not None and inbox.unsigned else self._provenance
        try:
            event = read_event(await provenance.open(body, content_type), datetime.now(UTC))
            if org in self._broken:
                return 503, "a setting of this tenant is wrong; run `canvas-sync doctor`"
            if inbox is None:
                return 401, "there is no such tenant"
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
        async with self._learning[inbox.tenant]:
            if inbox.root_account_uuid is not None or inbox.learn is None:
                return
            if time.monotonic() >= self._learn_at.get(inbox.tenant, 0.0):
                self._learn_at[inbox.tenant] = time.monotonic() + LEARN_PAUSE
                try:
                    inbox.root_account_uuid = await asyncio.to_thread(inbox.learn)
                except CanvasSyncError as error:
                    LOG.warning("%s: the uuid of the root account is not known: %s", inbox.tenant, message(error))
            if inbox.root_account_uuid is None:
                raise ComeAgainError("the root account of this tenant is not known yet")

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
        task = asyncio.create_task(self._drain(inbox))
        self._drains[inbox.tenant] = task
        task.add_done_callback(lambda _: self._drains.pop(inbox.tenant, None))

    async def _drain(self, inbox: Inbox) -> None:
        more = True
        while more and not self._closing:
            self._again.discard(inbox.tenant)
            try:
                more = await asyncio.to_thread(inbox.drain or (lambda: False))
            except Exception as error:
                LOG.warning("%s: draining failed, the sensor will go on: %s", inbox.tenant, summary(error))
                more = False
            more = more or inbox.tenant in self._again

    async def _health(self) -> dict[str, InboxHealth]:
        """Look into all inboxes; probes that come together, or shortly after each other, share one look."""
        if self._health_found is None or time.monotonic() >= self._health_until:
            self._health_until = time.monotonic() + HEALTH_AGE
            self._health_found = asyncio.create_task(self._look())
        return await asyncio.shield(self._health_found)

    async def _look(self) -> dict[str, InboxHealth]:
        return dict(zip(self._inboxes, await asyncio.gather(*map(self._probed, self._inboxes.values())), strict=True))

    async def _probed(self, inbox: Inbox) -> InboxHealth:
        looking = asyncio.get_running_loop().run_in_executor(self._probes, inbox_health, inbox.url, inbox.schema)
        try:
            return await asyncio.wait_for(looking, HEALTH_SECONDS)
        except TimeoutError:
            return UNANSWERED


def _org(scope: Scope) -> str:
    try:
        fields = parse_qs(bytes(scope["query_string"]).decode("latin-1"), max_num_fields=10)
    except ValueError:
        return ""
    return fields.get("org", [""])[0]


def _path(scope: Scope) -> str:
    """Returns the path below where the receiver is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


async def _read(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes | None:
    """Reads a body, or gives up on one that is too large."""
    told = headers.get(b"content-length", b"0")
    if told.isdigit() and int(told) > LARGEST_BODY:
        return None
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            return None
        # Of a sender who goes away in the middle there is only half a body, which no signature fits.
        if not message.get("more_body", False):
            return bytes(body)
