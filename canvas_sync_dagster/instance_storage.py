"""Dagster's own storage on the embedded PostgreSQL, so that a checkout needs no server and no DAGSTER_HOME.

Named in `dagster.yaml`. The address is found when the storage is made, in each of Dagster's processes, and never
stands in the configuration, which Dagster hands to its children on their command lines.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from canvas_sync_dagster.embedded import embedded_database_url
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.postgres_url import ALLOWED, DAGSTER_DATABASE_URL, ENCODING, parts_of, problem_of
from canvas_sync_dagster.settings import home_directory

DATABASE_URL = DAGSTER_DATABASE_URL
DATABASE = "dagster"
IDLE_SECONDS = 300
"""How long a connection is kept: longer than a run's pauses, shorter than what firewalls cut."""


def storage_url() -> str:
    """Return where Dagster keeps its own tables: a server of the user's, or the embedded one.

    Raises:
        SettingError: The address cannot be read.
    """
    given = os.environ.get(DATABASE_URL)
    if given and (problem := problem_of(given)):
        raise SettingError(DATABASE_URL, problem, allowed=ALLOWED)
    return sqlalchemy_url(given or embedded_database_url(home_directory(os.environ, Path.cwd()), DATABASE))


def sqlalchemy_url(url: str) -> str:
    """Spell an address, as libpq reads it, for SQLAlchemy, which reads fewer forms.

    Args:
        url: Without a problem; several hosts, sockets and service files are allowed.
    """
    parts = parts_of(url) | {"client_encoding": ENCODING}
    user, password, database = (parts.pop(name, None) for name in ("user", "password", "dbname"))
    # With SQLAlchemy 2.1 a bare postgresql:// means psycopg 3, whose parameters dagster-postgres's NOTIFY cannot take.
    made = sa.URL.create("postgresql+psycopg2", user, password, database=database, query=parts)
    return made.render_as_string(hide_password=False)


class CanvasSyncStorage(DagsterPostgresStorage):
    """Dagster's Postgres storage that finds its server by itself, takes no configuration, and keeps its connections.

    Dagster's own opens one per call, 5,200 for the demo's five runs, each with a cold cache in the server. Kept ones
    are tried before they are used, so that a restart of the server costs nobody a run.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        engine = sa.create_engine(
            postgres_url, isolation_level="AUTOCOMMIT", pool_pre_ping=True, pool_recycle=IDLE_SECONDS, max_overflow=50
        )
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            part._engine = engine

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        return cls(storage_url(), inst_data=inst_data)
