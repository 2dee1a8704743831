"""For the tests of one's own code location: a Canvas that runs here, and a real PostgreSQL.

In a `conftest.py`: `pytest_plugins = ["canvas_sync_dagster.testing"]` gives the fixtures `canvas` and `database_url`.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from canvas_sync_dagster.embedded import embedded_database_url
from canvas_sync_dagster.simulator import SimulatedCanvas

HOME = Path(tempfile.gettempdir()) / "canvas_sync_testing"
"""One server for all tests of a machine; each test has a database of its own."""


@contextmanager
def simulated_canvas(size: str = "small", *, seed: int = 1, hostile: bool = False) -> Iterator[SimulatedCanvas]:
    """Serves a simulated Canvas whose reports take a fiftieth of a second."""
    with SimulatedCanvas(size, seed=seed, hostile=hostile, compile_seconds=0.02).serve() as canvas:
        yield canvas


@contextmanager
def embedded_postgres(home: Path = HOME) -> Iterator[str]:
    """Gives the URL of an empty database, which is dropped in the end."""
    name = f"test_{secrets.token_hex(6)}"
    admin = embedded_database_url(home, "canvas_sync_testing")
    try:
        yield embedded_database_url(home, name)
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def canvas() -> Iterator[SimulatedCanvas]:
    """A simulated Canvas."""
    with simulated_canvas() as serving:
        yield serving


@pytest.fixture
def database_url() -> Iterator[str]:
    """The URL of an empty database."""
    with embedded_postgres() as url:
        yield url
