"""How many signed live events one receiver acknowledges, how fast the drain applies them, and how fresh tables are.

Run `./run python benchmarks/live_events.py`. Load generator, receiver and PostgreSQL share the machine; fsync is on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.event import read_event
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.session import open_session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.testing import embedded_postgres
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.state.inbox import store
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from canvas_sync_dagster.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
START = datetime(2026, 10, 1, tzinfo=UTC)


def memberships(number: int) -> list[dict[str, object]]:
    """Events whose bodies suffice, each of another object."""
    return [
        event(
            "group_membership_created",
            {"group_id": global_id(10_000 + n % 5_000), "user_id": global_id(1_000_000 + n), "group_membership_id": global_id(n + 1),
             "group_name": "Team", "workflow_state": "accepted", "padding": "x" * 400},
            START + timedelta(milliseconds=n),
        )
        for n in range(number)
    ]  # fmt: skip


def environment(canvas: SimulatedCanvas, url: str, home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "CANVAS_SYNC_BASE_URL": canvas.base_url,
        "CANVAS_SYNC_TOKEN": canvas.token,
        "CANVAS_SYNC_DATABASE_URL": url,
        "CANVAS_SYNC_HOME": str(home),
        "DAGSTER_HOME": str(home),
        "DATASERVICES_JWK_URL": canvas.jwk_url,
    }


@contextmanager
def receiving(variables: dict[str, str], port: int, *options: str) -> Iterator[None]:
    """Runs the receiver as people do."""
    command = [sys.executable, "-m", "canvas_sync_dagster.cli", "live-events", "--port", str(port), *options]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                asyncio.run(asyncio.wait_for(_touch(port), 1))
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def daemon(variables: dict[str, str]) -> Iterator[None]:
    """Runs Dagster's daemon, whose sensor drains every five seconds."""
    shutil.copy(ROOT / "dagster.yaml", variables["DAGSTER_HOME"])
    script = Path(sys.executable).parent / "dagster-daemon"
    command = [str(script), "run", "-w", str(ROOT / "workspace.yaml")]
    with subprocess.Popen(
        command, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as process:
        time.sleep(25)
        yield
        process.terminate()


def freshness(canvas: SimulatedCanvas, url: str, port: int, seconds: float, first: int) -> tuple[float, float]:
    """Sends ten events a second; returns the median and the 95th percentile of seconds until a reader sees the row."""
    seen: dict[int, float] = {}
    sent: dict[int, float] = {}
    done = threading.Event()

    def watch() -> None:
        with connect(url, autocommit=True) as connection:
            while not done.wait(0.02):
                query = "select canvas_user_id from canvas.group_memberships where canvas_user_id >= %s"
                now = time.perf_counter()
                for (number,) in connection.execute(query, (1_000_000 + first,)).fetchall():
                    seen.setdefault(number, now)

    watcher = threading.Thread(target=watch)
    watcher.start()
    events = memberships(first + int(seconds * 10))[first:]
    for n, each in enumerate(events):
        sent[1_000_000 + first + n] = time.perf_counter()
        asyncio.run(fire(port, [canvas.signer.sign(each)], 1))
        time.sleep(0.1)
    deadline = time.monotonic() + 30
    while len(seen) < len(sent) and time.monotonic() < deadline:
        time.sleep(0.1)
    done.set()
    watcher.join()
    waits = sorted(seen.get(number, float("inf")) - at for number, at in sent.items())
    return statistics.median(waits), waits[int(len(waits) * 0.95)]


async def _touch(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def fire(port: int, tokens: list[str], connections: int) -> tuple[float, list[float], int]:
    """Posts all tokens over so many connections; returns seconds, latencies and how many were not accepted."""
    waiting = iter(tokens)
    latencies: list[float] = []
    refused = 0

    async def work() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for token in waiting:
            head = (
                f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {len(token)}\r\n\r\n"
            )
            start = time.perf_counter()
            writer.write(head.encode() + token.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            if length:
                await reader.readexactly(length)
            latencies.append(time.perf_counter() - start)
            refused += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return time.perf_counter() - start, latencies, refused


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--port", type=int, default=18_080)
    given = parser.parse_args()
    with SimulatedCanvas().serve() as canvas, embedded_postgres() as url, tempfile.TemporaryDirectory() as home:
        migrate(url, "canvas", BUILT_IN)
        events = memberships(given.events)
        tokens = [canvas.signer.sign(each) for each in events]
        share = len(tokens) // given.rounds
        variables = environment(canvas, url, Path(home))
        with receiving(variables, given.port):
            for n in range(given.rounds):
                seconds, latencies, refused = asyncio.run(
                    fire(given.port, tokens[n * share : (n + 1) * share], given.connections)
                )
                latencies.sort()
                p50, p99 = statistics.median(latencies) * 1e3, latencies[int(len(latencies) * 0.99)] * 1e3
                print(
                    f"receive: {len(latencies) / seconds:,.0f} events/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {refused} refused"
                )
        sizes = given.events + 40_000
        tenant = TenantSettings(base_url=canvas.base_url, token=SecretStr(canvas.token), database_url=SecretStr(url))
        settings = Settings(home=Path(home), tenants=(tenant,))
        with connect(url) as connection:
            # Parents that a table lacks are asked for, one by one; that is Canvas's pace, not the drain's.
            connection.execute("insert into canvas.groups (canvas_id) select 10000 + n from generate_series(0, 4999) n")
            connection.execute(
                "insert into canvas.users (canvas_id) select 1000000 + n from generate_series(0, %s) n",
                (given.events + 50_000,),
            )
            ensure_partitions(Warehouse(connection, "canvas"))
            rest = [read_event(each, datetime.now(UTC)) for each in memberships(sizes)[given.events :]]
            store(Warehouse(connection, "canvas"), rest)
        with open_session(settings, tenant, BUILT_IN) as session:
            done = drain(session)
        number = sum(done.events.values())
        print(
            f"drain: {number:,} events in {done.seconds:.1f} s, {number / done.seconds:,.0f} events/s, {dict(done.events)}"
        )
        with receiving(variables, given.port, "--drain"):
            p50, p95 = freshness(canvas, url, given.port, 20, sizes)
            print(f"event to table, the receiver draining: p50 {p50:.2f} s, p95 {p95:.2f} s")
        with receiving(variables, given.port), daemon(variables):
            p50, p95 = freshness(canvas, url, given.port, 40, sizes + 1_000)
            print(f"event to table, through the sensor: p50 {p50:.2f} s, p95 {p95:.2f} s")


if __name__ == "__main__":
    main()
