"""The whole way, from HTTP to tables: this project, dlt, and a minimal REST extractor, on one simulated Canvas.

Each contender is a process of its own with a database of its own, and fills the same seven tables: those that all of
them can read at reasonable cost, from the account's lists to the submissions, which are most of the rows. They run in
turns in four phases: a first sync, a repeat without changes, a repeat after a day at the university, and, for this
project only, a full sync: the others read everything each time.

`reports` syncs with `canvas-sync sync` and all reports; `stock` has only the report that every Canvas has, and walks
over REST for assignments and submissions; `lean` is `reports` without Dagster, to show what Dagster costs. `minimal` and
`dlt` are the scripts in `peers/`. After each phase their tables are compared with the university.

    ./run python benchmarks/whole_way.py [--scale 0.1] [--rounds 1] [--latency 0.1] [--peers-python /tmp/peers/bin/python]

dlt takes part with `--peers-python`: a Python with `dlt[postgres]`, made outside of this repository. The simulated
Canvas has no rate limit here; at a cost of 0.5 per request, Canvas's own allows 20 requests per second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import psycopg
from pydantic import SecretStr

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SIZES, Bucket, SimulatedCanvas, Size
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.model_sync import sync_models
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.report_request import report_groups, rest_models
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import open_session
from canvas_sync_dagster.sync.terms import read_terms
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.schema.migrate import migrate

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"
PHASES = ("first", "unchanged", "a day later", "full")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MODELS = ("terms", "users", "courses", "sections", "enrollments", "assignments", "submissions")
OURS = {
    "terms": "select canvas_id, name from canvas.terms where workflow_state <> 'deleted' and missing_since is null",
    "users": "select canvas_id, name from canvas.users where workflow_state <> 'deleted' and missing_since is null",
    "courses": "select canvas_id, name from canvas.courses where workflow_state <> 'deleted' and missing_since is null",
    "sections": "select s.canvas_id, s.name || ' in ' || s.canvas_course_id from canvas.sections s "
    "join canvas.courses c on c.canvas_id = s.canvas_course_id "
    "where 'deleted' not in (s.workflow_state, c.workflow_state) and s.missing_since is null and c.missing_since is null",
    "enrollments": "select e.canvas_id, e.canvas_user_id || ' in ' || e.canvas_section_id || ' ' || e.workflow_state "
    "from canvas.enrollments e join canvas.courses c on c.canvas_id = e.canvas_course_id "
    "where e.workflow_state not in ('deleted', 'rejected') and c.workflow_state <> 'deleted' "
    "and e.missing_since is null and c.missing_since is null",
    "assignments": "select a.canvas_id, a.title from canvas.assignments a "
    "join canvas.courses c on c.canvas_id = a.canvas_context_id where 'deleted' not in (a.workflow_state, "
    "c.workflow_state) and a.missing_since is null and c.missing_since is null",
    "submissions": "select s.canvas_id, s.workflow_state || ' ' || coalesce(s.score::float8::text, '') "
    "from canvas.submissions s join canvas.courses c on c.canvas_id = s.canvas_course_id "
    "where 'deleted' not in (s.workflow_state, c.workflow_state) and s.missing_since is null "
    "and c.missing_since is null",
}
"""Model → SQL of the rows that count as present, each as key and text of its values, in this project's tables."""
STATES = "case {} when 'completed' then 'concluded' when 'creation_pending' then 'invited' else {} end"
THEIRS = {
    "terms": "select id, name from canvas.terms where workflow_state <> 'deleted'",
    "users": "select id, name from canvas.users",
    "courses": "select id, name from canvas.courses",
    "sections": "select id, name || ' in ' || course_id from canvas.sections",
    "enrollments": "select id, user_id || ' in ' || course_section_id || ' ' || "
    f"{STATES.format('enrollment_state', 'enrollment_state')} from canvas.enrollments "
    "where enrollment_state not in ('deleted', 'rejected')",
    "assignments": "select id, name from canvas.assignments",
    "submissions": "select id, workflow_state || ' ' || coalesce(score::float8::text, '') from canvas.submissions",
}
"""The same for tables with the fields of the API."""

