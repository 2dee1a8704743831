"""How many signed live events one receiver acknowledges, how fast the drain applies them, and how fresh tables are.

Run `./run python benchmarks/live_events.py`, or with `--end-to-end N` to follow N events from the receiver to the tables.
Load generator, receiver and PostgreSQL share the machine; fsync is on.
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
from dataclasses import dataclass
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
from canvas_sync_dagster.warehouse.state.inbox_partitions import age_out, ensure_partitions
from canvas_sync_dagster.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
START = datetime(2026, 10, 1, tzinfo=UTC)
SENT_AT_ONCE = 10_000
"""Events that are signed before they are sent: the benchmark's own memory does not grow with their number."""


def memberships(number: int, first: int = 0) -> list[dict[str, object]]:
    """Events whose bodies suffice, each of another object; those from `first` until `number`."""
    return [
        event(
            "group_membership_created",
            {"group_id": global_id(10_000 + n % 5_000), "user_id": global_id(1_000_000 + n), "group_membership_id": global_id(n + 1),
             "group_name": "Team", "workflow_state": "accepted", "padding": "x" * 400},
            START + timedelta(milliseconds=n),
        )
        for n in range(first, number)
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
def receiving(variables: dict[str, str], port: int, *options: str) -> Iterator[int]:
    """Runs the receiver as people do, and yields its process id."""
    command = [sys.executable, "-m", "canvas_sync_dagster.cli", "live-events", "--port", str(port), *options]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                asyncio.run(asyncio.wait_for(_touch(port), 1))
                break
            except OSError:
                time.sleep(0.1)
        yield process.pid
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


@dataclass(frozen=True)
class Used:
    """What was used until a moment."""

    server_seconds: float
    wal: int

    @classmethod
    def read(cls, url: str) -> Used:
        """Reads the CPU seconds of the server's processes, ended ones included, and its bytes of WAL."""
        with connect(url) as connection:
            row = connection.execute("select pg_backend_pid(), pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
            assert row is not None
            postmaster = Path(f"/proc/{row[0]}/stat").read_text().rpartition(")")[2].split()[1]
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
            seconds = sum(cpu_seconds(int(pid)) for pid in children) + cpu_seconds(int(postmaster), ended=True)
        return cls(seconds, int(row[1]))


@dataclass(frozen=True)
class Own:
    """What a process of ours has used in a phase: seconds, seconds of CPU, and megabytes at most."""

    phase: str
    seconds: float
    cpu: float
    memory: int


def cpu_seconds(pid: int, *, ended: bool = False) -> float:
    """Returns the CPU seconds of a process, with those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended else 13])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int | str) -> int:
    """Returns the largest resident memory of a process in MB."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def inbox_size(url: str) -> int:
    """Returns the bytes of disk of the inbox, with indexes."""
    query = (
        "select coalesce(sum(pg_total_relation_size(oid)), 0) from pg_class "
        "where relname like 'canvas_sync_live_events%' and relkind = 'r'"
    )
    with connect(url) as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def end_to_end(number: int, port: int) -> None:
    """Sends signed events to a receiver, drains them, removes them, and prints what each phase costs."""
    with SimulatedCanvas().serve() as canvas, embedded_postgres() as url, tempfile.TemporaryDirectory() as home:
        migrate(url, "canvas", BUILT_IN)
        with connect(url, autocommit=True) as connection:
            connection.execute("insert into canvas.groups (canvas_id) select 10000 + n from generate_series(0, 4999) n")
            connection.execute(
                "insert into canvas.users (canvas_id) select 1000000 + n from generate_series(0, %s) n", (number,)
            )
            connection.execute("vacuum analyze")
        variables, seconds = environment(canvas, url, Path(home)), 0.0
        before = Used.read(url)
        with receiving(variables, port) as pid:
            for start in range(0, number, SENT_AT_ONCE):
                events = memberships(min(number, start + SENT_AT_ONCE), start)
                took, _, refused = asyncio.run(fire(port, [canvas.signer.sign(each) for each in events], 32))
                seconds += took
                if refused:
                    raise SystemExit(f"{refused} events were refused")
            own = Own("receive", seconds, cpu_seconds(pid), peak_memory(pid))
        after = Used.read(url)
        print_phase(number, own, before, after)
        command = [sys.executable, __file__, "--drain-only", url, canvas.base_url, canvas.token, home]
        drained = subprocess.run(command, env=variables, stdout=subprocess.PIPE, check=True, text=True)
        seconds, cpu, memory = map(float, drained.stdout.split()[-3:])
        print_phase(number, Own("drain", seconds, cpu, int(memory)), after, Used.read(url))
        with connect(url) as connection:
            rows = connection.execute("select count(*) from canvas.group_memberships").fetchone()
        full = inbox_size(url)
        with connect(url) as connection:
            # Until tomorrow, so that today's partition is old.
            age_out(Warehouse(connection, "canvas"), timedelta(days=-1))
        print(f"rows in the table: {rows[0] if rows else 0:,}")
        print(f"inbox: {full / number:,.0f} bytes of disk per event, {inbox_size(url):,} bytes after housekeeping")


def print_phase(number: int, own: Own, before: Used, after: Used) -> None:
    """Prints what a phase cost."""
    server = after.server_seconds - before.server_seconds
    print(
        f"{own.phase}: {number / own.seconds:,.0f} events/s; CPU per 1,000 events {1e3 * own.cpu / number:.3f} s of the "
        f"process and {1e3 * server / number:.3f} s of the server; {(after.wal - before.wal) / number:,.0f} bytes of WAL "
        f"per event; {own.memory} MB at most",
        flush=True,
    )


def drain_only(url: str, base_url: str, token: str, home: str) -> None:
    """Drains, and prints seconds, CPU seconds and megabytes."""
    tenant = TenantSettings(base_url=base_url, token=SecretStr(token), database_url=SecretStr(url))
    with open_session(Settings(home=Path(home), tenants=(tenant,)), tenant, BUILT_IN) as session:
        start = time.process_time()
        done = drain(session)
        print(done.seconds, time.process_time() - start, peak_memory("self"))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--end-to-end", type=int, metavar="N", help="only follow N events from the receiver to the tables"
    )
    parser.add_argument("--drain-only", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--port", type=int, default=18_080)
    given = parser.parse_args()
    if given.drain_only:
        drain_only(*given.drain_only)
    elif given.end_to_end:
        end_to_end(given.end_to_end, given.port)
    else:
        parts(given)


def parts(given: argparse.Namespace) -> None:
    """Measures receiving, draining and freshness, each by itself."""
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
