"""The limits of connections: as decisions, and over real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.live_events.budget import STATE, Budget, Limits, Phase
from canvas_sync_dagster.live_events.receiver import PATH, Receiver
from canvas_sync_dagster.live_events.serve import receiver
from canvas_sync_dagster.live_events.uvicorn_server import served, server_options
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.live_events.test_receiver import post, renamed, settings_of, stored

POST = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode()
LIMITS = Limits(
    connections=40,
    memory=256 << 10,
    head_seconds=0.6,
    body_seconds=0.8,
    answer_seconds=1.0,
    discard_seconds=0.4,
    idle_seconds=0.6,
)


class Fake:
    """A connection that only notes why it was closed."""

    def __init__(self) -> None:
        self.reason = ""

    def drop(self, reason: str) -> None:
        self.reason = reason

    def expire(self, phase: Phase) -> None:
        self.reason = phase


class TestDecisions:
    def opened(self, budget: Budget, number: int, address: str = "10.0.0.1") -> list[Fake]:
        made = [Fake() for _ in range(number)]
        for now, each in enumerate(made):
            budget.open(each, address, float(now))
        return made

    def test_a_new_connection_replaces_the_one_that_was_silent_for_the_longest_time(self) -> None:
        budget = Budget(Limits(connections=3))
        first, second, third = self.opened(budget, 3)
        budget.enter(first, Phase.ANSWER, 3.0)
        self.opened(budget, 1)
        assert [each.reason for each in (first, second, third)] == ["", "connections", ""]

    def test_an_idle_connection_is_replaced_before_one_that_sends_a_body(self) -> None:
        budget = Budget(Limits(connections=2))
        sending, idle = self.opened(budget, 2)
        budget.enter(sending, Phase.BODY, 2.0)
        budget.enter(idle, Phase.IDLE, 3.0)
        self.opened(budget, 1)
        assert (sending.reason, idle.reason) == ("", "connections")

    def test_a_connection_with_a_complete_request_is_never_replaced(self) -> None:
        budget = Budget(Limits(connections=2))
        busy = self.opened(budget, 2)
        for each in busy:
            budget.enter(each, Phase.ANSWER, 2.0)
        (late,) = self.opened(budget, 1)
        assert [each.reason for each in (*busy, late)] == ["", "", "connections"]

    def test_one_public_address_replaces_its_own_connections(self) -> None:
        budget = Budget(Limits(connections=100, share=2))
        (genuine,) = self.opened(budget, 1, "1.1.1.1")
        flood = self.opened(budget, 5, "2600:1f18::1") + self.opened(budget, 5, "2600:1f18::2")
        assert genuine.reason == ""
        assert sum(not each.reason for each in flood) == 2

    def test_a_proxy_of_the_own_network_has_no_share(self) -> None:
        budget = Budget(Limits(connections=100, share=2))
        assert {each.reason for each in self.opened(budget, 50, "10.1.2.3")} == {""}

    def test_memory_is_taken_from_the_oldest_unfinished_request(self) -> None:
        budget = Budget(Limits(memory=100))
        old, young = self.opened(budget, 2)
        for each in (old, young):
            budget.enter(each, Phase.BODY, 2.0)
            budget.hold(each, 60)
        assert (old.reason, young.reason, budget.held) == ("memory", "", 60)

    def test_memory_that_answered_requests_hold_stops_the_newest(self) -> None:
        budget = Budget(Limits(memory=100))
        verified, late = self.opened(budget, 2)
        budget.hold(verified, 90)
        budget.enter(verified, Phase.ANSWER, 2.0)
        budget.hold(late, 90)
        assert (verified.reason, late.reason, budget.held) == ("", "memory", 90)
        budget.release(verified)
        assert budget.held == 0

    def test_received_bytes_extend_no_deadline(self) -> None:
        budget = Budget(Limits(head_seconds=5))
        (slow,) = self.opened(budget, 1)
        budget.hold(slow, 10)
        assert budget.overdue(4.9) == []
        assert budget.overdue(5.0) == [(slow, Phase.HEAD)]


@pytest.fixture
def app(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> Receiver:
    return receiver(settings_of(canvas, database_url, tmp_path), BUILT_IN, limits=LIMITS)


@pytest.fixture
def port(app: Receiver) -> Iterator[int]:
    with served(app) as base:
        yield int(base.rpartition(":")[2])


@contextlib.contextmanager
def running(app: Receiver, sockets: list[socket.socket]) -> Iterator[None]:
    """Serve on sockets that the test has made."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", **server_options()))
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.sendall(sent)
    return connection


