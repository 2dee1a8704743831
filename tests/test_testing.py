"""The fixtures for users' tests come with the extra `testing`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from click.testing import CliRunner

from canvas_sync_dagster.cli import main


def test_a_new_location_depends_on_the_extra_for_its_tests(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["init", str(tmp_path / "school")]).exit_code == 0
    project = tomllib.loads((tmp_path / "school" / "pyproject.toml").read_text())
    assert "canvas-sync-dagster[dev]" in project["dependency-groups"]["dev"]
    assert project["project"]["dependencies"] == ["canvas-sync-dagster"]


def test_without_pytest_the_error_names_the_extra() -> None:
    # An entry of None in sys.modules is how Python marks a module that cannot be imported.
    code = "import sys; sys.modules['pytest'] = None; import canvas_sync_dagster.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: canvas_sync_dagster.testing needs pytest, which is not installed. "
        "Install the extra: pip install 'canvas-sync-dagster[testing]'"
    )
    assert "ModuleNotFoundError" not in done.stderr
