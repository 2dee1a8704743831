"""Shared fixtures live in the plugins named here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests import unit

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["tests.fix_postgres", "tests.fix_canvas", "tests.fix_browser"]
# A slow machine makes no test fail.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


def only_unit(config: pytest.Config) -> bool:
    return bool(config.option.markexpr == "unit")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if only_unit(config):
        config.option.numprocesses = 0  # Other processes would start longer than these tests run.


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # The import of every other test module would take longer than these tests.
    skipped = only_unit(config) and collection_path.is_file() and not unit.is_unit_module(collection_path)
    return True if skipped else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if unit.is_unit(item):
            item.add_marker("unit")


@pytest.fixture(autouse=True)
def _a_unit_test_starts_no_server(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("unit"):
            unit.forbid(patch)
        yield


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
