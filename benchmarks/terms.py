"""What many terms cost: a backfill over all that are registered, and the bytes in Dagster's storage per sync and month.

1. A backfill through daemon, queue and code server, as `dagster dev` runs it: runs per minute, CPU seconds per run.
2. Syncs of the terms in scope, each of which is then made older by a month, and housekeeping after each: the rows of
   Dagster's tables stop growing once the oldest month is beyond the age at which runs are deleted.

    ./run python benchmarks/terms.py [--registered 300] [--scope 40] [--backfill 300] [--months 6] [--no-preload]

`--registered 40 --scope 5 --backfill 12 --months 5` takes two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import polars as pl
import psycopg
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.utils import make_new_backfill_id

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PATIENCE = 7200
MONTH = 30.5 * 86400
SYNCS_PER_MONTH = 8 * 30.5
FIRST_TERM = 1000
MODELS = "terms,users,courses,sections,enrollments"


@contextlib.contextmanager
def location(terms: int, scope: int, *, preload: bool = True) -> Iterator[dict[str, str]]:
    """Prepare one tenant whose Canvas has so many terms, and yield the environment; it becomes that of this process."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="canvas_sync_terms_")))
        shutil.copy(ROOT / "dagster.yaml", home)
        canvas = stack.enter_context(SimulatedCanvas(compile_seconds=0.05).serve())
        server = stack.enter_context(EmbeddedPostgres(home / "postgres"))
        known = canvas.university.terms
        one = known.filter(pl.col("id") == 116)
        more = [
            one.with_columns(id=pl.lit(FIRST_TERM + each, known.schema["id"]), name=pl.lit(f"Term {each}"))
            for each in range(terms - known.height)
        ]
        canvas.university.terms = pl.concat([known, *more])
        ours = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "DAGSTER_HOME": str(home),
            "CANVAS_SYNC_HOME": str(home),
            "CANVAS_SYNC_BASE_URL": canvas.base_url,
            "CANVAS_SYNC_TOKEN": canvas.token,
            "CANVAS_SYNC_DATABASE_URL": server.database("canvas"),
            "CANVAS_SYNC_DAGSTER_DATABASE_URL": server.database("dagster"),
            "CANVAS_SYNC_POLL_SECONDS": "0.1",
            "CANVAS_SYNC_MODELS": MODELS,
            "CANVAS_SYNC_PRELOAD_RUN_WORKERS": str(preload).lower(),
            "CANVAS_SYNC_TERM_SCOPE": ",".join(str(each) for each in canvas.university.terms["id"][-scope:]),
        }
        others = {name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_", "DAGSTER_"))}
        os.environ.clear()
        os.environ.update(others | ours)
        with dg.DagsterInstance.get() as instance:
            ids = [str(each) for each in canvas.university.terms["id"]]
            instance.add_dynamic_partitions("canvas_terms__canvas", ids)
        yield ours


def command(*arguments: str) -> None:
    """Run a command of the location, and stop if it fails."""
    done = subprocess.run(arguments, cwd=os.environ["DAGSTER_HOME"], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def backfill(number: int) -> None:
    """Run a backfill of all assets of so many terms through the daemon, and print what it took."""
    graph = CanvasSync.from_environment().definitions().get_repository_def().asset_graph
    keys = [key for key in graph.executable_asset_keys if graph.get(key).is_partitioned]
    log = Path(os.environ["DAGSTER_HOME"]) / "daemon.log"
    with dg.DagsterInstance.get() as instance, log.open("w") as output:
        name = make_new_backfill_id()
        instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id=name,
                asset_graph=graph,
                partition_names=list(instance.get_dynamic_partitions("canvas_terms__canvas"))[:number],
                asset_selection=keys,
                backfill_timestamp=time.time(),
                tags={},
                dynamic_partitions_store=instance,
                all_partitions=False,
                title=None,
                description=None,
                run_config=None,
            )
        )
        daemon = subprocess.Popen(
            [BIN / "dagster-daemon", "run", "-w", str(ROOT / "workspace.yaml")],
            cwd=log.parent,
            stdout=output,
            stderr=output,
        )
        try:
            ended, cpu = _awaited(instance, name, number, daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait(60)
        _tell_backfill(ended, cpu)


def _awaited(
    instance: dg.DagsterInstance, name: str, number: int, daemon: int
) -> tuple[list[dg.RunRecord], dict[str, float]]:
    """Return the runs once all have ended, and the CPU seconds of each kind of process."""
    tags, deadline = {"dagster/backfill": name}, time.monotonic() + PATIENCE
    over = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    seen: dict[tuple[str, int], float] = {}
    while time.monotonic() < deadline:
        for _ in range(10):
            _look(daemon, seen)
            time.sleep(0.2)
        # A run whose worker died is retried as another run of the backfill.
        ended = instance.get_runs_count(dg.RunsFilter(tags=tags, statuses=over))
        if ended >= number and ended == instance.get_runs_count(dg.RunsFilter(tags=tags)):
            kinds = {kind for kind, _ in seen}
            cpu = {kind: sum(value for (each, _), value in seen.items() if each == kind) for kind in sorted(kinds)}
            return list(instance.get_run_records(dg.RunsFilter(tags=tags))), cpu
    sys.exit("the backfill did not end in time")


def _look(daemon: int, seen: dict[tuple[str, int], float]) -> None:
    """Note the CPU seconds of the processes of the location; the last look at each counts."""
    home = f"DAGSTER_HOME={os.environ['DAGSTER_HOME']}\0".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            pid, line = int(entry.name), (entry / "cmdline").read_bytes()
            if pid == os.getpid() or home not in (entry / "environ").read_bytes() or b"resource_tracker" in line:
                continue
            kind = "daemon" if pid == daemon else "run workers" if b"multiprocessing" in line else "code server"
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            seen[kind, pid] = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _tell_backfill(records: list[dg.RunRecord], cpu: Mapping[str, float]) -> None:
    number = len(records)
    failed = sum(record.dagster_run.status is dg.DagsterRunStatus.FAILURE for record in records)
    first = min(record.start_time or 0.0 for record in records)
    minutes = (max(record.end_time or 0.0 for record in records) - first) / 60
    rows = dict(rows_per_table())
    _tell_failures(records)
    print(f"backfill of {number} terms: {failed} failed, {minutes:.1f} minutes, {number / minutes:.1f} runs per minute")
    print(", ".join(f"{kind} {seconds / number:.2f} CPU s per run" for kind, seconds in cpu.items()))
    print(f"storage: {rows['event_logs'] / number:.0f} events and {bytes_in_storage() / number / 1024:.0f} KB per run")


def _tell_failures(records: list[dg.RunRecord]) -> None:
    """Print why runs failed: the message of each event of a failure."""
    with dg.DagsterInstance.get() as instance:
        for record in records:
            run = record.dagster_run
            if run.status is dg.DagsterRunStatus.SUCCESS:
                continue
            print(f"run {run.run_id}: {run.status.value}, tags {dict(run.tags)}")
            for entry in instance.all_logs(run.run_id):
                event = entry.dagster_event
                if event and (event.is_failure or event.is_step_failure):
                    data = event.step_failure_data if event.is_step_failure else None
                    told = data.error.message.strip() if data and data.error else event.message
                    print(f"    {event.event_type_value} {event.step_key or ''}: {told}")


def rows_per_table() -> list[tuple[str, int]]:
    """Return the exact number of rows of each table of Dagster's storage."""
    with psycopg.connect(os.environ["CANVAS_SYNC_DAGSTER_DATABASE_URL"]) as connection:
        names = [row[0] for row in connection.execute("select tablename from pg_tables where schemaname = 'public'")]
        counts = [connection.execute(f'select count(*) from "{name}"').fetchone() for name in sorted(names)]
        return [(name, row[0]) for name, row in zip(sorted(names), counts, strict=True) if row]


def bytes_in_storage() -> int:
    """Return the bytes of all tables with their indexes, without the room that deleted rows have left."""
    with psycopg.connect(os.environ["CANVAS_SYNC_DAGSTER_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("vacuum full")
        row = connection.execute(
            "select sum(pg_total_relation_size(relid)) from pg_stat_user_tables where schemaname = 'public'"
        ).fetchone()
    return int(row[0]) if row else 0


def age_by_a_month() -> None:
    """Make everything in Dagster's storage a month older."""
    with psycopg.connect(os.environ["CANVAS_SYNC_DAGSTER_DATABASE_URL"], autocommit=True) as connection:
        for table, column in (
            ("runs", "create_timestamp"),
            ("runs", "update_timestamp"),
            ("event_logs", "timestamp"),
            ("asset_check_executions", "create_timestamp"),
            ("asset_check_executions", "evaluation_event_timestamp"),
        ):
            connection.execute(f"update {table} set {column} = {column} - interval '30 days 12 hours'")
        connection.execute("update runs set start_time = start_time - %s, end_time = end_time - %s", (MONTH, MONTH))


def growth(months: int, terms: int) -> None:
    """Sync once a month, with housekeeping, and print what Dagster's storage holds after each."""
    before, sizes, rows = bytes_in_storage(), list[int](), dict[str, int]()
    for month in range(1, months + 1):
        command("canvas-sync", "sync", "--full")
        if month == 1:
            per_sync = bytes_in_storage() - before
            print(
                f"a sync of {terms} terms: {per_sync / 1024:,.0f} KB in Dagster's storage, in the processes of a command"
            )
            print(f"three-hourly for a month, without housekeeping: {per_sync * SYNCS_PER_MONTH / 2**20:,.0f} MB")
        age_by_a_month()
        start = time.monotonic()
        command("dagster", "job", "execute", "-m", "canvas_sync_dagster.definitions", "-j", "canvas__housekeeping")
        seconds, last = time.monotonic() - start, rows
        rows = dict(rows_per_table())
        sizes.append(bytes_in_storage())
        grown = {name: rows[name] - last.get(name, 0) for name in rows if rows[name] != last.get(name, 0)}
        print(f"month {month}: {sizes[-1] / 1024:,.0f} KB, housekeeping {seconds:.0f} s, rows {grown}", flush=True)


def main() -> None:
    """Measure a backfill, then the growth of the storage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registered", type=int, default=300)
    parser.add_argument("--scope", type=int, default=40)
    parser.add_argument("--backfill", type=int, default=300)
    parser.add_argument("--months", type=int, default=6)
    parser.add_argument("--no-preload", action="store_true", help="start run workers as Dagster does")
    options = parser.parse_args()
    if options.backfill:
        with location(options.registered, options.scope, preload=not options.no_preload):
            command("canvas-sync", "migrate")
            backfill(options.backfill)
    if options.months:
        with location(options.registered, options.scope):
            command("canvas-sync", "migrate")
            growth(options.months, options.scope)


if __name__ == "__main__":
    main()
