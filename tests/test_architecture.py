"""The arrows of the house: who may know whom, and who may know Dagster."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from canvas_sync_dagster import simulator
from canvas_sync_dagster.warehouse.schema.existing import STATE_TABLES

PACKAGE = Path(__file__).parent.parent / "canvas_sync_dagster"
NAME = PACKAGE.name

LEAVES = {
    "alert_settings",
    "durations",
    "clocks",
    "cron",
    "errors",
    "extras",
    "printable",
    "redaction",
    "retries",
    "full_sync_policy",
    "tenants",
    "settings",
    "signatures",
    "embedded",
    "postgres_url",
    "translation_settings",
    "yaml_files",
}
"""Known to everyone; they know the catalogue at most."""

ALLOWED: dict[str, set[str]] = {
    "clocks": set(),
    "cron": set(),
    "extras": set(),
    "printable": set(),
    "errors": {"printable"},
    "redaction": {"errors", "printable"},
    "retries": set(),
    "full_sync_policy": set(),
    "signatures": {"errors"},
    "translation_settings": {"cron"},
    "durations": set(),
    "yaml_files": {"errors"},
    "alert_settings": {"durations"},
    "postgres_url": {"errors"},
    "catalogue": {"errors", "printable", "signatures"},
    "embedded": {"errors", "extras"},
    "tenants": {
        "alert_settings",
        "durations",
        "errors",
        "full_sync_policy",
        "catalogue",
        "postgres_url",
        "translation_settings",
    },
    "configuration": {
        "alert_settings",
        "durations",
        "errors",
        "printable",
        "catalogue",
        "tenants",
        "postgres_url",
        "translation_settings",
        "yaml_files",
    },
    "settings": {"errors", "catalogue", "tenants", "configuration", "translation_settings"},
    "canvas": {"clocks", "errors", "printable", "redaction", "retries", "catalogue"},
    "warehouse": {
        "clocks",
        "errors",
        "extras",
        "printable",
        "redaction",
        "retries",
        "catalogue",
        "postgres_url",
        "signatures",
    },
    "sync": {"catalogue", "canvas", "warehouse"} | LEAVES,
    "live_events": {"catalogue", "canvas", "warehouse", "sync"} | LEAVES,
    "alerts": {"canvas", "warehouse", "sync"} | LEAVES,
    "audit": {"catalogue", "canvas", "warehouse", "sync"} | LEAVES,
    "simulator": set(),
    "dagster_yaml": {"errors", "yaml_files"},
    "instance_storage": {"errors", "embedded", "configuration", "postgres_url"},
    "orchestration": {"sync", "catalogue", "warehouse"} | LEAVES,
    "tenant_resources": {"sync", "canvas", "warehouse"} | LEAVES,
    "resources": {"tenant_resources", "orchestration", "sync", "catalogue", "canvas", "warehouse"} | LEAVES,
    "assets": {"audit", "orchestration", "live_events", "resources", "sync", "catalogue", "canvas", "warehouse"}
    | LEAVES,
    "sensors": {"alerts", "orchestration", "assets", "resources", "sync", "live_events", "catalogue", "warehouse"}
    | LEAVES,
    "schedules": {"orchestration", "resources", "catalogue"} | LEAVES,
    "project": {
        "alerts",
        "orchestration",
        "live_events",
        "assets",
        "sensors",
        "schedules",
        "resources",
        "sync",
        "canvas",
        "catalogue",
        "warehouse",
    }
    | LEAVES,
    "definitions": {"project", "errors"},
    "shares": {"errors", "project"},
    "component": {"project", "settings", "tenants", "configuration", "catalogue", "dagster_yaml", "errors"},
    "commands": {
        "audit",
        "configuration",
        "dagster_yaml",
        "instance_storage",
        "orchestration",
        "live_events",
        "project",
        "shares",
        "assets",
        "sensors",
        "simulator",
        "resources",
        "sync",
        "canvas",
        "catalogue",
        "warehouse",
    }
    | LEAVES,
    "cli": {"commands"} | LEAVES,
    "testing": {
        "assets",
        "commands",
        "embedded",
        "extras",
        "live_events",
        "orchestration",
        "project",
        "simulator",
        "sync",
        "warehouse",
    },
    "__init__": {
        "assets",
        "canvas",
        "catalogue",
        "component",
        "errors",
        "live_events",
        "project",
        "settings",
        "sync",
        "tenant_resources",
        "tenants",
    },
}
ABOVE_WING = {
    "warehouse": {"reading", "loading", "schema", "state"},
    "schema": {"reading", "loading"},
    "reading": {"loading", "schema"},
    "state": {"loading"},
}
"""Wing of the warehouse → wings that it must not import. `loading` is above all others."""
NOT_ONLY_TABLES = {
    "live_events/metrics.py": {"canvas_sync_live_events"},
    "sensors/alerts.py": {"canvas_sync_alerts"},
    "sensors/live_events.py": {"canvas_sync_live_events"},
}
"""Module → names of state tables that it uses for something else, such as a prefix of metrics or a sensor."""
SIMULATOR = f"{NAME}.simulator"
TESTS_OF_SIMULATED_DATA = {
    "truth.py",
    "witness.py",
    "catalogue/test_parameters.py",
    "live_events/test_drain.py",
    "sync/test_report_sync.py",
}
"""Tests that compare with the simulator's own tables, form parser, events or kinds of faults."""
DAGSTER = {
    "orchestration",
    "commands",
    "resources",
    "tenant_resources",
    "assets",
    "sensors",
    "schedules",
    "component",
    "definitions",
    "project",
    "instance_storage",
    "testing",
}
PRIVATE_DAGSTER = {
    "dagster._serdes.ConfigurableClassData",
}
"""Everything private of Dagster that the package imports, for type checks only; a comment above each import has the reason."""
WITHOUT_DAGSTER = [
    "live_events.serve",
    "alerts.rounds",
    "audit.run",
    "catalogue",
    "canvas",
    "warehouse",
    "sync",
    "settings",
    "simulator",
    "embedded",
    "cli",
    "orchestration.next_step",
    "orchestration.batch_service",
    "project.builder",
    "commands.receive",
    "commands.status",
    "testing",
]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def picture() -> list[list[str]]:
    """Return the rows of the picture in docs/understand/architecture.md, from top to bottom."""
    page = (PACKAGE.parent / "docs" / "understand" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^ {4}[|v] {4}\| ([^|]+)\|", page, flags=re.MULTILINE)
    return [row.strip().split(", ") for row in rows]


def test_the_picture_shows_every_package_above_what_it_may_import() -> None:
    rows = [[name.removesuffix("*") for name in row] for row in picture()]
    level = {name: number for number, row in enumerate(reversed(rows)) for name in row}
    assert sorted(name for row in rows for name in row) == sorted({room(path) for path in modules()} - {"__init__"})
    for name, allowed in ALLOWED.items():
        if name != "__init__":
            assert [other for other in allowed - {name} if level[other] >= level[name]] == [], name


def test_the_picture_marks_the_packages_that_import_dagster() -> None:
    assert {name.removesuffix("*") for row in picture() for name in row if name.endswith("*")} == DAGSTER


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_room_may_know(path: Path) -> None:
    own = {name.split(".")[1] for name in imported(path) if name.startswith(f"{NAME}.")}
    assert own - {room(path)} <= ALLOWED[room(path)]


def test_a_wing_of_the_warehouse_imports_no_wing_above_it() -> None:
    prefix = f"{NAME}.warehouse."
    for path in (PACKAGE / "warehouse").rglob("*.py"):
        wing = path.relative_to(PACKAGE / "warehouse").parts[0].removesuffix(".py")
        wings = {name.removeprefix(prefix).split(".")[0] for name in imported(path) if name.startswith(prefix)}
        assert not wings & ABOVE_WING.get(wing, set()), path


def test_only_the_wings_schema_and_state_contain_names_of_state_tables() -> None:
    for path in modules():
        inside = path.relative_to(PACKAGE).as_posix()
        if inside.startswith(("warehouse/schema/", "warehouse/state/")):
            continue
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not texts & (STATE_TABLES.keys() - NOT_ONLY_TABLES.get(inside, set())), path


def test_the_product_imports_only_the_public_face_of_the_simulator() -> None:
    public = {f"{SIMULATOR}.{name}" for name in simulator.__all__}
    for path in modules():
        if room(path) != "simulator":
            assert simulator_names(path) <= public, path


def test_tests_and_benchmarks_import_only_the_public_face_of_the_simulator() -> None:
    public, root = {f"{SIMULATOR}.{name}" for name in simulator.__all__}, PACKAGE.parent
    allowed = {root / "tests" / name for name in TESTS_OF_SIMULATED_DATA}
    files = [*(root / "tests").rglob("*.py"), *(root / "benchmarks").rglob("*.py"), *(root / "docs").rglob("*.py")]
    reaching = {path for path in files if not simulator_names(path) <= public}
    assert {path for path in reaching if path.parent != root / "tests" / "simulator"} == allowed


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_shell_knows_dagster(path: Path) -> None:
    knows = any(name.split(".")[0] in {"dagster", "dagster_postgres"} for name in imported(path))
    assert not knows or room(path) in DAGSTER


def simulator_names(path: Path) -> set[str]:
    return {name for name in imported(path) if name.startswith(f"{SIMULATOR}.")}


def test_the_rooms_below_the_shell_start_without_dagster() -> None:
    lines = "; ".join(f"import {NAME}.{name}" for name in WITHOUT_DAGSTER)
    code = f"{lines}; import sys; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_private_names_of_dagster_are_listed_and_imported_for_type_checks_only() -> None:
    found = {name for path in modules() for name in imported(path) if is_private_of_dagster(name)}
    assert found == PRIVATE_DAGSTER
    for path in modules():
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if re.match(r"\s*(from|import) dagster\w*\S*\._", line):
                assert line.startswith("    "), f"{path}:{number + 1}: import it below `if TYPE_CHECKING:`"
                assert lines[number - 1].strip().startswith("# Private: "), f"{path}:{number + 1}: no reason is given"


def is_private_of_dagster(name: str) -> bool:
    first, *rest = name.split(".")
    return first in {"dagster", "dagster_postgres"} and any(part.startswith("_") for part in rest)
