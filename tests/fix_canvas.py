"""A simulated Canvas over real HTTP, and sessions on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.session import Session, open_session
from canvas_sync_dagster.tenants import TenantSettings

Sessions = Callable[..., Session]


@pytest.fixture
def canvas() -> Iterator[SimulatedCanvas]:
    """A small university whose reports take a hundredth of a second."""
    with SimulatedCanvas(compile_seconds=0.01).serve() as serving:
        yield serving


def tenant_of(canvas: SimulatedCanvas, url: str, **settings: object) -> TenantSettings:
    given = {
        "base_url": canvas.base_url,
        "token": canvas.token,
        "database_url": SecretStr(url),
        "poll_seconds": 0.01,
    }
    return TenantSettings.model_validate(given | settings)


@contextmanager
def session_of(
    canvas: SimulatedCanvas, url: str, home: Path, declared: Sequence[Model] = BUILT_IN, **settings: object
) -> Iterator[Session]:
    """Opens a session of a tenant of this Canvas."""
    tenant = tenant_of(canvas, url, **settings)
    with open_session(Settings(home=home, tenants=(tenant,)), tenant, tuple(declared)) as opened:
        yield opened


@pytest.fixture
def sessions(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> Iterator[Sessions]:
    """Opens sessions with settings of one's own."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Session:
            return stack.enter_context(session_of(canvas, database_url, tmp_path, **settings))

        yield make


@pytest.fixture
def session(sessions: Sessions) -> Session:
    """A session with the usual settings."""
    return sessions()