Rows = dict[int, str]


def truth(canvas: SimulatedCanvas) -> dict[str, Rows]:
    """Return what the university has now: model → key → text of the values."""
    u, deleted = canvas.university, pl.col("state") == "deleted"
    courses = u.courses.filter(~deleted)
    sections = u.sections.filter(~deleted).join(courses.select(course_id="id"), on="course_id", how="semi")
    state = pl.col("state").replace({"completed": "concluded", "creation_pending": "invited"})
    enrollments = u.enrollments.filter(~pl.col("state").is_in(["deleted", "rejected"])).join(
        sections.select(section_id="id"), on="section_id", how="semi"
    )
    submissions = u.submissions().join(courses.select(course_id="id"), on="course_id", how="semi")
    score = pl.col("score").map_elements(lambda value: f"{value:g}", return_dtype=pl.String).fill_null("")
    texts = {
        "terms": (u.terms.filter(~deleted), pl.col("name")),
        "users": (u.users, pl.concat_str("first_name", "last_name", separator=" ").str.strip_chars()),
        "courses": (courses, pl.col("name")),
        "sections": (sections, pl.format("{} in {}", "name", "course_id")),
        "enrollments": (enrollments, pl.format("{} in {} {}", "user_id", "section_id", state)),
        "assignments": (
            u.assignments.filter(~deleted).join(courses.select(course_id="id"), on="course_id", how="semi"),
            pl.col("title"),
        ),
        "submissions": (submissions, pl.format("{} {}", "state", score)),
    }
    return {name: dict(frame.select("id", text.alias("text")).rows()) for name, (frame, text) in texts.items()}


def pass_day(canvas: SimulatedCanvas) -> None:
    """Let a day pass, and change about one row in a hundred besides; a few are deleted.

    The day itself changes 1 % of the enrollments and adds as many, and the state of submissions that are due.
    """
    canvas.advance(days=1)
    u = canvas.university
    u.set("users", pl.col("id") % 100 == 7, last_name="Renamed")
    u.set("assignments", pl.col("id") % 97 == 5, title="Essay, revised")
    u.set("courses", (pl.col("id") % 100 == 11) & (pl.col("state") != "deleted"), name="Course, renamed")
    u.set("courses", pl.col("id") % 200 == 13, state="deleted")
    u.set("sections", pl.col("id") % 200 == 17, state="deleted")
    u.set("enrollments", pl.col("id") % 500 == 19, state="deleted")


def _serve(size: Size, latency: float, pipe: Connection) -> None:
    canvas = SimulatedCanvas(size, latency=latency, compile_seconds=0.2, bucket=Bucket(cost=0, up_front=0))
    with canvas.serve():
        pipe.send((canvas.base_url, canvas.token))
        while (order := pipe.recv()) != "stop":
            if order == "pass a day":
                pass_day(canvas)
            pipe.send(canvas.request_count if order == "count" else truth(canvas))


@dataclass
class Served:
    """A simulated Canvas in a process of its own."""

    process: multiprocessing.process.BaseProcess
    pipe: Connection
    url: str
    token: str

    def ask(self, order: str) -> Any:
        """Return the answer to `count` (requests so far), `truth`, or `pass a day` (the truth after it)."""
        self.pipe.send(order)
        return self.pipe.recv()


