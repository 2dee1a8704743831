"""Loading a report, side by side with the hand-written floor and with what a user would pick instead.

All load the same file into a table of the same shape, interleaved in one run, and are measured as whole processes. The
floor is `psql \\copy` of the file into a typed temporary table and one INSERT … ON CONFLICT … DO UPDATE … WHERE … IS
DISTINCT FROM.

    ./run python benchmarks/load.py [--rows 1000000] [--rounds 3] [--dsn …]

The peers (the gem's way, dlt, the dap client's way) are scripts that stand in a directory of their own: `gem.rb`,
`dlt_load.py`, `dap_like.py`, each called with address and file, and `table.sql`, which makes their table. They need
Debian's ruby, ruby-pg, ruby-activerecord and ruby-activerecord-import; a Python with `dlt[postgres]`, polars, pyarrow
and asyncpg, made outside of this repository; and an address with host and password, in a database of one's own:

    ./run python benchmarks/load.py --rows 200000 --case unchanged \\
        --peers DIRECTORY --peers-python /tmp/peers/bin/python --dsn postgresql://user:password@localhost/bench
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from data import write_report

from canvas_sync_dagster.catalogue.built_in.courses import enrollments
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.embedded.server import find_binaries
from canvas_sync_dagster.warehouse.schema.migrate import migrate

HERE = Path(__file__).parent
TARGETS = {
    "floor": {"first load": 3.0, "unchanged": 6.0, "1 % changed": 4.0, "5 % new": 4.0, "all changed": 1.2},
    "gem": {"unchanged": 150.0},
    "dlt": {"unchanged": 25.0},
    "dap": {"unchanged": 40.0},
}
"""Contender → case → how many times as fast we mean to be.

Not all are reached. On two quiet cores a million rows took 2.2, 5.0, 3.3, 2.5 and 0.9 times as long by the floor. What is
left, by profile: of a first load of 4.9 s, COPY in the server 2.8 s and building three indexes 0.9 s (without the primary
key the COPY takes 1.8 s, and its index 0.5 s; in binary 1.2 s); of 0.7 s for unchanged rows, imports 0.3 to 0.4 s and the
server's sums of digests 0.25 s; of 1.7 s for 5 % new rows, 0.6 to 0.9 s in four indexes, at random places; of 17 s for
all rows changed, 12 to 16 s in the UPDATE, most of it the new entries in four indexes and their WAL.
"""
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
DLT_FORGETS = "drop schema if exists bench_dlt cascade; drop schema if exists bench_dlt_staging cascade"


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who loads the report, as a process, into a table of their own.

    Attributes:
        name: For people.
        table: Where it goes.
        empty: SQL that makes the table new or empty.
        command: Address and file → what is run.
        script: File → what it reads from its standard input.
    """

    name: str
    table: str
    empty: str
    command: Callable[[str, Path], Sequence[str | Path]]
    script: Callable[[Path], str] | None = None

    def load(self, url: str, file: Path) -> dict[str, Any]:
        """Loads; returns wall seconds and what it says of itself."""
        start = time.perf_counter()
        text = self.script(file) if self.script else None
        done = subprocess.run(
            list(map(str, self.command(url, file))), input=text, stdout=subprocess.PIPE, text=True, check=True
        )
        wall = time.perf_counter() - start
        return {"wall": wall, **json.loads(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "{}")}

    def prepare(self, url: str, case: str, base: Path) -> None:
        """Brings the table to where a case begins: empty, or loaded with the base report and vacuumed."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(self.empty)
        if case != "first load":
            self.load(url, base)
        with psycopg.connect(url, autocommit=True) as connection:
            if connection.execute("select to_regclass(%s)", (self.table,)).fetchone() != (None,):
                connection.execute(f"vacuum analyze {self.table}")
            connection.execute("checkpoint")


def floor_script(file: Path) -> str:
    """Returns the floor's script for psql."""
    return FLOOR.format(
        file=file,
        columns=", ".join(MAPPED),
        headers=", ".join(MAPPED.values()),
        sets=", ".join(f"{name} = excluded.{name}" for name in MAPPED),
        mine=", ".join(f"t.{name}" for name in MAPPED),
        theirs=", ".join(f"excluded.{name}" for name in MAPPED),
    )


