"""What the connections of one receiver process may take: time per phase, memory, number. Decisions only, no I/O.

The receiver is open to the internet, and verifies a signature only when a request is complete. Until then a sender costs
memory and a connection. Every phase of a connection therefore has a deadline that no received byte extends; unfinished
requests share one memory budget; and a new connection replaces the one that has delivered nothing for the longest time,
so that an attacker who holds connections open cannot keep genuine senders out.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile
from typing import Protocol

STATE = "canvas_sync_budget"
"""Name of the budget in the lifespan state of an ASGI application, where the protocol finds it."""


class Phase(StrEnum):
    """What a connection is doing.

    Attributes:
        HEAD: Nothing was received yet, or a request line and headers that are not complete.
        BODY: The headers are complete, the body is not.
        ANSWER: A complete request is not answered, or the sender does not read the answer.
        DISCARD: The request was answered before its body was complete; the rest is read and dropped.
        IDLE: All requests are answered; the connection is kept for the next one.
        CLOSING: The receiver has closed it, and the sender has not read the last answer.
    """

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    DISCARD = "discard"
    IDLE = "idle"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one process.

    Attributes:
        connections: Open connections. With 16 KB of headers each they take about 35 MB.
        share: Connections of one public address that have not delivered a request yet.
        memory: Bytes of all requests that are not answered yet. In ordinary operation 2 KB per event; copies multiply a
            request by about four while it is verified.
        head: Bytes of a request line with its headers. Canvas's and a proxy's have less than 2 KB.
        headers: Headers of a request; proxies add about ten.
        message: Bytes of a request on the wire; chunked encoding may double a body of 1 MB.
        pipelined: Requests that may wait for the answer to an earlier one on their connection. No sender of live events
            and no proxy pipelines.
        head_seconds: For request line and headers, from the connection or the first byte on. A sender that has
            connected needs one round trip.
        body_seconds: For the body; 1 MB in this time is 0.8 Mbit/s.
        answer_seconds: For the answer until it is read. The receiver answers within 12 s.
        discard_seconds: For reading the rest of a request that was refused early, so that the sender gets the answer.
        idle_seconds: For the next request on a connection.
    """

    connections: int = 1_000
    share: int = 500
    memory: int = 32 << 20
    head: int = 16 << 10
    headers: int = 100
    message: int = (2 << 20) + (64 << 10)
    pipelined: int = 4
    head_seconds: float = 5.0
    body_seconds: float = 10.0
    answer_seconds: float = 20.0
    discard_seconds: float = 2.0
    idle_seconds: float = 5.0

    def seconds(self, phase: Phase) -> float:
        """Return how long a connection may stay in a phase."""
        return {
            Phase.HEAD: self.head_seconds,
            Phase.BODY: self.body_seconds,
            Phase.ANSWER: self.answer_seconds,
            Phase.DISCARD: self.discard_seconds,
            Phase.IDLE: self.idle_seconds,
            Phase.CLOSING: self.discard_seconds,
        }[phase]


class Connection(Protocol):
    """What the budget knows of a connection."""

    def drop(self, reason: str) -> None:
        """Close at once, without an answer."""

    def expire(self, phase: Phase) -> None:
        """Close because the phase has lasted too long."""


@dataclass(slots=True)
class _Entry:
    peer: str | None
    phase: Phase
    since: float
    held: int = 0


class Budget:
    """Open connections, the phase of each, and the memory of their unfinished requests.

    Args:
        limits: Of this process.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.closed: Counter[str] = Counter()
        self.held = 0
        self._entries: dict[Connection, _Entry] = {}
        # Dictionaries keep their order: the first connection of a phase has been in it for the longest time.
        self._phases: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase}
        self._unfinished: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def open(self, connection: Connection, address: str, now: float) -> None:
        """Count a new connection, and drop another one, or the new one, if there are too many."""
        peer = origin(address)
        victim = self._replaced(peer)
        self._entries[connection] = _Entry(peer, Phase.HEAD, now)
        self._note(connection, Phase.HEAD)
        if victim is not None or len(self._entries) > self.limits.connections:
            self.drop(victim or connection, "connections")

    def enter(self, connection: Connection, phase: Phase, now: float) -> None:
        """Begin a phase, with its own deadline."""
        entry = self._entries.get(connection)
        if entry is not None:
            self._forget(connection, entry)
            entry.phase, entry.since = phase, now
            self._note(connection, phase)

    def hold(self, connection: Connection, size: int) -> None:
        """Count bytes of an unfinished request; the request that is unfinished for the longest time makes room."""
        entry = self._entries.get(connection)
        if entry is None:
            return
        entry.held += size
        self.held += size
        while self.held > self.limits.memory and (victim := self._oldest_holder(connection)) is not None:
            self.drop(victim, "memory")

    def release(self, connection: Connection) -> None:
        """Count that the requests of a connection are finished."""
        if (entry := self._entries.get(connection)) is not None:
            self.held -= entry.held
            entry.held = 0

    def forget(self, connection: Connection) -> None:
        """Count that a connection is closed."""
        if (entry := self._entries.pop(connection, None)) is not None:
            self.held -= entry.held
            self._forget(connection, entry)

    def drop(self, connection: Connection, reason: str) -> None:
        """Close a connection at once and count why."""
        self.forget(connection)
        self.closed[reason] += 1
        connection.drop(reason)

    def overdue(self, now: float) -> list[tuple[Connection, Phase]]:
        """Return the connections whose phase has lasted too long."""
        return [(each, phase) for phase in Phase for each in self._overdue(phase, now)]

    def _overdue(self, phase: Phase, now: float) -> Iterator[Connection]:
        until = now - self.limits.seconds(phase)
        return takewhile(lambda each: self._entries[each].since <= until, self._phases[phase])

    def _replaced(self, peer: str | None) -> Connection | None:
        """Choose the connection that a new one replaces; None if there is room, or all others are at work."""
        same = self._unfinished.get(peer, {}) if peer is not None else {}
        if len(same) >= self.limits.share:
            return next(iter(same))
        if len(self._entries) < self.limits.connections:
            return None
        order = (Phase.CLOSING, Phase.HEAD, Phase.DISCARD, Phase.IDLE, Phase.BODY)
        return next((each for phase in order for each in self._phases[phase]), None)

    def _oldest_holder(self, newest: Connection) -> Connection | None:
        unfinished = (Phase.DISCARD, Phase.BODY, Phase.HEAD)
        holding = (each for phase in unfinished for each in self._phases[phase] if self._entries[each].held)
        return next(holding, newest if newest in self._entries else None)

    def _note(self, connection: Connection, phase: Phase) -> None:
        self._phases[phase][connection] = None
        peer = self._entries[connection].peer
        if peer is not None and phase in {Phase.HEAD, Phase.BODY}:
            self._unfinished.setdefault(peer, {})[connection] = None

    def _forget(self, connection: Connection, entry: _Entry) -> None:
        self._phases[entry.phase].pop(connection, None)
        if entry.peer is not None and (same := self._unfinished.get(entry.peer)) is not None:
            same.pop(connection, None)
            if not same:
                del self._unfinished[entry.peer]


@lru_cache(maxsize=1024)
def origin(address: str) -> str | None:
    """Return what a sender's connections are counted by; None for addresses of the own network, such as a proxy's.

    A sender of IPv6 usually has 64 bits of addresses for itself.

    >>> origin("8.8.8.8"), origin("2600:1f18:1234:5678::1"), origin("10.0.0.7")
    ('8.8.8.8', '2600:1f18:1234:5678::/64', None)
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is not None:
        return origin(str(mapped))
    if not found.is_global:
        return None
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
