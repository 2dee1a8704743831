"""What many tenants cost while they idle, and how soon an event of any of them is applied.

Run `./run python benchmarks/tenants.py 1 10 100`. For each number of tenants it starts a daemon with its code server and
PostgreSQL, as `dagster dev` does, and reports: CPU of each process while nothing happens, the seconds between two ticks
of a sensor, the connections to the warehouse and to Dagster's storage, and the time from an event's insert to its
state `applied`, for events of random tenants. It uses only public names, so that it measures any version:
run it from the directory of that version.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import yaml
from psycopg import sql
from psycopg.types.json import Jsonb

import canvas_sync_dagster
from canvas_sync_dagster.embedded import EmbeddedPostgres, server
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id

ROOT = Path(canvas_sync_dagster.__file__).parent.parent
BIN = Path(sys.executable).parent
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
WAREHOUSE, STORAGE = "canvas", "dagster"
PATIENCE = 900


@dataclass(frozen=True, slots=True)
class Site:
    """A deployment with a number of tenants, in processes of its own.

    Attributes:
        home: Its directory.
        slugs: Its tenants.
        server: The PostgreSQL of warehouse and storage.
        variables: Environment of its processes.
    """

    home: Path
    slugs: Sequence[str]
    server: EmbeddedPostgres
    variables: dict[str, str]

    @property
    def warehouse(self) -> str:
        """URL of the database with a schema per tenant."""
        return self.server.url(WAREHOUSE)

    def call(self, program: str, *arguments: str) -> float:
        """Run a command, and return its seconds."""
        start = time.monotonic()
        command = [str(BIN / program), *arguments]
        done = subprocess.run(
            command, env=self.variables, cwd=self.home, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return time.monotonic() - start

    @contextlib.contextmanager
    def daemon(self) -> Iterator[None]:
        """Run Dagster's daemon, which starts its code server."""
        with (self.home / "daemon.log").open("wb") as log:
            command = [str(BIN / "dagster-daemon"), "run", "-w", str(ROOT / "workspace.yaml")]
            process = subprocess.Popen(command, env=self.variables, cwd=self.home, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(120)

    @contextlib.contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Open Dagster's instance, as the site's processes do."""
        before = dict(os.environ)
        os.environ.update(self.variables)
        try:
            with dg.DagsterInstance.get() as instance:
                yield instance
        finally:
            os.environ.clear()
            os.environ.update(before)

    def processes(self) -> dict[int, str]:
        """Return process id → kind: daemon, code server, run worker or PostgreSQL."""
        found = {}
        mine = f"CANVAS_SYNC_HOME={self.home}\0".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if f"{self.home}/postgres" in command:
                    found[int(entry.name)] = "PostgreSQL"
                elif mine in (entry / "environ").read_bytes() and "resource_tracker" not in command:
                    found[int(entry.name)] = kind_of(command)
        return found


def kind_of(command: str) -> str:
    kinds = {"dagster-daemon": "daemon", "api grpc": "code server", "code-server": "code server"}
    return next((kind for part, kind in kinds.items() if part in command), "run worker")


@contextlib.contextmanager
def site(canvas: SimulatedCanvas, number: int) -> Iterator[Site]:
    """Make a site with so many tenants, whose tables exist."""
    home = Path(tempfile.mkdtemp(prefix=f"canvas_sync_tenants_{number}_"))
    shutil.copy(ROOT / "dagster.yaml", home)
    slugs = [f"tenant_{each:03}" for each in range(number)]
    tenant = {"base_url": canvas.base_url, "token": canvas.token}
    # Connections are what is measured: a limit would hide how many there would be.
    server.OPTIONS["max_connections"] = "600"
    with EmbeddedPostgres(home / "postgres") as postgres:
        url = postgres.database(WAREHOUSE)
        content = {"tenants": {slug: {**tenant, "database_url": url} for slug in slugs}}
        (home / "canvas_sync.yaml").write_text(yaml.safe_dump(content))
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_", "DAGSTER_"))},
            "DAGSTER_HOME": str(home),
            "CANVAS_SYNC_HOME": str(home),
            "CANVAS_SYNC_CONFIG": str(home / "canvas_sync.yaml"),
            "CANVAS_SYNC_DAGSTER_DATABASE_URL": postgres.database(STORAGE),
        }
        made = Site(home, slugs, postgres, variables)
        print(f"{number} tenants: tables made in {made.call('canvas-sync', 'migrate'):.0f} s", flush=True)
        yield made
    shutil.rmtree(home, ignore_errors=True)


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds of a process and of its children that have ended."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS_PER_SECOND
    return 0.0


def memory_mb(process: int) -> float:
    """Return the resident memory of a process in MB."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


@dataclass(slots=True)
class Usage:
    """What the processes of a site used in some time.

    Attributes:
        seconds: The time.
        cpu: Kind of process → CPU seconds.
        memory: Kind of process → MB at the end.
        connections: Database → connections at each look.
    """

    seconds: float
    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    memory: Counter[str] = field(default_factory=Counter)
    connections: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


def watch(made: Site, seconds: float) -> Usage:
    """Measure a site that is left alone."""
    before = {process: cpu_seconds(process) for process in made.processes()}
    start, usage = time.monotonic(), Usage(seconds)
    with psycopg.connect(made.server.url("postgres"), autocommit=True) as connection:
        while time.monotonic() - start < seconds:
            query = "select datname, count(*) from pg_stat_activity where datname is not null group by 1"
            counts = {str(name): int(count) for name, count in connection.execute(query).fetchall()}
            for name in (WAREHOUSE, STORAGE):
                usage.connections[name].append(counts.get(name, 0))
            time.sleep(0.25)
    usage.seconds = time.monotonic() - start
    for process, kind in made.processes().items():
        # A process of PostgreSQL that has ended is in the postmaster's sum already.
        new = process not in before and kind == "PostgreSQL"
        usage.cpu[kind] += 0 if new else cpu_seconds(process) - before.get(process, 0)
        usage.memory[kind] += round(memory_mb(process))
    return usage


def tick_gaps(made: Site, since: float) -> list[float]:
    """Return the seconds between the starts of two ticks of each sensor of live events, sorted."""
    gaps: list[float] = []
    with made.instance() as instance:
        for state in instance.all_instigator_state():
            if state.instigator_name.endswith("live_events"):
                ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since)
                moments = sorted(tick.timestamp for tick in ticks)
                gaps += [later - earlier for earlier, later in itertools.pairwise(moments)]
    return sorted(gaps)


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def await_ticks(made: Site) -> None:
    """Wait until the sensor of live events has evaluated each tenant twice."""
    start = time.monotonic()
    while time.monotonic() - start < PATIENCE:
        with made.instance() as instance:
            names = [
                state for state in instance.all_instigator_state() if state.instigator_name.endswith("live_events")
            ]
            counts = [len(instance.get_ticks(each.instigator_origin_id, each.selector_id, limit=3)) for each in names]
        if counts and len(counts) in {1, len(made.slugs)} and min(counts) >= 3:
            print(f"  ticking after {time.monotonic() - start:.0f} s", flush=True)
            return
        time.sleep(5)
    sys.exit("the sensors do not tick:\n" + (made.home / "daemon.log").read_text()[-3000:])


