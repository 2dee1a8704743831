"""A code server starts its runs as forks of a process that has imported Dagster; such a run is like any other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import PythonFileTarget

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.project import definitions, preloading
from tests.machines import until

LOCATION = """
import os, sys, time
from pathlib import Path
import dagster as dg
from canvas_sync_dagster import CanvasSync

SECRET = Path({seen!r}).with_name("secret").read_text()

@dg.op
def tell():
    parent = Path(f"/proc/{{os.getppid()}}/cmdline").read_bytes().decode()
    Path({seen!r}).write_text(SECRET + " " + parent)

@dg.op
def wait():
    Path({seen!r}).write_text("waits")
    time.sleep(600)

@dg.job
def telling():
    tell()

@dg.job
def waiting():
    wait()

tenant = {{"slug": "north", "base_url": "https://north.example.edu", "token": "7~t", "database_url": "postgresql://localhost:1/n"}}
defs = CanvasSync(tenants=[tenant]).definitions(dg.Definitions(jobs=[telling, waiting]))
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks run workers")


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    (tmp_path / "location.py").write_text(LOCATION.format(seen=str(tmp_path / "seen")))
    (tmp_path / "secret").write_text("old")
    return tmp_path / "seen"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as opened:
        yield opened


def launched(instance: dg.DagsterInstance, workspace: WorkspaceRequestContext, job: str) -> str:
    """Launches a job on the code server, and returns the id of the run."""
    (location,) = workspace.code_locations
    (repository,) = location.get_repositories().values()
    remote = repository.get_full_job(job)
    run = create_run_for_test(
        instance, job_name=job, remote_job_origin=remote.get_remote_origin(), job_code_origin=remote.get_python_origin()
    )
    instance.launch_run(run.run_id, workspace)
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus | None:
    run = instance.get_run_by_id(run_id)
    return run.status if run else None


def test_a_run_is_a_fork_that_loads_the_location_itself_and_can_be_cancelled(
    instance: dg.DagsterInstance, seen: Path
) -> None:
    target = PythonFileTarget(str(seen.parent / "location.py"), "defs", str(seen.parent), "location")
    with WorkspaceProcessContext(instance, target) as process:
        workspace = process.create_request_context()
        # Written after the code server has loaded the location.
        seen.with_name("secret").write_text("new")
        run_id = launched(instance, workspace, "telling")
        until(lambda: status(instance, run_id) is dg.DagsterRunStatus.SUCCESS, 120, "the run does not end")
        secret, _, parent = seen.read_text().partition(" ")
        assert secret == "new"
        assert "multiprocessing.forkserver" in parent
        seen.unlink()
        run_id = launched(instance, workspace, "waiting")
        until(seen.exists, 120, "the run does not begin")
        assert instance.run_launcher.terminate(run_id)
        until(lambda: status(instance, run_id) is dg.DagsterRunStatus.CANCELED, 60, "the run is not cancelled")


def test_what_is_preloaded_starts_no_thread() -> None:
    script = (
        f"import importlib, os\nfor name in {preloading.MODULES!r}: importlib.import_module(name)\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "1"


def test_outside_of_a_code_server_and_where_it_is_switched_off_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not preloading.preload_run_workers()
    calls: list[str] = []
    monkeypatch.setattr(definitions, "preload_run_workers", lambda: calls.append("preloads"))
    for value, expected in (("true", ["preloads"]), ("false", [])):
        monkeypatch.setenv("CANVAS_SYNC_PRELOAD_RUN_WORKERS", value)
        calls.clear()
        CanvasSync(tenants=[{"slug": "north"}]).definitions()
        assert calls == expected