def closed_after(connection: socket.socket, sent: bytes = b"", most: float = 5.0) -> float:
    """Return the seconds until the receiver closes, while bytes are sent all the time."""
    start = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() - start < most:
        try:
            connection.sendall(sent)
            if connection.recv(65_536) == b"":
                return time.monotonic() - start
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - start
    raise AssertionError("the connection is still open")


def first_line(connection: socket.socket) -> bytes:
    with contextlib.suppress(OSError):
        return connection.recv(1_000).partition(b"\r\n")[0]
    return b""


@pytest.mark.parametrize(
    ("begun", "more", "seconds"),
    [
        (b"", b"", LIMITS.head_seconds),
        (POST, b"X: y\r\n", LIMITS.head_seconds),
        (b"\r\n", b"\r\n", LIMITS.head_seconds),
        (POST + b"Content-Length: 900000\r\n\r\n", b"x", LIMITS.body_seconds),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", LIMITS.body_seconds),
        (POST + b"Content-Length: 900000000\r\n\r\n", b"x", LIMITS.discard_seconds),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n", LIMITS.idle_seconds),
    ],
    ids=[
        "silence",
        "half a head",
        "blank lines",
        "half a body",
        "chunks",
        "a body that is refused",
        "an idle connection",
    ],
)
def test_each_phase_ends_in_time(port: int, begun: bytes, more: bytes, seconds: float) -> None:
    with connect(port, begun) as connection:
        assert seconds * 0.5 < closed_after(connection, more) < seconds + 2


def test_endless_requests_are_cut_off(app: Receiver, port: int) -> None:
    filler = b"x" * 65_536
    attacks = [
        (POST + b"X-Filler: ", filler),
        (POST, b"X-Filler: " + filler + b"\r\n"),
        (POST, b"a: b\r\n" * 5_000),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Trailer: ", filler),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + filler + b"\r\n"),
        (b"", (POST + b"Content-Length: 0\r\n\r\n") * 2_000),
    ]
    for begun, more in attacks:
        with connect(port, begun) as connection:
            assert closed_after(connection, more) < 1.5
    assert app.budget.held == 0
    assert app.budget.closed["head"] == 2


def test_a_head_that_is_too_large_is_431(port: int) -> None:
    with connect(port, POST + b"X: " + b"x" * LIMITS.head + b"\r\n") as connection:
        assert b" 431 " in first_line(connection)


def test_an_answer_that_is_not_read_ends_the_connection() -> None:
    budget = Budget(LIMITS)

    async def large_answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"][STATE] = budget
            for _ in range(2):
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})

    with (
        served(large_answer) as base,
        connect(int(base.rpartition(":")[2]), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as connection,
    ):
        assert connection.recv(10).startswith(b"HTTP/1.1")
        time.sleep(LIMITS.answer_seconds + 0.5)
        assert (len(budget), budget.held, budget.closed["answer"]) == (0, 0, 1)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_an_upgrade_is_an_ordinary_request_and_the_last_one(port: int, upgrade: str) -> None:
    head = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
    with connect(port, head.encode()) as connection:
        assert b" 405 " in first_line(connection)
        assert closed_after(connection, b"\x82\xfe") < 0.5


def test_genuine_events_are_accepted_among_silent_connections(
    canvas: SimulatedCanvas, app: Receiver, port: int, database_url: str
) -> None:
    with contextlib.ExitStack() as stack:
        for sent in (b"", POST, POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000) * 30:
            with contextlib.suppress(OSError):
                stack.enter_context(connect(port, sent))
        assert len(app.budget) <= LIMITS.connections
        assert app.budget.held <= LIMITS.memory
        answers = [post(f"http://127.0.0.1:{port}", canvas.signer.sign(renamed(canvas, name=f"{n}"))) for n in range(5)]
    assert answers == [200] * 5
    assert len(stored(database_url)) == 5
    assert app.budget.closed["connections"] > 0


def test_what_was_closed_is_told_by_metrics(port: int) -> None:
    with connect(port) as connection:
        closed_after(connection)
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert 'canvas_sync_live_events_closed_total{limit="head"} 1' in text
    assert "canvas_sync_live_events_connections 1" in text


def test_probes_may_have_a_port_of_their_own(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> None:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    events, probes = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    port = int(probes.rpartition(":")[2])
    app = receiver(settings_of(canvas, database_url, tmp_path), BUILT_IN, health_port=port)
    with running(app, sockets):
        assert post(events, canvas.signer.sign(renamed(canvas))) == 200
        assert [httpx.get(base + "/health").status_code for base in (events, probes)] == [404, 200]
        assert [httpx.get(base + "/metrics").status_code for base in (events, probes)] == [404, 200]
        assert post(probes, canvas.signer.sign(renamed(canvas, name="y"))) == 404