def insert(connection: psycopg.Connection[tuple[object, ...]], slug: str, number: int) -> None:
    """Store an event whose body suffices, as a receiver does."""
    body = {"group_id": global_id(10_000), "user_id": global_id(1_000_000 + number), "group_name": "Team",
            "group_membership_id": global_id(number + 1), "workflow_state": "accepted"}  # fmt: skip
    now = datetime.now(UTC)
    made = event("group_membership_created", body, now)
    table = sql.Identifier(slug, "canvas_sync_live_events")
    query = sql.SQL(
        "insert into {} (event_name, event_time, content_hash, payload) values ('group_membership_created', %s, %s, %s)"
    )
    connection.execute(query.format(table), (now, os.urandom(16), Jsonb(made)))


def latencies(made: Site, number: int, per_second: float) -> list[float]:
    """Insert events of random tenants, and return the seconds until each was applied, sorted."""
    dice, used = random.Random(14), set()
    with psycopg.connect(made.warehouse, autocommit=True) as connection:
        for each in range(number):
            slug = dice.choice(made.slugs)
            used.add(slug)
            insert(connection, slug, each)
            time.sleep(dice.expovariate(per_second))
        deadline = time.monotonic() + 180
        while waiting(connection, used) and time.monotonic() < deadline:
            time.sleep(1)
        if left := waiting(connection, used):
            print(f"  {left} events are not applied")
        found: list[float] = []
        for slug in used:
            query = "select extract(epoch from applied_at - received_at) from {} where state = 'applied'"
            rows = connection.execute(sql.SQL(query).format(sql.Identifier(slug, "canvas_sync_live_events"))).fetchall()
            found += [float(str(seconds)) for (seconds,) in rows]
    return sorted(found)


def waiting(connection: psycopg.Connection[tuple[object, ...]], slugs: set[str]) -> int:
    query = "select count(*) from {} where state <> 'applied'"
    tables = [sql.Identifier(slug, "canvas_sync_live_events") for slug in slugs]
    return sum(int(str((connection.execute(sql.SQL(query).format(each)).fetchone() or (0,))[0])) for each in tables)


def tell(usage: Usage, gaps: Sequence[float]) -> None:
    share = {kind: 100 * seconds / usage.seconds for kind, seconds in usage.cpu.items()}
    ours = share.get("daemon", 0) + share.get("code server", 0)
    print(f"  idle CPU, % of one core: daemon and code server {ours:.1f} ("
          + ", ".join(f"{kind} {value:.1f}" for kind, value in sorted(share.items())) + ")")  # fmt: skip
    print("  memory, MB: " + ", ".join(f"{kind} {value}" for kind, value in sorted(usage.memory.items())))
    for name, counts in usage.connections.items():
        print(f"  connections to {name}: mean {statistics.mean(counts):.1f}, highest {max(counts)}")
    print(f"  seconds between ticks: median {quantile(gaps, 0.5):.1f}, p95 {quantile(gaps, 0.95):.1f}, "
          f"longest {max(gaps, default=float('nan')):.1f}")  # fmt: skip


def idle(canvas: SimulatedCanvas, number: int, seconds: float, events: int) -> None:
    """Measure a site with so many tenants: idle cost, then the latency of events."""
    with site(canvas, number) as made, made.daemon():
        await_ticks(made)
        time.sleep(20)
        since = time.time()
        usage = watch(made, seconds)
        tell(usage, tick_gaps(made, since))
        found = latencies(made, events, per_second=1.0)
        print(f"  event → applied, s: median {quantile(found, 0.5):.1f}, p95 {quantile(found, 0.95):.1f}, "
              f"longest {found[-1] if found else float('nan'):.1f}; {len(found)} events", flush=True)  # fmt: skip


def main() -> None:
    """Measure each number of tenants that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tenants", type=int, nargs="*", default=[1, 10, 100], help="numbers of tenants")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the idle measurement")
    parser.add_argument("--events", type=int, default=100, help="events of random tenants, one a second")
    given = parser.parse_args()
    with SimulatedCanvas(compile_seconds=0.1).serve() as canvas:
        for number in given.tenants:
            idle(canvas, number, given.seconds, given.events)


if __name__ == "__main__":
    main()