@contextlib.contextmanager
def serving(size: Size, latency: float) -> Iterator[Served]:
    """Serve a simulated Canvas."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(size, latency, theirs), daemon=True)
    process.start()
    try:
        yield Served(process, mine, *mine.recv())
    finally:
        process.terminate()
        process.join()


@dataclass(frozen=True, slots=True)
class Contender:
    """Who syncs.

    Attributes:
        name: For people; also the name of the database.
        command: What is run.
        rows: Model → SQL of its rows.
        environment: Variables besides those of the Canvas and the database.
        full: What is appended to the command for a full sync; empty if every sync is one.
    """

    name: str
    command: Sequence[str]
    rows: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    full: Sequence[str] = ()


def contenders(peers_python: str | None) -> list[Contender]:
    """Return all contenders; dlt only if a Python has it."""
    sync = [str(Path(sys.executable).parent / "canvas-sync"), "sync", "--json"]
    stock = {
        "CANVAS_SYNC_PROVISIONING_REPORT": "provisioning_csv",
        "CANVAS_SYNC_FEEDS": '{"assignments": "rest", "submissions": "rest"}',
    }
    found = [
        Contender("reports", sync, OURS, full=["--full"]),
        Contender("stock", sync, OURS, stock, full=["--full"]),
        Contender("lean", [sys.executable, __file__, "--lean"], OURS, full=["--full"]),
        Contender("minimal", [sys.executable, str(PEERS / "minimal_rest.py")], THEIRS),
    ]
    if peers_python:
        found.append(Contender("dlt", [peers_python, str(PEERS / "dlt_rest.py")], THEIRS))
    return found


def lean(*, full: bool) -> None:
    """Sync everything of the environment's tenant without Dagster, as the steps of a run do."""
    tenant = TenantSettings(
        base_url=os.environ["CANVAS_URL"],
        token=SecretStr(os.environ["CANVAS_TOKEN"]),
        database_url=SecretStr(os.environ["DATABASE_URL"]),
        models=MODELS,
        term_scope="all",
        poll_seconds=0.5,
    )
    options = SyncOptions(mode="full" if full else "auto")
    with open_session(Settings(home=Path.cwd(), tenants=(tenant,)), tenant, BUILT_IN) as session:
        for model in rest_models(session.models):
            if not model.term_scoped:
                sync_list(Flow.of(session, options), model)
        with session.warehouse("reading terms") as warehouse:
            terms = [term.id for term in read_terms(warehouse.table(warehouse.models["terms"])) if not term.deleted]
        for group in report_groups(session.models):
            for scope in terms if group.term_scoped else [""]:
                list(sync_models(Flow.of(session, options, scope), group, {model.name for model in group.models}))


@dataclass
class Cost:
    """What one sync took: seconds, CPU seconds of three sides, megabytes, and counts."""

    wall: float
    client: float
    postgres: float
    canvas: float
    peak: float
    wal: float
    requests: int
    rows: int


