"""A run worker builds the tenants of its run, exactly as the code server does, and an outline of the others."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

# Private: they execute a run or a step in its process. If Dagster renames them, adapt `project.run_worker`.
from dagster._cli.api import _execute_step_command_body
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.multiprocess import MultiprocessExecutorChildProcessCommand
from dagster._core.test_utils import create_run_for_test
from dagster._grpc.impl import core_execute_run
from dagster._grpc.types import ExecuteStepArgs
from dagster_shared.record import replace

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.assets.tenant_assets import tenant_assets
from canvas_sync_dagster.project import run_worker

SLUGS = ("north", "south", "west")
LOCATION = """
from pathlib import Path
import dagster as dg
from tests.project.test_run_worker import location
defs = location()
with Path({seen!r}).open("a") as seen:
    print(*sorted({{key.path[0] for key in defs.resolve_asset_graph().executable_asset_keys}}), file=seen)
"""


@dg.asset(deps=[["north", "courses"], ["south", "courses"]])
def everywhere() -> None:
    """Reads two tenants."""


@dg.asset_check(asset=dg.AssetKey(["south", "users"]))
def known_users() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def sync() -> CanvasSync:
    tenants = [
        {
            "slug": slug,
            "base_url": f"https://{slug}.example.edu",
            "token": "7~t",
            "database_url": "postgresql://localhost:1/none",
        }
        for slug in SLUGS
    ]
    return CanvasSync(tenants=tenants)


def location() -> dg.Definitions:
    """Return three tenants, and definitions of a user that name all of them."""
    courses = [dg.AssetKey([slug, "courses"]) for slug in SLUGS]
    more = dg.Definitions(
        assets=[everywhere],
        asset_checks=[known_users],
        jobs=[dg.define_asset_job("all_courses", dg.AssetSelection.assets(*courses), partitions_def=None)],
        schedules=[dg.ScheduleDefinition(name="users", job_name="west__reconcile", cron_schedule="0 4 * * *")],
        sensors=[dg.AutomationConditionSensorDefinition("courses", target=dg.AssetSelection.assets(*courses))],
    )
    return sync().definitions(more)


def keys(*names: str) -> frozenset[dg.AssetKey]:
    return frozenset(dg.AssetKey(name.split("/")) for name in names)


def checks(*names: str) -> frozenset[dg.AssetCheckKey]:
    return frozenset(dg.AssetCheckKey(dg.AssetKey(name.split("/")[:2]), name.split("/")[2]) for name in names)


RUNS: dict[str, tuple[dict[str, Any], Iterable[str]]] = {
    "a job of a tenant": ({"job_name": "south__sync_root"}, ["south"]),
    "a part of one": ({"job_name": "south__sync_term", "asset_selection": keys("south/courses")}, ["south"]),
    "a job without assets": ({"job_name": "west__live_events"}, ["west"]),
    "assets of a tenant": ({"job_name": "__ASSET_JOB", "asset_selection": keys("north/users")}, ["north"]),
    "assets of two": ({"job_name": "__ASSET_JOB", "asset_selection": keys("north/users", "west/users")}, ["north", "west"]),
    "checks alone": ({"job_name": "__ASSET_JOB", "asset_check_selection": checks("south/users/known_users")}, ["south"]),
    "an asset of the user": ({"job_name": "__ASSET_JOB", "asset_selection": keys("everywhere")}, SLUGS),
    "one of each": ({"job_name": "__ASSET_JOB", "asset_selection": keys("everywhere", "north/users")}, SLUGS),
    "a job of the user": ({"job_name": "all_courses"}, SLUGS),
    "everything": ({"job_name": "__ASSET_JOB"}, SLUGS),
}  # fmt: skip


def test_a_run_needs_its_tenants() -> None:
    project = sync().project()
    tenants = [tenant_assets(project, each) for each in project.settings.tenants]
    for case, (run, expected) in RUNS.items():
        assert (run_worker.tenants_of_run(dg.DagsterRun(**run), tenants) or {*SLUGS}) == {*expected}, case


def test_what_a_worker_builds_is_what_the_code_server_has(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = location().get_repository_def()
    run = dg.DagsterRun(job_name="__ASSET_JOB", asset_selection=keys("south/courses"))
    monkeypatch.setattr(run_worker, "run_of_this_process", lambda: run)
    part = location().get_repository_def()
    assert {key.path[0] for key in part.asset_graph.executable_asset_keys} == {"south", "everywhere"}
    assert part.asset_graph.get_all_asset_keys() == whole.asset_graph.get_all_asset_keys()
    assert set(part.job_names) == set(whole.job_names)
    jobs = [name for name in whole.job_names if name.startswith("south__")]
    assert len(jobs) == 6
    for name in jobs:
        assert part.get_job(name).get_job_snapshot_id() == whole.get_job(name).get_job_snapshot_id(), name
    selections: list[tuple[str, Any]] = [("asset_selection", keys("south/courses", "south/sections")),
                  ("asset_check_selection", checks("south/users/known_users"))]  # fmt: skip
    for kind, selected in selections:
        snapshots = [
            each.get_maybe_subset_job_def("__ASSET_JOB", **{kind: selected}).get_job_snapshot()
            for each in (whole, part)
        ]
        # The lineage differs: it names the job of all assets, of which this one is a part.
        first, second = (replace(each, lineage_snapshot=None) for each in snapshots)
        assert first == second


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    (tmp_path / "location.py").write_text(LOCATION.format(seen=str(tmp_path / "seen")))
    return tmp_path / "seen"


@pytest.mark.parametrize("way", ["run", "step in a container", "step in a process"])
def test_each_way_of_executing_finds_its_run(way: str, seen: Path) -> None:
    repository = ReconstructableRepository.for_file(str(seen.parent / "location.py"), "defs", str(Path.cwd()))
    job = ReconstructableJob(repository, "__ASSET_JOB")
    selected = keys("west/users")
    with dg.instance_for_test() as instance:
        run = create_run_for_test(
            instance, job_name="__ASSET_JOB", asset_selection=selected, job_code_origin=job.get_python_origin()
        )
        events: Iterator[dg.DagsterEvent]
        if way == "run":
            events = core_execute_run(job, run, instance, inject_env_vars=False)
        elif way == "step in a container":
            arguments = ExecuteStepArgs(job.get_python_origin(), run.run_id, ["west__provisioning"], instance.get_ref())
            events = _execute_step_command_body(arguments, instance, run)
        else:
            subset = job.get_subset(asset_selection=selected)
            events = MultiprocessExecutorChildProcessCommand(
                {},
                run,
                "west__provisioning",
                instance.get_ref(),
                multiprocessing.Event(),
                subset,
                RetryMode.DISABLED,
                None,
                None,
            ).execute()
        # There is no database, so that the step was loaded and executed, and failed.
        assert any(event.is_step_failure and event.step_key == "west__provisioning" for event in list(events))
    assert set(seen.read_text().splitlines()) == {"everywhere west"}
    sys.modules.pop("location", None)
