"""The eleven Canvases of a consortium, in a process of their own, which does what it is told through a pipe."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import polars as pl

from canvas_sync_dagster.simulator import SimulatedCanvas, Size

USERS, COURSES, ENROLLMENTS = 1_300_000, 450_000, 4_500_000
"""Of the whole consortium; two of three enrollments are active, so 3 M are."""
ASSIGNMENTS_PER_COURSE = 1
SHARES = (0.30, 0.16, 0.12, 0.10, 0.08, 0.07, 0.06, 0.05, 0.03, 0.02, 0.01)
"""What part of the consortium each Canvas has: a state university, ten others."""
TERM = 118
"""All courses are in this term: a sync is one root run and one term run for each Canvas."""
COMPILE_SECONDS = 0.5
CONNECTIONS = 8
BEAT_SECONDS = 0.1
"""Events are posted in so many groups a second."""
MIX = {"enrollments": 0.7, "users": 0.2, "courses": 0.1}


class Canvases:
    """The process that simulates the Canvases.

    Args:
        connection: Its pipe.
        process: Its id.
        addresses: URL of each Canvas.
        token: The one token of all.
        jwk_url: Address of the public keys of all events.
    """

    def __init__(self, connection: Connection, process: int, hello: dict[str, Any]) -> None:
        self._connection, self.process = connection, process
        self.addresses: Sequence[str] = hello["addresses"]
        self.token: str = hello["token"]
        self.jwk_url: str = hello["jwk_url"]
        self.rows: dict[str, int] = hello["rows"]

    def ask(self, order: str, *arguments: object) -> Any:
        """Let the process call a method of `_Served`, and return its result."""
        self._connection.send((order, arguments))
        return self._connection.recv()


@contextmanager
def canvases(share: float) -> Iterator[Canvases]:
    """Serve a share of the consortium, from 0 to 1, from another process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(share, theirs), daemon=True)
    process.start()
    try:
        yield Canvases(ours, process.pid or 0, ours.recv())
    finally:
        process.terminate()
        process.join()


def _serve(share: float, connection: Connection) -> None:
    with ExitStack() as stack:
        served = _Served([_canvas(share * each, number) for number, each in enumerate(SHARES)], stack)
        connection.send(served.hello())
        while True:
            order, arguments = connection.recv()
            connection.send(getattr(served, order)(*arguments))


def _canvas(share: float, number: int) -> SimulatedCanvas:
    size = Size(
        users=max(40, round(USERS * share)),
        courses=max(24, round(COURSES * share)),
        enrollments=max(160, round(ENROLLMENTS * share)),
        assignments_per_course=ASSIGNMENTS_PER_COURSE,
    )
    canvas = SimulatedCanvas(size, seed=number + 1, compile_seconds=COMPILE_SECONDS, now=datetime.now(UTC))
    canvas.university.set("courses", pl.lit(True), term_id=TERM)
    return canvas


class _Served:
    """What the parent may ask for."""

    def __init__(self, served: Sequence[SimulatedCanvas], stack: ExitStack) -> None:
        self._canvases = [stack.enter_context(each.serve()) for each in served]
        self._tokens: list[tuple[int, str]] = []

    def hello(self) -> dict[str, Any]:
        tables = ("users", "logins", "courses", "sections", "enrollments")
        universities = [each.university for each in self._canvases]
        return {
            "addresses": [each.base_url for each in self._canvases],
            "token": self._canvases[0].token,
            "jwk_url": self._canvases[0].jwk_url,
            "rows": {name: sum(getattr(each, name).height for each in universities) for name in tables},
        }

    def change(self, share: float) -> int:
        """Change a share of the rows of each Canvas; returns how many rows."""
        return sum(each.change_rows(share) for each in self._canvases)

    def requests(self) -> int:
        """Return the number of requests since the last call, without those to the file storage."""
        number = sum(len(each.requests) for each in self._canvases)
        for each in self._canvases:
            each.requests.clear()
        return number

    def sign_events(self, number: int) -> int:
        """Make so many signed events of random Canvases, by their size: of rows that changed, in random order."""
        signer, dice = self._canvases[0].signer, random.Random(number)
        for each in self._canvases:
            each.take_events()
        events = [
            (index, event)
            for index, (canvas, share) in enumerate(zip(self._canvases, SHARES, strict=True))
            for table, part in MIX.items()
            for event in canvas.save_again(table, round(number * share * part))
        ]
        dice.shuffle(events)
        self._tokens = [(index, signer.sign(event)) for index, event in events]
        return len(self._tokens)

    def deliver(self, port: int, path: str, slugs: Sequence[str], rate: float) -> dict[str, float]:
        """Post the signed events at a rate; returns seconds, the longest and the 99th percentile of latency, refusals."""
        return asyncio.run(_deliver(port, path, [(slugs[index], token) for index, token in self._tokens], rate))


async def _deliver(port: int, path: str, events: Sequence[tuple[str, str]], rate: float) -> dict[str, float]:
    latencies: list[float] = []
    refused = 0
    waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def post() -> None:
        nonlocal refused
        reader = writer = None
        while True:
            slug, token = await waiting.get()
            head = f"POST {path}?org={slug} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {len(token)}\r\n\r\n"
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert reader is not None
            start = time.perf_counter()
            writer.write((head + token).encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - start)
            refused += not answer.startswith(b"HTTP/1.1 200")
            waiting.task_done()

    tasks = [asyncio.create_task(post()) for _ in range(CONNECTIONS)]
    start = time.perf_counter()
    for number, each in enumerate(events):
        if (ahead := start + number / rate - time.perf_counter()) > 0:
            await asyncio.sleep(max(ahead, BEAT_SECONDS))
        waiting.put_nowait(each)
    joined = asyncio.create_task(waiting.join())
    await asyncio.wait([joined, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
    latencies.sort()
    return {
        "seconds": time.perf_counter() - start,
        "p99": latencies[int(len(latencies) * 0.99)],
        "longest": latencies[-1],
        "refused": refused,
    }
