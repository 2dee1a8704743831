"""Two hosts that share PostgreSQL and Canvas, and nothing else: one takes up what the other leaves, or works beside it."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import ReportRun, SimulatedCanvas
from tests.machines import MONITORING, Machine, until

pytestmark = pytest.mark.soak
BATCHES = "select status, batch_genre, metadata->>'trigger' from canvas.canvas_sync_sync_batches order by id"
ENDS = "select status, exception from canvas.canvas_sync_job_logs where job_class = %s order by id"
STUCK = "stuck_in_running"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A daemon that finds the code server at an address, whichever host serves there.

    Attributes:
        canvas: The Canvas; it compiles the first report until somebody releases it.
        machine: Where Dagster's daemon runs, which loads no code of ours.
        daemon: Its process.
        hosts: Two machines with our code; the first serves.
        port: Where the code server listens.
    """

    canvas: SimulatedCanvas
    machine: Machine
    daemon: subprocess.Popen[bytes]
    hosts: tuple[Machine, Machine]
    port: int

    def launch(self) -> None:
        """Launches a whole sync, as a person does in the UI."""
        self.machine.call(
            "dagster", "job", "launch", "-w", "workspace.yaml", "-j", "canvas__sync_root"
        ).check_returncode()

    def waited_for(self) -> ReportRun:
        """Returns the report that Canvas compiles while a run waits for it."""
        reports = self.canvas.queue.reports
        until(lambda: any(each.polls > 2 for each in list(reports.values())), 120, "nobody asks for a report")
        return next(each for each in list(reports.values()) if STUCK in each.faults)

    def replace_first(self) -> None:
        """Kills everything on the first host, burns its disk, and has the second serve in its place."""
        first, second = self.hosts
        first.burn()
        # Dagster has its workers write under the path that it names on the daemon's machine: that was this disk, too.
        shutil.rmtree(self.machine.home / "storage", ignore_errors=True)
        serve(second, self.port)

    def assert_over(self, *batches: tuple[str, str, str]) -> None:
        """Says that these batches end, and that all is well then: status, genre and trigger of each."""
        query = self.machine.query
        until(
            lambda: query(BATCHES) and all(each[0] != "processing" for each in query(BATCHES)), 180, "a batch is open"
        )
        assert query(BATCHES) == list(batches)
        self.machine.assert_settled(self.canvas)


def serve(host: Machine, port: int) -> None:
    """Starts a code server, as deploy/compose.yaml does."""
    where = ("-h", "127.0.0.1", "-p", str(port))
    server = host.start("dagster", "code-server", "start", *where, "-m", "canvas_sync_dagster.definitions")

    def answers() -> bool:
        assert server.poll() is None, (host.home / "dagster.log").read_text()
        return host.call("dagster", "api", "grpc-health-check", "-p", str(port)).returncode == 0

    until(answers, 60, "the code server does not come")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with contextlib.ExitStack() as stack:
        canvas = stack.enter_context(SimulatedCanvas(compile_seconds=0.2).serve())
        canvas.faults.add(STUCK)
        server = stack.enter_context(EmbeddedPostgres(tmp_path / "postgres"))
        monitoring = MONITORING | {"poll_interval_seconds": 10}
        machine, *hosts = (
            Machine(tmp_path / name, canvas, server, monitoring=monitoring) for name in ("daemon", "first", "second")
        )
        for each in (machine, *hosts):
            stack.callback(each.end)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        address = {"host": "127.0.0.1", "port": port, "location_name": "canvas_sync"}
        (machine.home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": address}]}))
        serve(hosts[0], port)
        daemon = machine.start("dagster-daemon", "run", "-w", "workspace.yaml")
        yield Deployment(canvas, machine, daemon, (hosts[0], hosts[1]), port)


def test_a_run_killed_with_its_host_is_taken_up_by_another(deployment: Deployment) -> None:
    deployment.launch()
    report = deployment.waited_for()
    deployment.replace_first()
    # As soon as the first host is dead nobody asks after the report, until the second does.
    polls = report.polls
    until(lambda: report.polls > polls, 120, "nobody takes up the report")
    report.faults.discard(STUCK)
    deployment.assert_over(("completed", "default", "launch"))
    lost = "its process is gone: no heartbeat for 0:00:12"
    assert deployment.machine.query(ENDS, report.name)[:2] == [("error", lost), ("success", None)]
    asked = Counter((each.name, json.dumps(each.parameters)) for each in deployment.canvas.queue.reports.values())
    assert set(asked.values()) == {1}


def test_a_run_that_waits_in_the_queue_when_its_host_dies_begins_on_another(deployment: Deployment) -> None:
    deployment.daemon.send_signal(signal.SIGSTOP)
    deployment.launch()
    deployment.hosts[0].burn()
    deployment.daemon.send_signal(signal.SIGCONT)
    log = deployment.machine.home / "dagster-daemon.log"
    until(lambda: "Caught an error dequeuing run" in log.read_text(), 60, "the daemon does not try to launch the run")
    serve(deployment.hosts[1], deployment.port)
    deployment.waited_for()
    with deployment.machine.instance() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.STARTED]


def test_two_hosts_at_work_at_once_share_reports_and_leave_true_tables(deployment: Deployment) -> None:
    _, second = deployment.hosts
    deployment.launch()
    report = deployment.waited_for()
    refused = second.call("canvas-sync", "sync")
    assert refused.returncode == 1
    assert "a sync of canvas (default) is under way already" in refused.stderr
    beside = second.start("canvas-sync", "sync", CANVAS_SYNC_BATCH_GENRE="nightly")
    said = second.home / "canvas-sync.log"
    until(lambda: f"{report.id} was started before and is adopted" in said.read_text(), 60, "it adopts nothing")
    report.faults.discard(STUCK)
    assert beside.wait(180) == 0, said.read_text()
    deployment.assert_over(("completed", "default", "launch"), ("completed", "nightly", "command"))
