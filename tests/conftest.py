"""Shared fixtures live in the plugins named here."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest_plugins = ["tests.fix_postgres", "tests.fix_canvas"]
# A slow machine makes no test fail.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(autouse=True)
def _no_instance_is_left_behind() -> Iterator[None]:
    """Fail a test after which Dagster refers to another instance: definitions of later tests would look for it."""
    before = _current_storage()
    yield
    assert _current_storage() is before


def _current_storage() -> object:
    if "dagster" not in sys.modules:
        return None
    from dagster._core.storage.defs_state.base import DefsStateStorage

    return DefsStateStorage.get()
