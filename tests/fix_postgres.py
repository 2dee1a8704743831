"""One real PostgreSQL for the whole session, and a fresh database for each test that asks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.embedded.server import find_binaries
from canvas_sync_dagster.warehouse.schema.migrate import migrate

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


@pytest.fixture(scope="session")
def migrated(postgres: EmbeddedPostgres) -> str:
    """The name of a database with all tables, to be copied: that takes a fifth of the time of a migration."""
    migrate(postgres.database("migrated"), "canvas", BUILT_IN)
    return "migrated"


@contextmanager
def fresh(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{next(NUMBERS)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        yield postgres.url(name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The address of an empty database that only this test knows."""
    with fresh(postgres, "template1") as url:
        yield url


@pytest.fixture
def migrated_url(postgres: EmbeddedPostgres, migrated: str) -> Iterator[str]:
    """The address of a database with all tables that only this test knows."""
    with fresh(postgres, migrated) as url:
        yield url
