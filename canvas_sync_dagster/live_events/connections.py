"""uvicorn's protocol of HTTP/1.1 with the limits of a `Budget`; passed to uvicorn by `http=`.

uvicorn limits neither the headers (its httptools protocol) nor the time for them. Everything else is uvicorn's: this
class counts bytes, follows the phases of a connection, and closes what exceeds a limit.
"""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any
from weakref import WeakSet

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from canvas_sync_dagster.live_events.budget import STATE, Budget, Phase

SLICE = 16 << 10
"""Bytes that are parsed at once, so that a limit is noticed after so many at most; an event fits."""
SWEEP_SECONDS = 0.25
"""Seconds between two looks for connections whose time is over."""
_SWEPT: WeakSet[Budget] = WeakSet()


class LimitedProtocol(HttpToolsProtocol):
    """A connection with limits. The budget is found in the application's lifespan state, or made there."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        self._budget: Budget = app_state.setdefault(STATE, Budget())
        self._phase = Phase.HEAD
        self._unanswered = 0
        self._head_complete = False
        self._complete = True
        self._fresh = True
        self._head_bytes = 0
        self._message_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._budget not in _SWEPT:
            sweep(self._budget, self.loop)
        self._budget.open(self, self.client[0] if self.client else "", self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        self._budget.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if len(data) <= SLICE:
            self._feed(data)
            return
        for start in range(0, len(data), SLICE):
            self._feed(data[start : start + SLICE])

    def _feed(self, data: bytes) -> None:
        if self._phase is Phase.CLOSING or self.parser is None:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Neither WebSockets nor HTTP/2 are served: the request is answered like any other, and is the last one.
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self.refuse(HTTPStatus.BAD_REQUEST, "request")
            return
        self._count(len(data))
        self._follow()

    def _count(self, size: int) -> None:
        limits = self._budget.limits
        self._head_bytes = 0 if self._head_complete else self._head_bytes + size
        self._message_bytes += size
        if self._head_bytes > limits.head:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head")
        elif self._message_bytes > limits.message:
            self._budget.drop(self, "message")
        elif not self._complete or self._unanswered:
            self._budget.hold(self, size)

    def _follow(self, *, anew: bool = False) -> None:
        """Enter the phase that the connection is in now; each phase has one deadline, however much is received in it."""
        if self._phase is Phase.CLOSING:
            return
        phase = Phase.CLOSING if self.transport.is_closing() else self._present()
        if phase is not self._phase or anew:
            self._phase = phase
            self._budget.enter(self, phase, self.loop.time())

    def _present(self) -> Phase:
        if self._complete:
            return Phase.ANSWER if self._unanswered else (Phase.HEAD if self._fresh else Phase.IDLE)
        if not self._head_complete:
            return Phase.ANSWER if self._unanswered else Phase.HEAD
        return Phase.BODY if self._unanswered else Phase.DISCARD

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self._budget.limits.pipelined:
            raise ValueError("too many pipelined requests")
        self._fresh = self._complete = self._head_complete = False
        self._message_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= self._budget.limits.headers:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_complete = True
        self._unanswered += 1

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._complete = True

    def on_response_complete(self) -> None:
        self._unanswered -= 1
        if self._complete and not self._unanswered:
            self._budget.release(self)
        super().on_response_complete()
        self._follow(anew=True)

    def refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer a request that is not complete, if no other answer is under way, and close."""
        if self._phase is Phase.CLOSING:
            return
        if self._unanswered or self.transport.is_closing():
            self._budget.drop(self, reason)
            return
        self._budget.closed[reason] += 1
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()
        )
        self.transport.close()
        self._follow()

    def expire(self, phase: Phase) -> None:
        """Close a connection whose phase has lasted too long."""
        if phase is Phase.IDLE or (phase is Phase.HEAD and not self._head_bytes):
            self._budget.closed[phase] += 1
            self.transport.close()
            self._follow()
        elif phase is Phase.HEAD:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, phase)
        else:
            self._budget.drop(self, phase)

    def drop(self, reason: str) -> None:
        """Close at once; called by the budget, which has counted the reason."""
        self._phase = Phase.CLOSING
        self.transport.abort()

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: a sender must not be able to fill the log."""


def sweep(budget: Budget, loop: asyncio.AbstractEventLoop, *, first: bool = True) -> None:
    """Close the connections whose time is over, again and again as long as there are any."""
    for connection, phase in budget.overdue(loop.time()):
        connection.expire(phase)
    if first or len(budget):
        _SWEPT.add(budget)
        loop.call_later(SWEEP_SECONDS, partial(sweep, budget, loop, first=False))
    else:
        _SWEPT.discard(budget)
