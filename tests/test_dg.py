"""The component in an existing dg project, by the commands of `dg`: scaffold, check, list, inspect, launch, dev."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from click.testing import CliRunner
from dagster_dg_cli.cli import cli

from canvas_sync_dagster.dagster_yaml import read_settings, unmet
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.commands.test_locations import dg_project
from tests.fix_postgres import fresh

COMPONENT = "canvas_sync_dagster.CanvasSyncComponent"
QUERY = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dg_project(tmp_path_factory.mktemp("dg"))


@pytest.fixture(scope="module")
def variables(postgres: EmbeddedPostgres, root: Path) -> Iterator[dict[str, str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_SYNC_", "DAGSTER_"))}
    with SimulatedCanvas(compile_seconds=0.01).serve() as canvas, fresh(postgres, "template1") as url:
        yield {
            **kept,
            # As `pip install -e .` does.
            "PYTHONPATH": str(root / "src"),
            "CANVAS_SYNC_TOKEN": canvas.token,
            "CANVAS_SYNC_DATABASE_URL": url,
            "CANVAS_SYNC_POLL_SECONDS": "0.05",
            "COLUMNS": "200",
            "BASE_URL": canvas.base_url,
        }


@pytest.fixture(scope="module")
def dg(root: Path, variables: dict[str, str]) -> Callable[..., str]:
    """Runs a command of `dg` in the project, and returns its output."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "dagster_dg_cli.cli", *arguments]
        done = subprocess.run(
            command, cwd=root, env=variables, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def scaffolded(root: Path, dg: Callable[..., str], variables: dict[str, str]) -> str:
    """The output of the scaffolder."""
    return dg("scaffold", "defs", COMPONENT, "school", "--base-url", variables["BASE_URL"], "--models", "terms,users")


def test_the_scaffolder_writes_what_the_project_needs(root: Path, scaffolded: str) -> None:
    assert (root / "src" / "school" / "defs" / "school" / "defs.yaml").read_text().startswith(f"type: {COMPONENT}\n")
    assert "CANVAS_SYNC_TOKEN=" in (root / ".env.example").read_text().splitlines()
    settings = read_settings(root / "dagster.yaml")
    assert unmet(settings) == []
    # The storage of an existing project stays where it is.
    assert "storage" not in settings
    assert "canvas-sync doctor" in scaffolded


@pytest.mark.usefixtures("scaffolded")
def test_the_definitions_are_valid_and_listed(dg: Callable[..., str]) -> None:
    # It checks the YAML first, as `dg check yaml` does.
    checked = dg("check", "defs")
    assert "All component YAML validated successfully." in checked
    assert "All definitions loaded successfully." in checked
    listed = json.loads(dg("list", "defs", "--json"))
    assert {each["asset_key"] for each in listed["assets"]} == {"school/terms", "school/users"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dg_shows_the_schema_of_the_component(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In this process, because a command of dg takes three seconds to start.
    monkeypatch.chdir(root)
    done = CliRunner().invoke(cli, ["utils", "inspect-component", COMPONENT, "--defs-yaml-schema"])
    assert done.exit_code == 0, done.output
    assert "term_concurrency: <one of: integer, string>  # Optional: 1 to 100 term runs at the same time" in done.stdout


@pytest.mark.usefixtures("scaffolded")
def test_dg_launch_syncs(dg: Callable[..., str], variables: dict[str, str]) -> None:
    dg("launch", "--assets", "school/users")
    with psycopg.connect(variables["CANVAS_SYNC_DATABASE_URL"]) as connection:
        assert connection.execute("select count(*) > 20 from school.users").fetchone() == (True,)


@pytest.mark.browser
@pytest.mark.usefixtures("scaffolded")
def test_dg_dev_serves_the_project(root: Path, variables: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dagster_dg_cli.cli", "dev", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=root, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert served_locations(port, process) == [root.name]
    finally:
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors, errors.decode()


def served_locations(port: int, process: subprocess.Popen[bytes]) -> list[str]:
    """Return the names of the locations that the UI shows, once it does."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": QUERY}, timeout=30).json()
            if nodes := answer["data"]["repositoriesOrError"].get("nodes"):
                return [node["location"]["name"] for node in nodes]
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    return []
