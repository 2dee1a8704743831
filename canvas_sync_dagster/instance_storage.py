"""Dagster's own storage on the embedded PostgreSQL, so that a checkout needs no server and no DAGSTER_HOME.

`dagster.yaml` names it. Each of Dagster's processes finds the address when it opens the storage: an address in the
configuration would be visible, with its password, in the command lines of Dagster's child processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import CreateEnginePlugin

from canvas_sync_dagster.configuration.environment import home_directory
from canvas_sync_dagster.embedded import embedded_database_url
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.postgres_url import ALLOWED, DAGSTER_DATABASE_URL, ENCODING, parts_of, problem_of

if TYPE_CHECKING:
    # Private: the type of an argument that Dagster passes to each storage class. The public API has no name for it.
    from dagster._serdes import ConfigurableClassData

DATABASE_URL = DAGSTER_DATABASE_URL
DATABASE = "dagster"
PLUGIN = "canvas_sync_kept_connections"
IDLE_SECONDS = 300
"""Age at which a kept connection is replaced: longer than a run's pauses, shorter than the timeout of common firewalls."""
OVERFLOW = 50
"""Connections above the one that each of the three storages keeps, which are closed after use: Dagster's threads."""


_ENGINES: ContextVar[list[sa.Engine] | None] = ContextVar("engines", default=None)
"""Engines of the storage that is being made in this context."""


class KeptConnections(CreateEnginePlugin):
    """SQLAlchemy plugin: engines keep a connection and test it before each use, so that a server may restart.

    dagster-postgres passes `NullPool`, which opens a connection per call: 5,200 for the five runs of the demo, each with
    a cold cache in the server. It has no setting for that. SQLAlchemy applies a plugin that the URL names to the
    arguments of `create_engine`, and removes its name from the URL.
    """

    def __init__(self, url: sa.URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        kwargs["pool_pre_ping"] = True
        # Dagster's webserver asks for a pool itself.
        if kwargs.get("poolclass") is sa.NullPool:
            del kwargs["poolclass"]
            kwargs |= {"pool_size": 1, "pool_recycle": IDLE_SECONDS, "max_overflow": OVERFLOW}

    def update_url(self, url: sa.URL) -> sa.URL:
        """Return the URL, which holds no parameters of this plugin."""
        return url

    def engine_created(self, engine: sa.Engine) -> None:
        """Note the engine, whose connections its storage closes."""
        made = _ENGINES.get()
        if made is not None:
            made.append(engine)


plugins.register(PLUGIN, __name__, KeptConnections.__name__)


def storage_url() -> str:
    """Return the URL of the database of Dagster's own tables: a server of the user, or the embedded one.

    Raises:
        SettingError: The address cannot be read.
    """
    given = os.environ.get(DATABASE_URL)
    if given and (problem := problem_of(given)):
        raise SettingError(DATABASE_URL, problem, allowed=ALLOWED)
    return sqlalchemy_url(given or embedded_database_url(home_directory(os.environ, Path.cwd()), DATABASE))


def sqlalchemy_url(url: str) -> str:
    """Return a URL for SQLAlchemy, which reads fewer forms than libpq.

    Args:
        url: As libpq reads it, without a problem; several hosts, sockets and service files are allowed.
    """
    parts = parts_of(url) | {"client_encoding": ENCODING}
    user, password, database = (parts.pop(name, None) for name in ("user", "password", "dbname"))
    # With SQLAlchemy 2.1 a bare postgresql:// means psycopg 3, whose parameters dagster-postgres's NOTIFY cannot take.
    made = sa.URL.create("postgresql+psycopg2", user, password, database=database, query=parts)
    return made.render_as_string(hide_password=False)


class CanvasSyncStorage(DagsterPostgresStorage):
    """Dagster's Postgres storage without configuration: it finds its server, and keeps its connections."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        url = sa.make_url(storage_url()).update_query_dict({"plugin": PLUGIN})
        engines: list[sa.Engine] = []
        token = _ENGINES.set(engines)
        try:
            made = cls(url.render_as_string(hide_password=False), inst_data=inst_data)
        finally:
            _ENGINES.reset(token)
        made._close_with_run_storage(engines)
        return made

    def _close_with_run_storage(self, engines: Sequence[sa.Engine]) -> None:
        """Have the kept connections closed when Dagster closes an instance: it disposes of the run storage then.

        A code server opens an instance for each tick. Without this its three connections would stay open until the
        garbage collector finds them: 30 to 74 of them with 1 to 10 tenants that were idle.
        """
        storage = self.run_storage
        own = storage.dispose

        def dispose() -> None:
            own()
            for engine in engines:
                engine.dispose()

        storage.dispose = dispose  # type: ignore[method-assign]
