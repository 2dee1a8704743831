"""SIGKILL of run workers, code server, daemon and PostgreSQL while schedules fire: the next sync repairs everything."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.machines import KINDS, ROOT, Machine, kill, until

BATCHES = "select status, started_at > %s, metadata->>'reason' from canvas.canvas_sync_sync_batches"
KILLS = int(os.environ.get("CANVAS_SYNC_TEST_KILLS", "100"))
RUN_WITHIN = 75
"""Seconds within which a run begins while somebody lives: the schedule fires every minute."""
WORKSPACE = ("-w", str(ROOT / "workspace.yaml"))


class Location(Machine):
    """A daemon with a schedule that fires every minute, in processes of its own."""

    def __init__(self, canvas: SimulatedCanvas, home: Path, server: EmbeddedPostgres) -> None:
        super().__init__(home, canvas, server, CANVAS_SYNC_SCHEDULE="* * * * *", CANVAS_SYNC_FULL_SYNC_EVERY="50%")
        self._server = server
        self._daemon: subprocess.Popen[bytes] | None = None

    def schedule(self, verb: str) -> None:
        self.call("dagster", "schedule", verb, "canvas__sync", *WORKSPACE).check_returncode()

    def keep(self) -> None:
        if self._daemon is None or self._daemon.poll() is not None:
            self._daemon = self.start("dagster-daemon", "run", *WORKSPACE)

    def kill(self, kind: str) -> int:
        """Kills one of a kind; returns how many there were to choose from."""
        if kind == "PostgreSQL":
            kill(self._server._processes())
            self._server.start()
            return 1
        candidates = self._living(kind, RUN_WITHIN if kind == "run worker" else 0)
        kill(candidates[:1])
        if kind == "daemon" and self._daemon is not None:
            self._daemon.wait(10)
        self.keep()
        return len(candidates)

    def _living(self, kind: str, patience: float) -> list[int]:
        """Finds the processes of a kind; waits for one, for most of the time no run is under way."""
        deadline = time.monotonic() + patience
        while True:
            found = [pid for pid, each in self.processes().items() if each == kind]
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)


@contextlib.contextmanager
def scheduled(canvas: SimulatedCanvas, home: Path) -> Iterator[Location]:
    with EmbeddedPostgres(home / "postgres") as server:
        location = Location(canvas, home, server)
        try:
            location.schedule("start")
            location.keep()
            yield location
        finally:
            location.end()


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
        location.schedule("stop")
        until(
            lambda: not location.query("select 1 from canvas.canvas_sync_sync_batches where status = 'processing'"),
            420,
            "a batch stays open",
        )
        location.assert_settled(canvas)
