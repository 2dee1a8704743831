"""The receiver of live events: an ASGI application that answers 200 only when an event is committed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from canvas_sync_dagster.errors import DeliveryDeferredError, EventError, ProvenanceError
from canvas_sync_dagster.live_events.asgi import (
    LARGEST_BODY,
    Receive,
    Response,
    Scope,
    Send,
    organization,
    path_of,
    problem_response,
    read_body,
)
from canvas_sync_dagster.live_events.budget import STATE, Budget
from canvas_sync_dagster.live_events.event import Event, read_event
from canvas_sync_dagster.live_events.health import HealthProbes, health_document
from canvas_sync_dagster.live_events.metrics import CONTENT_TYPE, Metrics
from canvas_sync_dagster.live_events.provenance import Provenance
from canvas_sync_dagster.live_events.tenant_inbox import Inbox, TenantInbox, belongs
from canvas_sync_dagster.redaction import trace

LOG = logging.getLogger(__name__)
PATH = "/canvas_sync/api/v1/live_event"
DEADLINE = 12.0
"""Seconds until any request is answered; Canvas gives up after 15 s and counts that as a failure."""
LONGEST_LOG = 4_000
"""Characters of a traceback in the log; a sender must not be able to fill it."""
REFRESH_SECONDS = 1.0
"""How often a process updates the gauges that another process may report."""
EVENT_METHODS = {PATH: ("POST",)}
PROBE_METHODS = {"/health": ("GET", "HEAD"), "/metrics": ("GET", "HEAD")}

Methods = Mapping[str, tuple[str, ...]]
Belongs = Callable[[Event, Inbox], bool]


class Receiver:
    """The ASGI application.

    It may be mounted in another application. Where that does not pass lifespan events on, call `close` at the end.

    Args:
        inboxes: Tenant → its inbox; `?org=` chooses one where there are several.
        provenance: Verifies signed and encrypted events.
        accepts: Returns whether an event belongs to an inbox.
        broken: Tenants that were left out because a setting is wrong; their events are answered by 503.
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
        self._tenants = {tenant: TenantInbox(inbox) for tenant, inbox in inboxes.items()}
        self._provenance, self._accepts = provenance, accepts
        self._without_signature = replace(provenance, unsigned=True)
        self._broken = frozenset(broken)
        self._health_port = health_port
        self._probes = HealthProbes(inboxes)
        self._metrics = Metrics(self.budget, provenance.keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope.get("state", {})[STATE] = self.budget
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            response = await self._respond(scope, receive)
            await response.send(send)

    async def close(self) -> None:
        """Commit the events that wait, let drains end, and accept no more events."""
        await asyncio.gather(*(each.close() for each in self._tenants.values()))
        self._metrics.refresh(self._uncommitted())
        self._probes.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        async with self._refreshing():
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    @contextlib.asynccontextmanager
    async def _refreshing(self) -> AsyncIterator[None]:
        """Keep the gauges of this process up to date, where another process may report them."""
        task = asyncio.create_task(self._refresh()) if self._metrics.is_shared else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()

    async def _refresh(self) -> None:
        while True:
            self._metrics.refresh(self._uncommitted())
            await asyncio.sleep(REFRESH_SECONDS)

    def _uncommitted(self) -> dict[str, int]:
        return {tenant: each.waiting for tenant, each in self._tenants.items()}

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        path, methods = path_of(scope), self._methods(scope)
        if path not in methods:
            return Response(404)
        if scope["method"] not in methods[path]:
            return Response(405, headers=((b"allow", ", ".join(methods[path]).encode()),))
        if path == PATH:
            return await self._receive(scope, receive)
        inboxes = await self._probes.look()
        if path == "/metrics":
            self._metrics.refresh(self._uncommitted())
            return Response(200, self._metrics.text(inboxes), CONTENT_TYPE)
        fine, document = health_document(self._provenance.keys, inboxes)
        return Response(200 if fine else 503, document, b"application/json")

    def _methods(self, scope: Scope) -> Methods:
        """Return path → methods at the port that a request came to."""
        if self._health_port is None:
            return EVENT_METHODS | PROBE_METHODS
        server = scope.get("server")
        return PROBE_METHODS if server and server[1] == self._health_port else EVENT_METHODS

    async def _receive(self, scope: Scope, receive: Receive) -> Response:
        """Receive one event, within `DEADLINE`."""
        org = organization(scope)
        status, problem = 408, "the body did not arrive in time"
        try:
            async with asyncio.timeout(DEADLINE):
                headers = dict(scope["headers"])
                body = await read_body(receive, headers)
                status, problem = 503, "the database does not answer in time"
                content_type = headers.get(b"content-type", b"").decode("latin-1")
                status, problem = await self._store(org, body, content_type)
        except TimeoutError:
            pass
        except Exception as error:
            # Not LOG.exception: the logger's own stack trace would quote values, and a sender could fill the log.
            LOG.error("an event could not be received: %s", trace(error)[-LONGEST_LOG:])  # noqa: TRY400
            status, problem = 503, "the receiver failed; see its log"
        tenant = self._tenant(org)
        self._metrics.count_answer(tenant.inbox.tenant if tenant else "", status)
        return Response(status) if status < 300 else problem_response(status, problem)

    def _tenant(self, org: str) -> TenantInbox | None:
        only = next(iter(self._tenants.values())) if not org and len(self._tenants) == 1 else None
        return self._tenants.get(org) or only

    async def _store(self, org: str, body: bytes | None, content_type: str) -> tuple[int, str]:
        """Verify and store an event; until its signature is verified, no response depends on which tenants exist.

        Returns:
            HTTP status, and the problem if the event was not stored.
        """
        if body is None:
            return 413, f"an event has at most {LARGEST_BODY} bytes"
        tenant = self._tenant(org)
        is_unsigned = tenant is not None and tenant.inbox.unsigned
        provenance = self._without_signature if is_unsigned else self._provenance
        try:
            event = read_event(await provenance.open(body, content_type), datetime.now(UTC))
            if org in self._broken:
                return 503, "a setting of this tenant is wrong; run `canvas-sync doctor`"
            if tenant is None:
                return 401, "no tenant of this name is configured"
            if self._accepts is belongs and tenant.inbox.root_account_uuid is None:
                await tenant.learn_root_account()
            if not self._accepts(event, tenant.inbox):
                return 401, "the event comes from another Canvas"
            await tenant.store(event)
        except ProvenanceError as error:
            return 401, str(error)
        except EventError as error:
            return 422, str(error)
        except DeliveryDeferredError as error:
            return 503, str(error)
        return 200, ""
