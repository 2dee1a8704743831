"""What a scheduled sync costs beside its work: 40 terms of which 3 are in scope, through the daemon as it runs in service.

Run `./run python benchmarks/runs.py`. Tells how soon the root run and the term runs begin, that no run is made for a
term out of scope, and the CPU seconds of each run's process; the reports are empty enough for nearly all of it to be
overhead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import psycopg

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
TERMS = 40
SCOPE = ("116", "117", "118")
PATIENCE = 600
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def environment(canvas: SimulatedCanvas, server: EmbeddedPostgres, home: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_", "DAGSTER_"))},
        "DAGSTER_HOME": str(home),
        "CANVAS_SYNC_HOME": str(home),
        "CANVAS_SYNC_BASE_URL": canvas.base_url,
        "CANVAS_SYNC_TOKEN": canvas.token,
        "CANVAS_SYNC_DATABASE_URL": server.database("canvas"),
        "CANVAS_SYNC_DAGSTER_DATABASE_URL": server.database("dagster"),
        "CANVAS_SYNC_POLL_SECONDS": "0.1",
        "CANVAS_SYNC_MODELS": "terms,users,courses",
        "CANVAS_SYNC_TERM_SCOPE": ",".join(SCOPE),
        "CANVAS_SYNC_SCHEDULE": "* * * * *",
    }


def with_terms(canvas: SimulatedCanvas, number: int) -> None:
    """Adds terms of the past until there are so many."""
    known = canvas.university.terms
    one = known.filter(pl.col("id") == 116)
    more = [
        one.with_columns(id=pl.lit(1000 + each, known.schema["id"]), name=pl.lit(f"Old {each}"))
        for each in range(number - known.height)
    ]
    canvas.university.terms = pl.concat([known, *more])


def cpu_of_run_workers(home: Path, seen: dict[int, float]) -> None:
    """Notes the CPU seconds of the location's run processes; the last look at each counts."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            command = (entry / "cmdline").read_bytes()
            if b"multiprocessing" not in command or b"resource_tracker" in command:
                continue
            if f"DAGSTER_HOME={home}\0".encode() in (entry / "environ").read_bytes():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                seen[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def closed_batch(url: str) -> tuple[str, str] | None:
    query = (
        "select metadata->>'key', status from canvas.canvas_sync_sync_batches where status <> 'processing' order by id"
    )
    with contextlib.suppress(psycopg.Error), psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        return (str(row[0]), str(row[1])) if row else None
    return None


def main() -> None:
    """Runs one scheduled sync and tells what it cost."""
    home = Path(tempfile.mkdtemp(prefix="canvas_sync_runs_"))
    shutil.copy(ROOT / "dagster.yaml", home)
    with SimulatedCanvas(compile_seconds=0.1).serve() as canvas, EmbeddedPostgres(home / "postgres") as server:
        with_terms(canvas, TERMS)
        variables = environment(canvas, server, home)
        url, seen = variables["CANVAS_SYNC_DATABASE_URL"], dict[int, float]()
        workspace = ["-w", str(ROOT / "workspace.yaml")]
        subprocess.run(
            [BIN / "dagster", "schedule", "start", "canvas__sync", *workspace],
            env=variables,
            check=True,
            capture_output=True,
        )
        with (home / "daemon.log").open("wb") as log:
            daemon = subprocess.Popen(
                [BIN / "dagster-daemon", "run", *workspace], env=variables, cwd=ROOT, stdout=log, stderr=log
            )
        try:
            deadline = time.monotonic() + PATIENCE
            while (batch := closed_batch(url)) is None and time.monotonic() < deadline:
                cpu_of_run_workers(home, seen)
                time.sleep(0.1)
            tell(variables, batch, seen)
        finally:
            daemon.terminate()
            daemon.wait(60)
    shutil.rmtree(home, ignore_errors=True)


def tell(variables: dict[str, str], batch: tuple[str, str] | None, seen: dict[int, float]) -> None:
    os.environ.update(variables)
    if batch is None:
        sys.exit("no sync was closed in time")
    with dg.DagsterInstance.get() as instance:
        terms = instance.get_dynamic_partitions("canvas_terms__canvas")
        records = instance.get_run_records(dg.RunsFilter(tags={"canvas_sync/batch_id": batch[0]}), ascending=True)
    at = datetime.fromisoformat(batch[0].split(":", 2)[2]).replace(tzinfo=UTC)
    print(f"{len(terms)} terms, {len(SCOPE)} in scope; batch {batch[1]}")
    root_ended = 0.0
    for record in records:
        run = record.dagster_run
        term = run.tags.get("dagster/partition")
        since = record.create_timestamp.timestamp() - (root_ended if term else at.timestamp())
        root_ended = root_ended if term else record.end_time or 0.0
        print(f"{run.job_name} {term or ''}: requested {since:.1f} s after {'the root run' if term else 'the tick'}, "
              f"{(record.end_time or 0) - (record.start_time or 0):.1f} s long, {run.status.value}")  # fmt: skip
    made = sorted(term for record in records if (term := record.dagster_run.tags.get("dagster/partition")))
    print("runs for terms in scope only:", made == sorted(SCOPE))
    print("CPU seconds per run:", ", ".join(f"{seconds:.1f}" for seconds in seen.values() if seconds))


if __name__ == "__main__":
    main()