def run(contender: Contender, url: str, admin: str, canvas: Served, home: Path, *, full: bool) -> Cost:
    """Run a contender once and measure it.

    Raises:
        SystemExit: It failed; its output is the message.
    """
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home)
    ours = {
        "DAGSTER_HOME": str(home),
        "CANVAS_SYNC_HOME": str(home),
        "CANVAS_SYNC_BASE_URL": canvas.url,
        "CANVAS_SYNC_TOKEN": canvas.token,
        "CANVAS_SYNC_DATABASE_URL": url,
        "CANVAS_SYNC_DAGSTER_DATABASE_URL": f"{url.replace('/' + contender.name, f'/{contender.name}_dagster')}",
        "CANVAS_SYNC_MODELS": ",".join(MODELS),
        "CANVAS_SYNC_TERM_SCOPE": "all",
        "CANVAS_SYNC_POLL_SECONDS": "0.5",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_", "DAGSTER_"))}
    theirs = {"CANVAS_URL": canvas.url, "CANVAS_TOKEN": canvas.token, "DATABASE_URL": url}
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("checkpoint")
        (directory,) = connection.execute("show data_directory").fetchone() or ("",)
        postmaster = int((Path(directory) / "postmaster.pid").read_text().splitlines()[0])
        before = (server_cpu(postmaster), cpu(canvas.process.pid or 0), wal(connection), canvas.ask("count"))
        written = rows_written(url)
        start = time.perf_counter()
        with (home / "log").open("w+") as log:
            command = [*contender.command, *(contender.full if full else ())]
            environment = {**inherited, **ours, **theirs, **contender.environment}
            process = subprocess.Popen(
                command, env=environment, cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            peak = Peak(process.pid)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = status
            wall = time.perf_counter() - start
            if status:
                log.seek(0)
                sys.exit(f"{contender.name} failed:\n{log.read()[-4000:]}")
        after = (server_cpu(postmaster), cpu(canvas.process.pid or 0), wal(connection), canvas.ask("count"))
    server, simulator, logged, requests = (new - old for new, old in zip(after, before, strict=True))
    return Cost(
        wall=wall,
        client=used.ru_utime + used.ru_stime,
        postgres=server,
        canvas=simulator,
        peak=peak.stop(),
        wal=logged / 1e6,
        requests=requests,
        rows=rows_written(url) - written,
    )


class Peak:
    """The most memory that the processes of a session had together, in MB; shared pages count once."""

    def __init__(self, session: int) -> None:
        self._session, self._most, self._done = session, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Stop measuring and return the peak."""
        self._done.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            kilobytes = 0
            for entry in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    if int(stat(entry)[3]) == self._session:
                        lines = (entry / "smaps_rollup").read_text().splitlines()
                        kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            self._most = max(self._most, kilobytes / 1e3)


def stat(entry: Path) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name: state, parent, process group, session, …"""
    return (entry / "stat").read_text().rpartition(")")[2].split()


def cpu(pid: int, *, with_ended: bool = False) -> float:
    """Return the CPU seconds of a process, and on request of its children that have ended."""
    fields = stat(Path("/proc") / str(pid))
    return sum(int(each) for each in fields[11 : 15 if with_ended else 13]) / TICKS_PER_SECOND


def server_cpu(postmaster: int) -> float:
    """Return the CPU seconds of a PostgreSQL server, with its backends."""
    total = cpu(postmaster, with_ended=True)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(stat(entry)[1]) == postmaster:
                total += cpu(int(entry.name))
    return total


def wal(connection: psycopg.Connection) -> int:
    """Return how many bytes of WAL the server has ever written."""
    row = connection.execute("select (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    return int(row[0]) if row else 0


def rows_written(url: str) -> int:
    """Return how often a row of the seven tables was inserted, updated or deleted so far."""
    query = (
        "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) from pg_stat_user_tables "
        "where schemaname = 'canvas' and relname = any(%s)"
    )
    with psycopg.connect(url) as connection:
        row = connection.execute(query, (list(MODELS),)).fetchone()
    return int(row[0]) if row else 0


def faults(contender: Contender, url: str, true: Mapping[str, Rows]) -> dict[str, tuple[int, int, int]]:
    """Return how many rows of each model are missing, extra and wrong."""
    found = {}
    with psycopg.connect(url) as connection:
        for model, query in contender.rows.items():
            held: Rows = dict(connection.execute(query).fetchall())
            real = true[model]
            wrong = len([key for key, text in held.items() if key in real and real[key] != text])
            found[model] = (len(real.keys() - held.keys()), len(held.keys() - real.keys()), wrong)
    return found


def measure(
    server: EmbeddedPostgres,
    chosen: Sequence[Contender],
    phases: Sequence[str],
    size: Size,
    latency: float,
    directory: Path,
) -> dict[tuple[str, str], tuple[Cost, dict[str, tuple[int, int, int]]]]:
    """Run all contenders through the phases once: (phase, contender) → cost and faults."""
    found = {}
    admin = server.url("postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        # Autovacuum would work for one contender while another is measured.
        connection.execute("alter system set autovacuum = off")
        connection.execute("select pg_reload_conf()")
    with serving(size, latency) as canvas:
        for contender in chosen:
            for name in (contender.name, f"{contender.name}_dagster"):
                with psycopg.connect(admin, autocommit=True) as connection:
                    connection.execute(f"drop database if exists {name} with (force)")
                server.database(name)
            shutil.rmtree(directory / contender.name, ignore_errors=True)
            if contender.rows is OURS:
                migrate(server.url(contender.name), "canvas", BUILT_IN)
        for phase in phases:
            true = canvas.ask("pass a day" if phase == "a day later" else "truth")
            for contender in chosen:
                if phase == "full" and not contender.full:
                    continue
                # libpq takes the socket from the query; dlt refuses a URL without host and password.
                url = server.url(contender.name).replace("canvas_sync@/", "canvas_sync:none@localhost/")
                home = directory / contender.name
                cost = run(contender, url, admin, canvas, home, full=phase == "full")
                found[phase, contender.name] = cost, faults(contender, url, true)
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute("vacuum analyze")
                print(f"{phase}, {contender.name}: {cost}", file=sys.stderr, flush=True)
    return found


def document(result: Mapping[tuple[str, str], Any]) -> list[dict[str, Any]]:
    """Return a round as JSON: for each phase and contender the cost, and the faults of each model."""
    return [
        {"phase": phase, "who": name, "cost": vars(cost), "faults": found}
        for (phase, name), (cost, found) in result.items()
    ]


def print_tables(results: Sequence[Mapping[tuple[str, str], Any]], names: Collection[str]) -> None:
    """Print medians of the rounds, as Markdown, and the faults of the last round."""
    print(
        "\n| phase | who | requests | wall, s | CPU client, s | CPU PostgreSQL, s | CPU Canvas, s | memory, MB | WAL, MB | rows written |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for phase in dict.fromkeys(phase for phase, _ in results[0]):
        for name in (each for each in names if (phase, each) in results[0]):
            costs = [result[phase, name][0] for result in results]
            middle = defaultdict(
                float, {key: statistics.median(getattr(c, key) for c in costs) for key in vars(costs[0])}
            )
            print(
                f"| {phase} | {name} | {middle['requests']:,.0f} | {middle['wall']:.1f} | {middle['client']:.1f} | "
                f"{middle['postgres']:.1f} | {middle['canvas']:.1f} | {middle['peak']:.0f} | {middle['wal']:.2f} | "
                f"{middle['rows']:,.0f} |"
            )
    print("\n| phase | who | missing, extra, wrong |\n|---|---|---|")
    for phase in dict.fromkeys(phase for phase, _ in results[0]):
        for name in (each for each in names if (phase, each) in results[0]):
            bad = {model: each for model, each in results[-1][phase, name][1].items() if any(each)}
            told = "; ".join(f"{model} {', '.join(f'{each:,}' for each in counts)}" for model, counts in bad.items())
            print(f"| {phase} | {name} | {told or 'none'} |")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="share of the simulated `medium`")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each request to Canvas waits")
    parser.add_argument("--who", help="comma-separated list of contenders; all by default")
    parser.add_argument("--phases", default=",".join(PHASES), help="comma-separated list of phases; all by default")
    parser.add_argument("--peers-python", help="an interpreter that has dlt[postgres]")
    parser.add_argument("--json", action="store_true", help="print the results of each round as JSON")
    parser.add_argument("--lean", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--full", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.lean:
        lean(full=options.full)
        return
    medium = SIZES["medium"]
    size = Size(
        users=round(medium.users * options.scale),
        courses=round(medium.courses * options.scale),
        enrollments=round(medium.enrollments * options.scale),
        assignments_per_course=medium.assignments_per_course,
    )
    chosen = [
        each for each in contenders(options.peers_python) if not options.who or each.name in options.who.split(",")
    ]
    with TemporaryDirectory(prefix="canvas_sync_whole_way_") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)
        with EmbeddedPostgres(directory / "postgres") as server:
            phases = options.phases.split(",")
            results = [measure(server, chosen, phases, size, options.latency, directory) for _ in range(options.rounds)]
    if options.json:
        print(json.dumps([document(result) for result in results]))
        return
    print(f"{size}, latency {options.latency} s, {options.rounds} rounds, {os.cpu_count()} cores; medians")
    print_tables(results, [each.name for each in chosen])


if __name__ == "__main__":
    main()
