"""One real PostgreSQL for the whole session, and a fresh database for each test that asks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.embedded.server import find_binaries

NUMBERS = itertools.count()


def other_servers() -> list[Path]:
    """Finds PostgreSQL's programs beside the default ones: the wheel's older ones and the system's."""
    default = find_binaries()
    wheel = [path for path in default.parent.parent.glob("pginstall*/bin") if path != default]
    return [*wheel, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]


def version(binaries: Path) -> str:
    return next(part for part in binaries.parts[::-1] if part not in {"bin"})


def pytest_report_header() -> str:
    return "postgres: " + ", ".join(str(path) for path in (find_binaries(), *other_servers()))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "postgres_binaries" in metafunc.fixturenames:
        everywhere = metafunc.definition.get_closest_marker("every_postgres") is not None
        choices = [find_binaries(), *(other_servers() if everywhere else [])]
        metafunc.parametrize("postgres_binaries", choices, ids=version, scope="session", indirect=True)


@pytest.fixture(scope="session")
def postgres_binaries(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(scope="session")
def postgres(postgres_binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The session's server."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), binaries=postgres_binaries) as server:
        yield server


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The address of a database that only this test knows."""
    name = f"test_{next(NUMBERS)}"
    yield postgres.database(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