def ours_and_floor() -> list[Contender]:
    """Returns the two that are always there."""
    psql = shutil.which("psql") or find_binaries() / "psql"
    return [
        Contender(
            "ours",
            "canvas.enrollments",
            "truncate canvas.enrollments",
            lambda url, file: [sys.executable, HERE / "load_once.py", url, "canvas", file],
        ),
        Contender(
            "floor",
            "floor.enrollments",
            "truncate floor.enrollments",
            lambda url, _: [psql, "-q", "-v", "ON_ERROR_STOP=1", url],
            floor_script,
        ),
    ]


def peers(directory: Path, python: str) -> list[Contender]:
    """Returns those whose scripts stand in a directory."""
    shape = "".join(line for line in (directory / "table.sql").open() if not line.startswith("\\"))
    interpreters = {"gem": ("ruby", "gem.rb"), "dap": (python, "dap_like.py"), "dlt": (python, "dlt_load.py")}

    def peer(name: str, table: str, empty: str) -> Contender:
        program, script = interpreters[name]
        return Contender(name, table, empty, lambda url, file: [program, directory / script, url, file])

    return [
        peer("gem", "bench_enrollments", shape),
        peer("dap", "bench_enrollments", shape),
        peer("dlt", "bench_dlt.bench_enrollments", DLT_FORGETS),
    ]


def write_reports(directory: Path, rows: int) -> dict[str, Path]:
    """Writes the reports that the cases need."""
    files = {name: directory / f"{name}.csv" for name in ("base", "changed", "new", "all")}
    for name, options in {"base": {}, "changed": {"changed": 1}, "new": {"new": 5}, "all": {"changed": 100}}.items():
        write_report(files[name], rows, **options)
    return files


def measure(
    url: str, contenders: Sequence[Contender], files: Mapping[str, Path], rounds: int, cases: Sequence[str]
) -> None:
    """Measures the cases and prints medians and ratios."""
    print(f"{'case':12} {'who':6} {'seconds':>8} {'ratio':>7} {'target':>7}")
    for case in cases:
        walls: dict[str, list[float]] = defaultdict(list)
        said = ""
        for _ in range(rounds):
            for contender in contenders:
                contender.prepare(url, case, files["base"])
                before = wal_position(url)
                result = contender.load(url, files[FILES[case]])
                walls[contender.name].append(result["wall"])
                if contender.name == "ours":
                    written = (wal_position(url) - before) / 1e6
                    said = f"peak {result['peak_mb']} MB, {written:.2f} MB of WAL, {result['phases']}"
        ours = statistics.median(walls["ours"])
        print(f"{case:12} {'ours':6} {ours:8.2f} {'':15}  {said}", flush=True)
        for contender in contenders[1:]:
            theirs, target = statistics.median(walls[contender.name]), TARGETS[contender.name].get(case)
            aim = f"{target:6.1f}x" if target else ""
            print(f"{case:12} {contender.name:6} {theirs:8.2f} {theirs / ours:6.1f}x {aim:>7}", flush=True)


def wal_position(url: str) -> int:
    """Tells how many bytes of WAL the server has ever written."""
    with psycopg.connect(url) as connection:
        row = connection.execute("select (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    return int(row[0]) if row else 0


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=FILES, action="append", help="only this case; may come again")
    parser.add_argument("--dsn", help="a database of one's own; its schemas canvas, floor, bench_dlt are overwritten")
    parser.add_argument("--peers", type=Path, help="directory with the scripts of others; needs --dsn")
    parser.add_argument("--peers-python", default="python3", help="an interpreter that has dlt and asyncpg")
    given = parser.parse_args()
    if given.peers and not given.dsn:
        parser.error("--peers needs --dsn, with host and password: not all of them know Unix sockets")
    contenders = ours_and_floor() + (peers(given.peers, given.peers_python) if given.peers else [])
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="canvas_sync_bench_")))
        directory.chmod(0o755)
        url = given.dsn or stack.enter_context(EmbeddedPostgres(directory / "home")).database("bench")
        migrate(url, "canvas", [enrollments])
        migrate(url, "floor", [enrollments])
        print(f"{given.rows:,} rows, {given.rounds} rounds, {os.cpu_count()} cores; medians of whole processes")
        measure(url, contenders, write_reports(directory, given.rows), given.rounds, given.case or list(FILES))


if __name__ == "__main__":
    main()
