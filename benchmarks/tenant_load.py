"""What the definitions of many tenants cost: seconds and memory of a code server, and of the worker of one run.

The code server is `dagster api grpc`. The run worker is `dagster api execute_run`, as launchers for containers start it;
it runs one tenant's housekeeping job, and materializes its terms as the button *Materialize* of the UI does. Canvas is
simulated, and Dagster's storage is an embedded PostgreSQL.

    ./run python benchmarks/tenant_load.py [--tenants 1 10 100] [--checkout DIR]

`--checkout` measures another checkout with this one's packages, for a comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.instance.ref import InstanceRef
from dagster._core.test_utils import create_run_for_test
from dagster._grpc.types import ExecuteRunArgs
from dagster_shared.serdes import serialize_value

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas

ROOT = Path(__file__).parent.parent
MODULE = "canvas_sync_dagster.definitions"
PATIENCE = 300
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
RUNS: dict[str, dict[str, Any]] = {
    "housekeeping": {"job_name": "t000__housekeeping"},
    "terms": {"job_name": "__ASSET_JOB", "asset_selection": frozenset([dg.AssetKey(["t000", "terms"])])},
}
"""Name → the run of one tenant."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds and memory of a process.

    Attributes:
        cpu: Seconds of CPU.
        megabytes: Resident memory; of a process that has ended, its peak.
    """

    cpu: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.cpu:.1f} CPU s, {self.megabytes:.0f} MB"


@contextlib.contextmanager
def location(tenants: int, *, checkout: Path = ROOT) -> Iterator[dict[str, str]]:
    """Prepare a code location with so many tenants, all on one simulated Canvas, and yield the environment for it."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="canvas_sync_tenants_")))
        shutil.copy(ROOT / "dagster.yaml", home)
        canvas = stack.enter_context(SimulatedCanvas(compile_seconds=0.1).serve())
        server = stack.enter_context(EmbeddedPostgres(home / "postgres"))
        shared = {"base_url": canvas.base_url, "token": canvas.token, "database_url": server.database("canvas")}
        settings = {"tenants": {f"t{number:03}": shared for number in range(tenants)}}
        # An anchor for what the tenants share would be quicker to read than the file of a real location.
        yaml.SafeDumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]
        (home / "canvas_sync.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_", "DAGSTER_"))},
            "PYTHONPATH": str(checkout),
            "DAGSTER_HOME": str(home),
            "CANVAS_SYNC_HOME": str(home),
            "CANVAS_SYNC_CONFIG": str(home / "canvas_sync.yaml"),
            "CANVAS_SYNC_DAGSTER_DATABASE_URL": server.database("dagster"),
        }


def code_server(environment: dict[str, str]) -> Cost:
    """Start a code server, and return what it has cost when it is ready."""
    command = [
        sys.executable,
        "-m",
        "dagster",
        "api",
        "grpc",
        "-m",
        MODULE,
        "-s",
        f"{environment['DAGSTER_HOME']}/grpc",
    ]
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=environment["DAGSTER_HOME"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "Started Dagster code server" in line:
                return _cost_now(process.pid)
        sys.exit("".join(lines))
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _cost_now(pid: int) -> Cost:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    cpu = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return Cost(cpu, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def run_worker(environment: dict[str, str], name: str) -> Cost:
    """Execute one of the runs in a worker, and return what that has cost in all."""
    os.environ.update({key: value for key, value in environment.items() if key.startswith(("CANVAS_", "DAGSTER_"))})
    origin = ReconstructableRepository.for_module(MODULE, "defs").get_reconstructable_job(str(RUNS[name]["job_name"]))
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        run = create_run_for_test(instance, job_code_origin=origin.get_python_origin(), **RUNS[name])
        reference: InstanceRef = instance.get_ref()
        arguments = ExecuteRunArgs(origin.get_python_origin(), run.run_id, reference, set_exit_code_on_failure=True)
        command = [sys.executable, "-m", "dagster", "api", "execute_run", serialize_value(arguments)]
        with (Path(environment["DAGSTER_HOME"]) / "run.log").open("w") as log:
            process = subprocess.Popen(
                command, env=environment, cwd=environment["DAGSTER_HOME"], stdout=log, stderr=subprocess.STDOUT
            )
            _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit((Path(environment["DAGSTER_HOME"]) / "run.log").read_text(encoding="utf-8"))
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def table(tenants: int, *, checkout: Path = ROOT) -> dict[str, Cost]:
    """Return what a location with so many tenants costs: process → cost."""
    with location(tenants, checkout=checkout) as environment:
        # The first run creates the tables of Dagster and of the tenant.
        run_worker(environment, "housekeeping")
        return {
            "code server": code_server(environment),
            **{f"run worker, {name}": run_worker(environment, name) for name in RUNS},
        }


def main() -> None:
    """Measure locations of several sizes, and print one line for each process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--checkout", type=Path, default=ROOT)
    options = parser.parse_args()
    started = time.monotonic()
    for number in options.tenants:
        for process, cost in table(number, checkout=options.checkout.resolve()).items():
            print(f"{number:4} tenants, {process}: {cost}", flush=True)
    print(f"measured in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
