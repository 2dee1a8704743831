"""Every command finds the project of every kind of location: module, definitions, component, dg project."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn
from click.testing import CliRunner, Result

from canvas_sync_dagster.cli import main
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.fix_postgres import fresh

# Dagster's own reading of YAML uses what pydantic has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.parse_obj_as. is deprecated"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]

SYNC = """\
from canvas_sync_dagster import CanvasSync
sync = CanvasSync.from_environment()
defs = sync.definitions()
"""
DEFINITIONS = """\
import dagster as dg
from canvas_sync_dagster import CanvasSync

@dg.asset
def report(): ...

@dg.definitions
def defs():
    return dg.Definitions.merge(dg.Definitions([report]), CanvasSync.from_environment().definitions())
"""
FOLDER = """\
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
COMPONENT = "type: canvas_sync_dagster.CanvasSyncComponent\n"
COMMANDS = (
    "migrate",
    "sync",
    "status",
    "doctor",
    "dbt-sources",
    "reconcile",
    "replay rejects",
    "replay events",
    "workspace --output shares.yaml",
)
VARIABLES = {
    "CANVAS_SYNC_MODELS": "terms,users",
    "CANVAS_SYNC_TERM_SCOPE": "118",
    "CANVAS_SYNC_POLL_SECONDS": "0.02",
}


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The loaded packages leave nothing in the process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in os.environ if name.startswith(("CANVAS_SYNC_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {"school", "own"}:
            del sys.modules[name]


@pytest.fixture(scope="module")
def variables(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One Canvas, one database and one instance for all locations: the first sync fills it, later ones change nothing."""
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with (
        SimulatedCanvas(compile_seconds=0.01, now=datetime.now(UTC)).serve() as canvas,
        fresh(postgres, "template1") as url,
    ):
        yield {
            **VARIABLES,
            "CANVAS_SYNC_BASE_URL": canvas.base_url,
            "CANVAS_SYNC_TOKEN": canvas.token,
            "CANVAS_SYNC_DATABASE_URL": url,
            "CANVAS_SYNC_HOME": str(home),
            "DATASERVICES_JWK_URL": canvas.jwk_url,
            "DAGSTER_HOME": str(home),
        }


def dg_project(root: Path, **defs: str) -> Path:
    """Write a dg project, with a `defs.yaml` in each named folder."""
    package = root / "src" / "school"
    package.mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "school"\n'
    )
    (package / "__init__.py").touch()
    (package / "definitions.py").write_text(FOLDER)
    (package / "defs").mkdir()
    (package / "defs" / "__init__.py").touch()
    for name, content in defs.items():
        (package / "defs" / name).mkdir()
        (package / "defs" / name / "defs.yaml").write_text(content)
    return root


def module(root: Path) -> list[str]:
    (root / "own.py").write_text(SYNC)
    return ["-m", "own"]


def definitions(root: Path) -> list[str]:
    (root / "own.py").write_text(DEFINITIONS)
    return ["-f", "own.py"]


def component(root: Path) -> list[str]:
    dg_project(root, canvas=COMPONENT)
    return ["-f", "src/school/defs/canvas/defs.yaml"]


def project(root: Path) -> list[str]:
    dg_project(root, canvas=COMPONENT)
    return ["-f", "pyproject.toml"]


def working_directory(root: Path) -> list[str]:
    dg_project(root, canvas=COMPONENT)
    return []


def called(variables: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env=variables)


def stopped_once_ready(monkeypatch: pytest.MonkeyPatch, answers: list[int]) -> None:
    """Let the receiver stop once it has answered a request."""
    run = uvicorn.Server.run

    def probed(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        host, port = sockets[0].getsockname()
        ask = threading.Thread(target=lambda: answers.append(answer_of(server, f"http://{host}:{port}/health")))
        ask.start()
        run(server, sockets)
        ask.join()

    monkeypatch.setattr(uvicorn.Server, "run", probed)


def answer_of(server: uvicorn.Server, url: str) -> int:
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=5)) as client:
            return client.get(url, timeout=20).status_code
    finally:
        server.should_exit = True


@pytest.mark.parametrize("kind", [module, definitions, component, project, working_directory])
def test_every_command_works_on_every_kind_of_location(
    kind: Callable[[Path], list[str]], variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = kind(tmp_path)
    done = {command: called(variables, *command.split(), *where) for command in COMMANDS}
    for command, each in done.items():
        assert each.exit_code == 0, f"{command}: {each.output} {each.exception!r}"
    assert "users" in done["status"].output
    assert "name: users" in done["dbt-sources"].output
    assert "canvas_sync_1: canvas" in done["workspace --output shares.yaml"].output
    answers: list[int] = []
    stopped_once_ready(monkeypatch, answers)
    started = called(variables, "live-events", "--port", "0", *where)
    assert (started.exit_code, answers) == (0, [200]), started.output


def test_a_dg_project_without_canvas_sync_is_not_taken_for_one(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dg_project(tmp_path))
    found = called(variables, "dbt-sources")
    assert found.exit_code == 0, found.output
    named = called(variables, "dbt-sources", "-f", ".")
    assert named.exit_code == 2
    assert "contains no CanvasSync" in named.stderr


@pytest.mark.parametrize(
    ("write", "where", "problem"),
    [
        (lambda root: dg_project(root, one=COMPONENT, two=COMPONENT), "pyproject.toml", "several CanvasSyncComponents"),
        (
            lambda root: (root / "own.py").write_text(SYNC + "other = CanvasSync.from_environment()\n"),
            "own.py",
            "2 CanvasSyncs",
        ),
        (lambda root: (root / "own.py").write_text("defs = None\n"), "own.py", "no CanvasSync"),
        (lambda root: (root / "defs.yaml").write_text(COMPONENT), "defs.yaml", "not part of a dg project"),
        (lambda root: (root / "pyproject.toml").write_text("[project]\n"), "pyproject.toml", "not a dg project"),
        (lambda root: (root / "pyproject.toml").write_text("["), "pyproject.toml", "TOML"),
        (
            lambda root: dg_project(
                root, canvas=f"{COMPONENT}attributes:\n  tenants: {{north: {{term_concurrency: 0}}}}\n"
            ),
            "pyproject.toml",
            "tenants.north.term_concurrency",
        ),
    ],
)
def test_what_is_not_one_location_is_refused_in_one_line(
    write: Callable[[Path], object],
    where: str,
    problem: str,
    variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    done = called(variables, "dbt-sources", "-f", where)
    assert done.exit_code == 2, done.output
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
