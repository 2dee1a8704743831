"""How much memory the receiver takes under attack, and how it answers genuine events meanwhile.

Run `./run python benchmarks/attacks.py`, or name attacks to run only those. Attacker, receiver and PostgreSQL share the
machine. The limits that it measures are in `canvas_sync_dagster/live_events/budget.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from live_events import environment

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.testing import embedded_postgres
from canvas_sync_dagster.warehouse.schema.migrate import migrate

SECONDS = 8.0
"""How long an attack lasts."""
POST = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode()

Attack = Callable[[int], Awaitable[None]]


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def many(number: int, work: Attack, port: int) -> None:
    """Runs an attack over many connections; one that is closed is opened again."""

    async def again() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await work(port)
            await asyncio.sleep(0.02)

    await asyncio.gather(*(again() for _ in range(number)))


async def endless(port: int, start: bytes, piece: bytes) -> None:
    """Send a start, then a piece again and again; read nothing."""
    _, writer = await connected(port)
    writer.write(start)
    while True:
        writer.write(piece)
        await writer.drain()


async def endless_headers(port: int) -> None:
    await endless(port, POST, b"X-Filler: " + b"x" * 65_000 + b"\r\n")


async def endless_header(port: int) -> None:
    await endless(port, POST + b"X-Filler: ", b"x" * 65_536)


async def silence(port: int) -> None:
    reader, _ = await connected(port)
    await reader.read()


async def half_head(port: int) -> None:
    reader, writer = await connected(port)
    writer.write(POST)
    while not reader.at_eof():
        writer.write(b"X: y\r\n")
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1000), 1)


async def unfinished_body(port: int) -> None:
    reader, writer = await connected(port)
    writer.write(POST + b"Content-Length: 1048576\r\n\r\n" + b"x" * 1_048_575)
    await writer.drain()
    await reader.read()


async def upgrade(port: int) -> None:
    reader, writer = await connected(port)
    writer.write(
        f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await reader.read(1000)
    while not reader.at_eof():
        writer.write(b"\x82\xfe\xff\xff0000" + b"x" * 60_000)
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_chunks(port: int) -> None:
    start = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    await endless(port, start, b"10000\r\n" + b"x" * 65_536 + b"\r\n")


async def endless_trailer(port: int) -> None:
    await endless(port, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Trailer: ", b"x" * 65_536)


async def unread_answers(port: int) -> None:
    """Request metrics all the time and read nothing."""
    await endless(port, b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)


async def pipelining(port: int) -> None:
    reader, writer = await connected(port)
    while not reader.at_eof():
        writer.write((POST + b"Content-Length: 0\r\n\r\n") * 2_000)
        await writer.drain()
        await reader.read(65_536)


ATTACKS: dict[str, tuple[int, Attack]] = {
    "silent connections": (1_000, silence),
    "half heads held open": (600, half_head),
    "headers without end": (2, endless_headers),
    "one header without end": (2, endless_header),
    "unfinished 1 MB bodies": (600, unfinished_body),
    "WebSocket upgrades": (200, upgrade),
    "chunks without end": (20, endless_chunks),
    "a trailer without end": (2, endless_trailer),
    "answers that are not read": (50, unread_answers),
    "pipelining": (50, pipelining),
}


async def genuine(port: int, canvas: SimulatedCanvas, answers: Counter[str], waits: list[float]) -> None:
    """Posts a signed event over a connection of its own ten times a second."""
    for n in range(1_000_000):
        body = {"course_id": global_id(2003), "name": f"{time.time()} {n}"}
        token = canvas.signer.sign(event("course_updated", body, datetime.now(UTC))).encode()
        start = time.perf_counter()
        try:
            async with asyncio.timeout(15):
                reader, writer = await connected(port)
                writer.write(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(token) + token)
                answer = await reader.read(1000)
                writer.close()
            answers[answer[9:12].decode() or "closed"] += 1
        except (OSError, TimeoutError) as error:
            answers[type(error).__name__] += 1
        waits.append(time.perf_counter() - start)
        await asyncio.sleep(0.1)


class Memory:
    """Resident memory of a process: the peak since `reset`, and the present."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")

    def reset(self) -> None:
        (self._process / "clear_refs").write_text("5")

    def read(self, name: str) -> int:
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{name}:"))


async def measured(port: int, canvas: SimulatedCanvas, memory: Memory, number: int, work: Attack) -> str:
    answers: Counter[str] = Counter()
    waits: list[float] = []
    memory.reset()
    before = memory.read("VmRSS")
    attackers = asyncio.create_task(many(number, work, port))
    await asyncio.sleep(0.5)
    sender = asyncio.create_task(genuine(port, canvas, answers, waits))
    await asyncio.sleep(SECONDS)
    for task in (sender, attackers):
        task.cancel()
    await asyncio.gather(sender, attackers, return_exceptions=True)
    peak = memory.read("VmHWM")
    await asyncio.sleep(3)
    return f"{before} -> {peak} MB (after: {memory.read('VmRSS')}), events {dict(answers)}, slowest {max(waits, default=0):.1f} s"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"Any of: {', '.join(ATTACKS)}.")
    parser.add_argument("--port", type=int, default=18_081)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with SimulatedCanvas().serve() as canvas, embedded_postgres() as url, tempfile.TemporaryDirectory() as home:
        migrate(url, "canvas", BUILT_IN)
        command = [sys.executable, "-m", "canvas_sync_dagster.cli", "live-events", "--port", str(given.port)]
        for name in given.attacks or ATTACKS:
            variables = environment(canvas, url, Path(home))
            process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                asyncio.run(ready(given.port))
                number, work = ATTACKS[name]
                line = asyncio.run(measured(given.port, canvas, Memory(process.pid), number, work))
                print(f"{name} ({number} connections): {line}", flush=True)
            finally:
                process.kill()
                process.wait()


async def ready(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            _, writer = await connected(port)
            writer.close()
            return
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()
