"""The marker `unit`: which tests have it, and that such a test cannot start anything."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import unit

HERE = Path(__file__).parent


def test_a_unit_test_cannot_start_a_server_or_a_process() -> None:
    with pytest.MonkeyPatch.context() as patch:
        unit.forbid(patch)
        with socket.socket() as unbound:
            for start in (lambda: unbound.bind(("127.0.0.1", 0)), unbound.listen, lambda: unbound.connect(("", 1))):
                with pytest.raises(AssertionError, match=r"tests/unit\.py"):
                    start()
        with pytest.raises(AssertionError, match=r"tests/unit\.py"):
            subprocess.run([sys.executable, "-c", ""], check=False)
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


def test_pure_modules_are_unit_tests_and_modules_with_servers_are_not() -> None:
    chosen = {path.relative_to(HERE).as_posix() for path in HERE.rglob("test_*.py") if unit.is_unit_module(path)}
    assert {"sync/test_policy.py", "live_events/test_decisions.py", "canvas/test_lifecycle.py"} <= chosen
    assert not {"test_unit.py", "test_dg.py", "embedded/test_server.py", "alerts/test_delivery.py"} & chosen
