"""The marker `unit`: tests of pure code, which start no server, no other process and no Dagster instance.

`./run pytest -m unit` is the loop for people who change code: it collects only the files below, in one process, and takes
seconds. A test module is one of unit tests if it imports nothing that starts servers or processes; its tests that use a
fixture of a server are left out. `forbid` lets a unit test fail that starts one nevertheless.
"""

from __future__ import annotations

import ast
import functools
import importlib
import socket
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

STARTS = (
    "canvas_sync_dagster.embedded",
    "canvas_sync_dagster.simulator.SimulatedCanvas",
    "canvas_sync_dagster.testing",
    "dagster",
    "multiprocessing",
    "pkgutil",
    "socket",
    "subprocess",
    "tests.alerts.servers",
    "tests.fix_pgbouncer",
    "tests.walks",
)
"""Modules that start a server, a process or a Dagster instance, or take long to import."""
SERVERS = {"postgres", "postgres_binaries", "migrated", "database_url", "canvas", "pgbouncer"}
"""Fixtures that start a server, or use one."""


@functools.cache
def is_unit_module(path: Path) -> bool:
    """Return whether a test module imports nothing that starts servers or processes."""
    if not path.name.startswith("test_"):
        return False
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return not any(f"{name}.".startswith(f"{start}.") for name in names for start in STARTS)


def is_unit(item: pytest.Item) -> bool:
    """Return whether a test is pure."""
    fixtures: set[str] = set(getattr(item, "fixturenames", ()))
    slow = any(item.get_closest_marker(name) for name in ("soak", "browser"))
    return is_unit_module(item.path) and not fixtures & SERVERS and not slow


def forbid(patch: pytest.MonkeyPatch) -> None:
    """Let everything fail that starts or uses a server, until the patch is undone."""
    importlib.import_module("dagster")  # Its first import runs `file`, to learn whether Python has 32 bits.

    def refused(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a unit test starts or uses a server or a process; see tests/unit.py")

    for owner, name in (
        (socket.socket, "bind"),
        (socket.socket, "listen"),
        (socket.socket, "connect"),
        (subprocess.Popen, "__init__"),
    ):
        patch.setattr(owner, name, refused)
