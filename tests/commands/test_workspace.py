"""`canvas-sync workspace`: locations that share a module, each with its tenants; a tenant never moves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from canvas_sync_dagster import shares
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.commands.workspace import arranged
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.project.share import VARIABLE

DEFINITIONS = """
import dagster as dg
from canvas_sync_dagster import CanvasSync

sync = CanvasSync.from_environment()

@dg.asset
def report_of_the_school() -> None: ...

defs = sync.definitions(dg.Definitions(assets=[report_of_the_school]))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    configure("north", "south", "west")
    (tmp_path / "school_of_the_test.py").write_text(DEFINITIONS)
    yield tmp_path
    sys.modules.pop("school_of_the_test", None)


def configure(*slugs: str) -> None:
    tenants = {slug: {"base_url": f"https://{slug}.example.edu", "token": "7~t", "models": ["terms"]} for slug in slugs}
    Path("canvas_sync.yaml").write_text(yaml.safe_dump({"tenants": tenants}))


def workspace(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["workspace", *arguments])


def attributes() -> dict[str, str]:
    entries = yaml.safe_load(Path("workspace.yaml").read_text())["load_from"]
    ours = [entry["python_module"] for entry in entries if isinstance(entry.get("python_module"), dict)]
    return {entry["location_name"]: entry["attribute"] for entry in ours}


def test_a_tenant_keeps_its_location() -> None:
    first = arranged({}, ["a", "b", "c"], 2)
    assert first == {1: ["a", "b"], 2: ["c"]}
    assert arranged(first, ["new", "a", "b", "c"], 2) == {1: ["a", "b"], 2: ["c", "new"]}
    assert arranged(first, ["c", "d", "b"], 1) == {1: ["b"], 2: ["c"], 3: ["d"]}
    assert arranged({1: ["a", "b", "c"]}, ["a", "b", "c", "d"], 1) == {1: ["a", "b", "c"], 2: ["d"]}
    assert arranged({1: ["a"], 2: ["b"]}, ["b", "c"], 1) == {1: ["c"], 2: ["b"]}


def test_the_file_keeps_what_is_not_ours_and_is_checked(home: Path) -> None:
    other = {"grpc_server": {"host": "dbt", "port": 4000}}
    Path("workspace.yaml").write_text(
        yaml.safe_dump({"load_from": [{"python_module": "canvas_sync_dagster.definitions"}, other]})
    )
    assert workspace("--check").exit_code == 1
    assert workspace("--tenants-per-location", "2").exit_code == 0
    expected = {
        "canvas_sync_1": "canvas_sync_dagster.definitions:defs:north,south",
        "canvas_sync_2": "canvas_sync_dagster.definitions:defs:west",
    }
    assert attributes() == expected
    entries = yaml.safe_load(Path("workspace.yaml").read_text())["load_from"]
    assert len(entries) == 3
    assert other in entries
    assert workspace("--check").exit_code == 0
    configure("east", "north", "west")
    told = workspace("--check", "--tenants-per-location", "2")
    assert told.exit_code == 1
    assert "workspace.yaml does not fit the tenants" in told.output
    assert workspace("--tenants-per-location", "2").exit_code == 0
    assert attributes()["canvas_sync_1"].endswith(":north,east")
    Path("workspace.yaml").write_text("- a\n- list")
    assert workspace().exit_code == 2


def test_a_share_has_its_tenants_and_the_definitions_of_the_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(shares, "_loaded", [])
    sys.path.insert(0, str(home))
    found = getattr(shares, "school_of_the_test:defs:north,gone")
    assert {key.to_user_string() for key in found.resolve_all_asset_keys()} == {"north/terms", "report_of_the_school"}
    assert {each.name for each in found.schedules} == {
        "north__sync",
        "north__audit",
        "north__reconcile",
        "north__housekeeping",
    }
    with pytest.raises(SettingError, match="has loaded school_of_the_test:defs:north,gone already"):
        getattr(shares, "school_of_the_test:defs:south")
    with pytest.raises(AttributeError, match="MODULE:ATTRIBUTE:TENANTS"):
        _ = shares.defs
    monkeypatch.setenv(VARIABLE, "gone")
    with pytest.raises(SettingError, match="none of these tenants is configured"):
        sys.modules["school_of_the_test"].sync.definitions()


def test_a_dg_project_is_divided_too(home: Path) -> None:
    Path("pyproject.toml").write_text('[tool.dg.project]\nroot_module = "school_of_dg"')
    package = home / "src" / "school_of_dg"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    try:
        assert workspace().exit_code == 0
    finally:
        sys.modules.pop("school_of_dg.definitions", None)
    (entry,) = yaml.safe_load(Path("workspace.yaml").read_text())["load_from"]
    assert entry["python_module"]["attribute"] == "school_of_dg.definitions:defs:north,south,west"
    assert entry["python_module"]["working_directory"] == "src"


def test_dagster_loads_a_location_for_each_share(home: Path) -> None:
    assert workspace("-f", "school_of_the_test.py", "--tenants-per-location", "2").exit_code == 0
    assert set(attributes().values()) == {"school_of_the_test:defs:north,south", "school_of_the_test:defs:west"}
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(
        command, env={**os.environ, "DAGSTER_HOME": ""}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout
    assert all(f"successful for code location canvas_sync_{number}" in done.stdout for number in (1, 2)), done.stdout
