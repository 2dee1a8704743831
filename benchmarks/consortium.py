"""What a consortium costs: eleven Canvases, one code location, one PostgreSQL, as a deployment runs them.

The whole consortium has 1.3 M users, 450 k courses and 4.5 M enrollments, of which 3 M are active. A share of it is
measured in phases: a full sync, incremental syncs after 1 % of the rows changed, signed live events at a constant rate,
and a minute without work. Code server, daemon, webserver, receiver, runs, PostgreSQL and the Canvases are
processes of their own, whose CPU is counted separately. With several shares, the law of each phase (fixed cost + cost per
row) is printed, and what it means for the whole.

    ./run python benchmarks/consortium.py [--share 0.1] [--share 1] [--incrementals 3] [--seconds 60] [--json FILE]

The whole takes seven minutes on two free cores, with one incremental sync and half a minute of events.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import psycopg
import yaml
from canvases import TERM, Canvases, canvases
from processes import MemoryWatch, Processes
from psycopg import sql

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.live_events.receiver import PATH

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
WAREHOUSE, STORAGE = "warehouse", "dagster"
MODELS = "terms,accounts,users,pseudonyms,courses,sections,enrollments"
CHANGED = 0.01
PATIENCE = 3600
IDLE_SECONDS = 60.0
LAUNCH = """
mutation Launch($job: String!, $repository: String!, $location: String!) {
  launchRun(executionParams: {
    selector: {jobName: $job, repositoryName: $repository, repositoryLocationName: $location}, runConfigData: "{}"
  }) { __typename ... on PythonError { message } ... on InvalidSubsetError { message } }
}
"""
REPOSITORIES = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"


@dataclass(frozen=True, slots=True)
class Phase:
    """What a phase cost.

    Attributes:
        name: Of the phase.
        wall: Seconds.
        cpu: Kind of process → CPU seconds.
        largest: Kind of process → peak of one process in MB.
        together: Kind of process → highest sum of its processes in MB.
        memory: The highest sum of all processes but the Canvases, in MB.
        connections: Database → the most connections that were seen at one time.
        requests: Requests to all Canvases.
        wal: Bytes of WAL.
        warehouse: Bytes by which the warehouse grew.
        storage: Bytes by which Dagster's storage grew.
        runs: Number of runs.
        rows: Number of rows in the reports, or of events.
        notes: What else was seen.
    """

    name: str
    wall: float
    cpu: dict[str, float]
    largest: dict[str, float]
    together: dict[str, float]
    memory: float
    connections: dict[str, int]
    requests: int
    wal: int
    warehouse: int
    storage: int
    runs: int
    rows: int
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def work(self) -> float:
        """CPU seconds of all processes but the Canvases."""
        return sum(seconds for kind, seconds in self.cpu.items() if kind != "Canvases")


class Deployment:
    """A running deployment of all tenants."""

    def __init__(self, home: Path, served: Canvases, server: EmbeddedPostgres, models: str) -> None:
        self.home, self.served, self._server = home, served, server
        self.slugs = [f"campus_{number:02}" for number in range(1, len(served.addresses) + 1)]
        self.warehouse = server.database(WAREHOUSE)
        self.storage = server.database(STORAGE)
        shutil.copy(ROOT / "dagster.yaml", home)
        shared = {
            "token": served.token,
            "database_url": self.warehouse,
            "models": models.split(","),
            "term_scope": [str(TERM)],
            "full_sync_every": "60 days",
            "schedule": "0 0 1 1 *",
            "sync_new_terms": False,
            "poll_seconds": 1,
        }
        tenants = {slug: {"base_url": url, **shared} for slug, url in zip(self.slugs, served.addresses, strict=True)}
        (home / "canvas_sync.yaml").write_text(json.dumps({"tenants": tenants}), encoding="utf-8")
        self.variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_", "DAGSTER_"))},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "DAGSTER_HOME": str(home),
            "CANVAS_SYNC_HOME": str(home),
            "CANVAS_SYNC_CONFIG": str(home / "canvas_sync.yaml"),
            "CANVAS_SYNC_DAGSTER_DATABASE_URL": self.storage,
            "DATASERVICES_JWK_URL": served.jwk_url,
        }
        self.processes = Processes({"Canvases": served.process}, {"code server": "run workers"})
        self.connections: dict[str, int] = {}
        self._ended: dict[str, float] = defaultdict(float)
        self._batches = 0

    def migrate(self) -> None:
        """Create the tables of all tenants, and count PostgreSQL from now on."""
        self._command("canvas-sync", "migrate")
        with psycopg.connect(self.warehouse) as connection:
            (data,) = connection.execute("show data_directory").fetchone() or ("",)
        first_line = (Path(data) / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
        self.processes.add("PostgreSQL", int(first_line))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run code server, daemon and webserver, and wait until they answer."""
        code, self._web = free_port(), free_port()
        workspace = {"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": code, "location_name": "consortium"}}]}
        (self.home / "workspace.yaml").write_text(yaml.safe_dump(workspace), encoding="utf-8")
        at_code = ("-h", "127.0.0.1", "-p", str(code), "-m", "canvas_sync_dagster.definitions")
        with self.process("code server", "dagster", "api", "grpc", *at_code):
            _await_port(code)
            with (
                self.process("daemon", "dagster-daemon", "run"),
                self.process("webserver", "dagster-webserver", "-h", "127.0.0.1", "-p", str(self._web), "-w", "workspace.yaml"),
            ):  # fmt: skip
                _await_port(self._web)
                yield

    @contextlib.contextmanager
    def process(self, kind: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program until the end of the body, and count its CPU and memory."""
        with (self.home / f"{kind}.log").open("w") as log:
            process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]], env=self.variables, cwd=self.home, stdout=log, stderr=log
            )
        self.processes.add(kind, process.pid)
        try:
            yield process
        finally:
            process.terminate()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.processes.remove(kind)
            self._ended[kind] += used.ru_utime + used.ru_stime

    def _command(self, *arguments: str) -> None:
        done = subprocess.run(arguments, env=self.variables, cwd=self.home, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")

    def launch(self, suffix: str) -> None:
        """Launch a job of every tenant, as the button in the UI does."""
        nodes = self._graphql(REPOSITORIES)["repositoriesOrError"]["nodes"]
        repository, location = nodes[0]["name"], nodes[0]["location"]["name"]
        for slug in self.slugs:
            given = {"job": f"{slug}{suffix}", "repository": repository, "location": location}
            answer = self._graphql(LAUNCH, given)["launchRun"]
            if answer["__typename"] != "LaunchRunSuccess":
                sys.exit(f"{slug}{suffix} was not launched: {answer}")

    def _graphql(self, query: str, variables: dict[str, str] | None = None) -> Any:
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._web}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 (an address of this machine)
            found = json.load(answer)
        if "errors" in found:
            sys.exit(f"the webserver answers {found['errors']}")
        return found["data"]

    def sync(self) -> None:
        """Sync all tenants, and wait until each batch is closed and no run is under way."""
        self.launch("__sync_root")
        self._batches += 1
        query = "select count(*) from {} where status <> 'processing'"
        self._await(lambda: self.sums(query, "canvas_sync_sync_batches") == self._batches * len(self.slugs))
        self._await(self.quiet)

    def cpu(self) -> dict[str, float]:
        """Return kind → CPU seconds so far, of processes that have ended, too."""
        alive = self.processes.cpu()
        return {kind: alive.get(kind, 0.0) + self._ended.get(kind, 0.0) for kind in alive.keys() | self._ended.keys()}

    def quiet(self) -> bool:
        """Return whether no run waits or is under way."""
        return not self.query(
            self.storage, "select count(*) from runs where status not in ('SUCCESS', 'FAILURE', 'CANCELED')"
        )

    def _await(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline:
                sys.exit(f"not done in {PATIENCE} s; the logs are in {self.home}")
            time.sleep(0.5)

    def events(self, rate: float) -> dict[str, Any]:
        """Deliver signed events to the receiver, and wait until all are applied or dead."""
        port = free_port()
        with self.process("receiver", "canvas-sync", "live-events", "--port", str(port)):
            _await_port(port)
            delivered = self.served.ask("deliver", port, PATH, self.slugs, rate)
            start = time.monotonic()
            left = self.sums("select count(*) from {} where state = 'pending'", "canvas_sync_live_events")
            self._await(
                lambda: not self.sums("select count(*) from {} where state = 'pending'", "canvas_sync_live_events")
            )
            # The runs that the sensor has requested for the backlog belong to the cost of the events.
            self._await(self.quiet)
            states: dict[str, int] = {}
            for slug in self.slugs:
                for state, count in self.rows(
                    slug, "select state, count(*) from {} group by 1", "canvas_sync_live_events"
                ):
                    states[str(state)] = states.get(str(state), 0) + int(str(count))
        return {**delivered, "waiting at the end": left, "applied after seconds": time.monotonic() - start, **states}

    def rows(self, slug: str, query: str, table: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.warehouse) as connection:
            return connection.execute(sql.SQL(query).format(sql.Identifier(slug, table))).fetchall()

    def sums(self, query: str, table: str) -> int:
        """Return the sum of a number over all tenants."""
        return sum(int(self.rows(slug, query, table)[0][0] or 0) for slug in self.slugs)

    @staticmethod
    def query(url: str, query: str) -> int:
        with psycopg.connect(url) as connection:
            row = connection.execute(query.encode()).fetchone()
        return int(row[0] or 0) if row else 0

    def _count_connections(self) -> None:
        query = "select datname, count(*) from pg_stat_activity where datname is not null and pid <> pg_backend_pid() group by 1"
        with contextlib.suppress(psycopg.Error), psycopg.connect(self._server.url("postgres")) as connection:
            for name, number in connection.execute(query).fetchall():
                self.connections[str(name)] = max(self.connections.get(str(name), 0), int(number))

    def measured(self, name: str, rows: int, work: Callable[[], dict[str, Any] | None]) -> Phase:
        """Do a phase, and return what it cost."""
        self.connections.clear()
        self.served.ask("requests")
        before, cpu, start = self._position(), self.cpu(), time.monotonic()
        with MemoryWatch(self.processes, self._count_connections, leave_out={"Canvases"}) as watched:
            notes = work() or {}
        wall, after = time.monotonic() - start, self.cpu()
        wal, warehouse, storage, runs = (new - old for new, old in zip(self._position(), before, strict=True))
        used = {kind: max(0.0, seconds - cpu.get(kind, 0.0)) for kind, seconds in after.items()}
        phase = Phase(name, wall, used, dict(watched.largest), dict(watched.together), watched.total,
                      dict(self.connections), self.served.ask("requests"), wal, warehouse, storage, runs, rows, notes)  # fmt: skip
        tell(phase)
        return phase

    def _position(self) -> tuple[int, int, int, int]:
        return (
            self.query(self.storage, "select (pg_current_wal_insert_lsn() - '0/0')::bigint"),
            self.query(self.storage, f"select pg_database_size('{WAREHOUSE}')"),
            self.query(self.storage, f"select pg_database_size('{STORAGE}')"),
            self.query(self.storage, "select count(*) from runs"),
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    sys.exit(f"nothing listens on port {port}")


def tell(phase: Phase) -> None:
    """Print a phase."""
    megabytes = 2**20
    print(
        f"{phase.name}: {phase.wall:.0f} s, {phase.work:.0f} CPU s ("
        + ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in sorted(phase.cpu.items()))
        + f"), {phase.rows:,} rows, {phase.runs} runs, {phase.requests} requests\n"
        f"  {phase.memory:.0f} MB in all; largest process: "
        + ", ".join(f"{kind} {peak:.0f}" for kind, peak in sorted(phase.largest.items()))
        + "; together: "
        + ", ".join(f"{kind} {peak:.0f}" for kind, peak in sorted(phase.together.items()))
        + f"\n  WAL {phase.wal / megabytes:.0f} MB, warehouse +{phase.warehouse / megabytes:.0f} MB, "
        f"Dagster's storage +{phase.storage / megabytes:.1f} MB, connections {phase.connections}"
        + (f"\n  {phase.notes}" if phase.notes else ""),
        flush=True,
    )


def measure(share: float, incrementals: int, seconds: float, rate: float, models: str) -> list[Phase]:
    """Measure all phases of a share of the consortium."""
    phases: list[Phase] = []
    with tempfile.TemporaryDirectory(prefix="canvas_sync_consortium_") as directory, contextlib.ExitStack() as stack:
        home = Path(directory)
        served = stack.enter_context(canvases(share))
        server = stack.enter_context(EmbeddedPostgres(home / "postgres"))
        made = Deployment(home, served, server, models)
        print(f"share {share}: {served.rows}", flush=True)
        made.migrate()
        stack.enter_context(made.running())
        phases.append(made.measured("full sync", sum(served.rows.values()), made.sync))
        for number in range(1, incrementals + 1):
            changed = served.ask("change", CHANGED)
            phases.append(made.measured(f"incremental sync {number}", changed, made.sync))
        if seconds:
            signed = served.ask("sign_events", round(rate * seconds))
            phases.append(made.measured("live events", signed, lambda: made.events(rate)))
        phases.append(made.measured("idle", 0, lambda: time.sleep(IDLE_SECONDS)))
    return phases


def laws(found: Mapping[float, Sequence[Phase]]) -> list[str]:
    """Return the line through the measurements of each phase: what it costs in any case, and per share.

    Args:
        found: Share → its phases.
    """
    lines = []
    for name in ("full sync", "incremental sync", "live events"):
        points = [(share, each) for share, phases in found.items() for each in phases if each.name.startswith(name)]
        if len({share for share, _ in points}) < 2:
            continue
        shares = [share for share, _ in points]
        for measure, unit in (
            ("work", "CPU s"),
            ("wal", "MB of WAL"),
            ("warehouse", "MB of warehouse"),
            ("requests", "requests"),
        ):
            scale = 2**20 if unit.startswith("MB") else 1
            per_share, fixed = statistics.linear_regression(
                shares, [getattr(each, measure) / scale for _, each in points]
            )
            lines.append(f"{name}: {fixed:.1f} + {per_share:.1f} × share {unit}; the whole: {fixed + per_share:,.0f}")
    return lines


@click.command(help=__doc__)
@click.option(
    "--share", "shares", type=float, multiple=True, default=[0.1], show_default=True, help="Of the consortium."
)
@click.option("--incrementals", default=3, show_default=True, help="Incremental syncs.")
@click.option("--seconds", default=60.0, show_default=True, help="Duration of the live events.")
@click.option("--rate", default=200.0, show_default=True, help="Live events per second.")
@click.option("--models", default=MODELS, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="File for the measurements.")
def main(
    *,
    shares: Sequence[float],
    incrementals: int,
    seconds: float,
    rate: float,
    models: str,
    file: Path | None,
) -> None:
    """Measure the shares, and print the laws."""
    found: dict[float, list[Phase]] = {}
    for share in shares:
        found[share] = measure(share, incrementals, seconds, rate, models)
        if file:
            text = json.dumps({share: [asdict(each) for each in phases] for share, phases in found.items()})
            file.write_text(text, encoding="utf-8")
    print("\n".join(laws(found)))


if __name__ == "__main__":
    main()
