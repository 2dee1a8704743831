"""What a history costs: loads of the same reports into a table with and without one, interleaved in one run.

Each load is a whole process, as in `load.py`. "all changed" updates every row, "1 % changed" one in a hundred, "unchanged"
none. Of both tables the seconds of the load, of which the CPU of this machine, and the WAL are printed, then the ratio,
and how long it takes to count the rows as of the time between the loads.

    ./run python benchmarks/history.py [--rows 200000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from data import write_report
from load import wal_position

from canvas_sync_dagster.catalogue.built_in.courses import enrollments
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.warehouse.schema.migrate import migrate

LOAD = Path(__file__).parent / "load_once.py"
CASES = {"all changed": 100.0, "1 % changed": 1.0, "unchanged": 0.0}
"""Case → percent of rows that the second report changes."""
SCHEMAS = ("plain", "history")


def load(url: str, schema: str, report: Path) -> float:
    """Load a report in a process of its own, and return the seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, LOAD, url, schema, report], stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - start


def prepare(url: str, schema: str, base: Path) -> None:
    """Bring a table to where a case begins: loaded with the first report, without earlier states, and vacuumed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set canvas_sync.history_source = 'off'")
        connection.execute(f"truncate {schema}.enrollments")
        if schema == "history":
            connection.execute("truncate history.enrollments_history")
    load(url, schema, base)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"vacuum analyze {schema}.enrollments")
        connection.execute("checkpoint")


def as_of(url: str) -> float:
    """Count the rows as of now, and return the seconds."""
    with psycopg.connect(url) as connection:
        start = time.perf_counter()
        connection.execute("select count(*) from history.enrollments_as_of(now() - interval '1 millisecond')")
        return time.perf_counter() - start


def main() -> None:
    """Read the command line, measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with TemporaryDirectory(prefix="canvas_sync_bench_") as name:
        directory = Path(name)
        directory.chmod(0o755)
        reports = {case: directory / f"{changed}.csv" for case, changed in CASES.items()}
        for case, changed in CASES.items():
            write_report(reports[case], given.rows, changed=changed)
        with EmbeddedPostgres(directory / "home") as server:
            url = server.database("bench")
            migrate(url, "plain", [enrollments])
            migrate(url, "history", [replace(enrollments, history=True)])
            print(f"{given.rows:,} rows, {given.rounds} rounds, {os.cpu_count()} cores; medians of whole processes")
            for case, report in reports.items():
                measure(url, case, report, reports["unchanged"], given.rounds)


def measure(url: str, case: str, report: Path, base: Path, rounds: int) -> None:
    """Measure a case, in turns, and print it."""
    seconds, written, counted = defaultdict(list), defaultdict(list), list[float]()
    for number in range(rounds):
        # The table that comes second finds a warmer machine.
        for schema in SCHEMAS if number % 2 else SCHEMAS[::-1]:
            prepare(url, schema, base)
            before = wal_position(url)
            seconds[schema].append(load(url, schema, report))
            written[schema].append((wal_position(url) - before) / 1e6)
            if schema == "history":
                counted.append(as_of(url))
    ratio = statistics.median(a / b for a, b in zip(seconds["history"], seconds["plain"], strict=True))
    for schema in SCHEMAS:
        wal = statistics.median(written[schema])
        print(f"{case:12} {schema:8} {statistics.median(seconds[schema]):7.2f} s {wal:8.1f} MB of WAL")
    print(
        f"{case:12} ratio    {ratio:7.2f}, rows as of a time counted in {statistics.median(counted):.2f} s", flush=True
    )


if __name__ == "__main__":
    main()
