"""Shared fixtures live in the plugins named here."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.fix_postgres", "tests.fix_canvas"]


@pytest.fixture(autouse=True)
def _no_instance_is_left_behind() -> Iterator[None]:
    """Fail a test after which Dagster still refers to an instance: definitions of later tests would look for it."""
    yield
    if "dagster" in sys.modules:
        from dagster._core.storage.defs_state.base import DefsStateStorage

        assert DefsStateStorage.get() is None
