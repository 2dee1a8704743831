"""Loading a report, side by side with the hand-written floor, interleaved in one run.

The floor is `psql \\copy` of the same file into a typed temporary table and one INSERT … ON CONFLICT … DO UPDATE …
WHERE … IS DISTINCT FROM, into a table of the same definition. Both are measured as whole processes.

    ./run python benchmarks/load.py [--rows 1000000] [--rounds 3] [--dsn …]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from data import write_report

from canvas_sync_dagster.catalogue.built_in import enrollments
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.embedded.server import find_binaries
from canvas_sync_dagster.warehouse.migrate import migrate

HERE = Path(__file__).parent
TARGETS = {"first load": 1.8, "unchanged": 4.0, "1 % changed": 3.0, "5 % new": 3.0, "all changed": 0.9}
FILES = {"first load": "base", "unchanged": "base", "1 % changed": "changed", "5 % new": "new", "all changed": "all"}
MAPPED = {
    "canvas_course_id": "canvas_course_id",
    "course_sis_id": "course_id",
    "canvas_user_id": "canvas_user_id",
    "user_sis_id": "user_id",
    "role": "role",
    "canvas_role_id": "role_id",
    "canvas_section_id": "canvas_section_id",
    "workflow_state": "status",
    "base_role_type": "base_role_type",
}
FLOOR = """
set client_min_messages = warning;
create temp table stage (canvas_course_id bigint, course_id text, canvas_user_id bigint, user_id text, role text,
  role_id bigint, canvas_section_id bigint, section_id text, status text, canvas_associated_user_id bigint,
  associated_user_id text, created_by_sis boolean, base_role_type text, limit_section_privileges boolean,
  canvas_enrollment_id bigint);
\\copy stage from '{file}' (format csv, header true)
insert into floor.enrollments as t (canvas_id, {columns}) select canvas_enrollment_id, {headers} from stage
on conflict (canvas_id) do update set {sets}, updated_at = now()
where ({mine}) is distinct from ({theirs});
"""


def floor_sql(file: Path) -> str:
    """Returns the floor's script for psql."""
    return FLOOR.format(
        file=file,
        columns=", ".join(MAPPED),
        headers=", ".join(MAPPED.values()),
        sets=", ".join(f"{name} = excluded.{name}" for name in MAPPED),
        mine=", ".join(f"t.{name}" for name in MAPPED),
        theirs=", ".join(f"excluded.{name}" for name in MAPPED),
    )


def run_floor(url: str, file: Path) -> dict[str, float]:
    """Loads by the floor; returns its wall seconds."""
    psql = shutil.which("psql") or str(find_binaries() / "psql")
    start = time.perf_counter()
    subprocess.run([psql, "-q", "-v", "ON_ERROR_STOP=1", url], input=floor_sql(file), text=True, check=True)
    return {"wall": time.perf_counter() - start}


def run_ours(url: str, file: Path) -> dict[str, float]:
    """Loads by this package; returns wall seconds, peak memory and phases."""
    start = time.perf_counter()
    command = [sys.executable, str(HERE / "load_once.py"), url, "canvas", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"wall": time.perf_counter() - start, **json.loads(done.stdout)}


RUNNERS = {"floor": ("floor", run_floor), "ours": ("canvas", run_ours)}


def reset(url: str, schema: str, case: str, files: dict[str, Path]) -> None:
    """Brings a contender's table to where the case begins: empty, or loaded with the base report and vacuumed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"truncate {schema}.enrollments")
    if case != "first load":
        RUNNERS["ours" if schema == "canvas" else "floor"][1](url, files["base"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"vacuum analyze {schema}.enrollments")
        connection.execute("checkpoint")


def measure(url: str, rows: int, rounds: int, directory: Path, cases: list[str] | None = None) -> None:
    """Measures all cases and prints medians and ratios."""
    files = {name: directory / f"{name}.csv" for name in ("base", "changed", "new", "all")}
    for name, options in {"base": {}, "changed": {"changed": 1}, "new": {"new": 5}, "all": {"changed": 100}}.items():
        write_report(files[name], rows, **options)
    migrate(url, "canvas", [enrollments])
    migrate(url, "floor", [enrollments])
    print(f"{rows:,} rows, {rounds} rounds, {os.cpu_count()} cores; medians of whole-process wall seconds")
    print(f"{'case':12} {'floor':>8} {'ours':>8} {'ratio':>7} {'target':>7} {'peak MB':>8}  phases of ours, WAL")
    for case in cases or TARGETS:
        target = TARGETS[case]
        walls: dict[str, list[float]] = defaultdict(list)
        last: dict[str, float] = {}
        for _ in range(rounds):
            for name, (schema, runner) in RUNNERS.items():
                reset(url, schema, case, files)
                with psycopg.connect(url) as connection:
                    before = connection.execute("select pg_current_wal_insert_lsn()").fetchone()
                result = runner(url, files[FILES[case]])
                walls[name].append(result["wall"])
                if name == "ours":
                    with psycopg.connect(url) as connection:
                        wal = connection.execute("select pg_current_wal_insert_lsn() - %s", before).fetchone()
                    last = {**result, "wal": float(wal[0]) if wal else 0}
        floor, ours = statistics.median(walls["floor"]), statistics.median(walls["ours"])
        print(
            f"{case:12} {floor:8.2f} {ours:8.2f} {floor / ours:6.1f}x {target:6.1f}x {last['peak_mb']:8.0f}  "
            f"{last['phases']}, {last['wal'] / 1e6:.2f} MB",
            flush=True,
        )


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=TARGETS, action="append", help="only this case; may come again")
    parser.add_argument("--dsn", help="a database of one's own; its schemas canvas and floor are overwritten")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="canvas_sync_bench_") as name:
        directory = Path(name)
        directory.chmod(0o755)
        if arguments.dsn:
            measure(arguments.dsn, arguments.rows, arguments.rounds, directory, arguments.case)
            return
        with EmbeddedPostgres(directory / "home") as server:
            measure(server.database("bench"), arguments.rows, arguments.rounds, directory, arguments.case)


if __name__ == "__main__":
    main()
