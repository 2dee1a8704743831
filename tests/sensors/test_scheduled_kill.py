"""SIGKILL of run workers, code server, daemon and PostgreSQL while schedules fire: the next sync repairs everything."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import psycopg
import pytest
import yaml

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.truth import assert_true

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
KINDS = {"dagster-daemon": "daemon", "dagster api grpc": "code server", "multiprocessing": "run worker"}
BATCHES = "select status, started_at > %s, metadata->>'reason' from canvas.canvas_sync_sync_batches"
KILLS = 100
Query = list[tuple[object, ...]]


class Location:
    """A daemon with a schedule that fires every minute, in processes of its own."""

    def __init__(self, canvas: SimulatedCanvas, home: Path, server: EmbeddedPostgres) -> None:
        self.url = server.database("canvas")
        self._server, self._home = server, home
        instance = yaml.safe_load((ROOT / "dagster.yaml").read_text())
        instance["run_monitoring"] |= {"start_timeout_seconds": 30, "free_slots_after_run_end_seconds": 10}
        (home / "dagster.yaml").write_text(yaml.safe_dump(instance))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_", "DAGSTER_"))},
            "DAGSTER_HOME": str(home),
            "CANVAS_SYNC_HOME": str(home),
            "CANVAS_SYNC_BASE_URL": canvas.base_url,
            "CANVAS_SYNC_TOKEN": canvas.token,
            "CANVAS_SYNC_DATABASE_URL": self.url,
            "CANVAS_SYNC_DAGSTER_DATABASE_URL": server.database("dagster"),
            "CANVAS_SYNC_POLL_SECONDS": "0.1",
            "CANVAS_SYNC_TERM_SCOPE": "all",
            "CANVAS_SYNC_SCHEDULE": "* * * * *",
            "CANVAS_SYNC_FULL_SYNC_EVERY": "50%",
            "CANVAS_SYNC_LOST_AFTER": "12 seconds",
        }
        self._daemon: subprocess.Popen[bytes] | None = None

    def dagster(self, *arguments: str) -> None:
        command = [BIN / "dagster", *arguments, "-w", ROOT / "workspace.yaml"]
        subprocess.run(command, env=self.environment, cwd=ROOT, check=True, capture_output=True)

    def keep(self) -> None:
        if self._daemon is None or self._daemon.poll() is not None:
            command = [BIN / "dagster-daemon", "run", "-w", ROOT / "workspace.yaml"]
            with (self._home / "daemon.log").open("ab") as log:
                self._daemon = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=log)

    def processes(self) -> dict[int, str]:
        """Finds the location's processes, by an environment that nobody else has: process id → kind."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"DAGSTER_HOME={self._home}\0".encode() not in (entry / "environ").read_bytes():
                    continue
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                kind = next((kind for part, kind in KINDS.items() if part in command), None)
                if kind and "resource_tracker" not in command:
                    found[int(entry.name)] = kind
        return found

    def kill(self, kind: str) -> int:
        """Kills one of a kind; returns how many there were to choose from."""
        if kind == "PostgreSQL":
            for pid in self._server._processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._server.start()
            return 1
        candidates = [pid for pid, each in self.processes().items() if each == kind]
        for pid in candidates[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if kind == "daemon" and self._daemon is not None:
            self._daemon.wait(10)
        self.keep()
        return len(candidates)

    def end(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._daemon is not None:
            self._daemon.wait(10)

    def query(self, query: str, *values: object) -> Query:
        with psycopg.connect(self.url) as connection:
            if connection.execute("select to_regclass('canvas.canvas_sync_sync_batches')").fetchone() == (None,):
                return []
            return connection.execute(query, values).fetchall()


@contextlib.contextmanager
def scheduled(canvas: SimulatedCanvas, home: Path) -> Iterator[Location]:
    with EmbeddedPostgres(home / "postgres") as server:
        location = Location(canvas, home, server)
        try:
            location.dagster("schedule", "start", "canvas__sync")
            location.keep()
            yield location
        finally:
            location.end()


def until(condition: object, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def rename(canvas: SimulatedCanvas, number: int) -> None:
    canvas.university.set("courses", pl.col("id") % 7 == number % 7, name=f"Renamed {number}")


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1])
def test_scheduled_syncs_survive_the_death_of_everybody(tmp_path: Path, seed: int) -> None:
    dice, tally = random.Random(seed), dict.fromkeys([*KINDS.values(), "PostgreSQL"], 0)
    with SimulatedCanvas(compile_seconds=0.2).serve() as canvas, scheduled(canvas, tmp_path) as location:
        until(lambda: location.query(BATCHES, "2000-01-01"), 180, "no sync begins")
        while sum(tally.values()) < KILLS:
            time.sleep(dice.random() * 8)
            victim = dice.choice(["run worker", "run worker", "run worker", "daemon", "code server", "PostgreSQL"])
            rename(canvas, sum(tally.values()))
            tally[victim] += bool(location.kill(victim))
            location.keep()
            print(sum(tally.values()), victim, flush=True)
        print(tally)
        since = location.query("select clock_timestamp()")[0][0]
        until(
            lambda: any(status == "completed" and new for status, new, _ in location.query(BATCHES, since)),
            600,
            "no sync is completed after the last kill",
        )
        location.dagster("schedule", "stop", "canvas__sync")
        until(
            lambda: not location.query("select 1 from canvas.canvas_sync_sync_batches where status = 'processing'"),
            420,
            "a batch stays open",
        )
        assert (
            location.query("select job_class, job_id from canvas.canvas_sync_job_logs where status = 'running'") == []
        )
        assert_nothing_is_held(location)
        assert_true(canvas, location.url)
        assert all(report.twins == 0 for report in canvas.queue.reports.values())


def assert_nothing_is_held(location: Location) -> None:
    before = dict(os.environ)
    os.environ.update(location.environment)
    try:
        with dg.DagsterInstance.get() as instance:
            until(lambda: all(run.is_finished for run in instance.get_runs()), 120, "a run is under way for ever")
            pools = instance.event_log_storage
            until(
                lambda: not pools.get_concurrency_info("canvas_reports__canvas").active_slot_count,
                60,
                "a slot stays taken",
            )
    finally:
        os.environ.clear()
        os.environ.update(before)
