"""The machines of a deployment, played by processes that share nothing but addresses."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import dagster as dg
import psycopg
import yaml

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.truth import assert_true

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
KINDS = {
    "dagster-daemon": "daemon",
    "code-server start": "code server",
    "dagster api grpc": "code server",
    "multiprocessing": "run worker",
}
MONITORING = {"start_timeout_seconds": 30, "free_slots_after_run_end_seconds": 10}
"""What is quicker than in the dagster.yaml of a deployment, so that tests need not wait for it."""
Query = list[tuple[object, ...]]


class Machine:
    """A directory, variables, and the processes that have both; named by `CANVAS_SYNC_HOME`, which nobody else has.

    Args:
        home: Its disk.
        canvas: The Canvas that all machines ask.
        server: The PostgreSQL that all machines share.
        monitoring: How quickly Dagster sees that a run is dead.
        variables: What else stands in its environment.
    """

    def __init__(
        self,
        home: Path,
        canvas: SimulatedCanvas,
        server: EmbeddedPostgres,
        *,
        monitoring: Mapping[str, int] = MONITORING,
        **variables: str,
    ) -> None:
        home.mkdir(exist_ok=True)
        instance = yaml.safe_load((ROOT / "dagster.yaml").read_text())
        instance["run_monitoring"] |= monitoring
        (home / "dagster.yaml").write_text(yaml.safe_dump(instance))
        self.home, self.url = home, server.database("canvas")
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
            "CANVAS_SYNC_LOST_AFTER": "12 seconds",
            **variables,
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def call(self, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            [BIN / program, *arguments],
            env=self.environment | variables,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def start(self, program: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Starts a command; what it says goes to a file of its name."""
        with (self.home / f"{program}.log").open("ab") as log:
            started = subprocess.Popen(
                [BIN / program, *arguments], env=self.environment | variables, cwd=self.home, stdout=log, stderr=log
            )
        self._started.append(started)
        return started

    def processes(self) -> dict[int, str]:
        """Finds its processes: process id → kind."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"CANVAS_SYNC_HOME={self.home}\0".encode() not in (entry / "environ").read_bytes():
                    continue
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                kind = next((kind for part, kind in KINDS.items() if part in command), "other")
                if "resource_tracker" not in command:
                    found[int(entry.name)] = kind
        return found

    def end(self) -> None:
        """Kills whatever runs on it."""
        kill(self.processes())
        for each in self._started:
            each.wait(10)

    def burn(self) -> None:
        """Ends it for ever, with its disk."""
        self.end()
        shutil.rmtree(self.home)

    def query(self, query: str, *values: object) -> Query:
        """Asks the warehouse; nothing if it has no tables yet."""
        with psycopg.connect(self.url) as connection:
            if connection.execute("select to_regclass('canvas.canvas_sync_sync_batches')").fetchone() == (None,):
                return []
            return connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Opens Dagster's instance as this machine sees it."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            with dg.DagsterInstance.get() as instance:
                yield instance
        finally:
            os.environ.clear()
            os.environ.update(before)

    def assert_settled(self, canvas: SimulatedCanvas) -> None:
        """Says that nothing is under way or held, that the tables equal Canvas, and that no two like reports ran at once."""
        assert self.query("select job_class, job_id from canvas.canvas_sync_job_logs where status = 'running'") == []
        with self.instance() as instance:
            until(lambda: all(run.is_finished for run in instance.get_runs()), 120, "a run is under way for ever")
            pools = instance.event_log_storage
            until(
                lambda: not pools.get_concurrency_info("canvas_reports__canvas").active_slot_count,
                60,
                "a slot stays taken",
            )
        assert_true(canvas, self.url)
        assert all(report.twins == 0 for report in canvas.queue.reports.values())


def kill(processes: Iterable[int]) -> None:
    """Kills processes, some of which may be gone already."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Waits for something; fails if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
