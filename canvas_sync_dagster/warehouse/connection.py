"""Connections to the warehouse, and what PostgreSQL's errors mean to a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from canvas_sync_dagster.errors import CanvasSyncError, DatabaseUnavailableError, MisconfiguredError, SchemaError
from canvas_sync_dagster.warehouse.moments import read_any_year

OLDEST_SUPPORTED = 140000
CONNECT_SECONDS = 15
"""How long a server may take to answer; one that recovers from a crash refuses at once."""

SESSION = (
    "-c timezone=UTC "
    "-c jit=off "  # Merges are single statements over known plans; compiling them costs more than it gains.
    "-c work_mem=64MB "  # A frame's join fits; measured in facts of the loader.
    "-c client_min_messages=warning "
    "-c idle_in_transaction_session_timeout=0"
)

Connection = psycopg.Connection[tuple[Any, ...]]


def redacted(url: str) -> str:
    """Names a database without its password: `school at db.example.edu:5432`.

    >>> redacted("postgresql://u:secret@db.example.edu/school")
    'school at db.example.edu:5432'
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "the database"
    return f"{parts.get('dbname') or 'the default database'} at {parts.get('host') or 'localhost'}:{parts.get('port') or 5432}"


def connect(url: str, *, autocommit: bool = False) -> Connection:
    """Opens a connection with the session settings that loads were measured with.

    Raises:
        DatabaseUnavailableError: The server does not answer, or not now.
        MisconfiguredError: The address, the name or the password is wrong, or the server is too old.
    """
    try:
        connection = psycopg.connect(
            url,
            autocommit=autocommit,
            connect_timeout=CONNECT_SECONDS,
            application_name="canvas_sync",
            options=SESSION,
            keepalives_idle=30,
        )
    except psycopg.Error as error:
        raise _refused(url, error) from None
    read_any_year(connection)
    if connection.info.server_version < OLDEST_SUPPORTED:
        found = connection.info.server_version // 10000
        connection.close()
        raise MisconfiguredError(f"{redacted(url)} is PostgreSQL {found}; version 14 or newer is needed.")
    return connection


def _refused(url: str, error: psycopg.Error) -> CanvasSyncError:
    where = redacted(url)
    # libpq's text names hosts and users, never the password.
    said = " ".join(str(error).split())[:500]
    permanent = (
        "password authentication failed",
        "does not exist",
        "no pg_hba.conf entry",
        "invalid connection",
        "invalid port",
        "Servname not supported",
        "no password",
    )
    if isinstance(error, psycopg.ProgrammingError) or any(words in said for words in permanent):
        return MisconfiguredError(f"cannot log in to {where}: {said}. Check CANVAS_SYNC_DATABASE_URL.")
    return DatabaseUnavailableError(
        f"cannot reach {where}: {said}. Check that the server runs and CANVAS_SYNC_DATABASE_URL points to it."
    )


@contextmanager
def explained(url: str, doing: str) -> Iterator[None]:
    """Turns PostgreSQL's errors into ours, which say what was being done, where, and what to do next.

    Args:
        url: The database, for its name.
        doing: What is done, as in `loading courses of term 118`.
    """
    try:
        yield
    except psycopg.Error as error:
        where = f"{doing} in {redacted(url)}"
        said = " ".join(str(error).split())[:1000]
        raise _explanation(error, where, said) from error


@contextmanager
def transaction(url: str, doing: str) -> Iterator[Connection]:
    """Opens a connection whose errors are ours; leaving the `with` commits, an exception rolls back.

    Args:
        url: Of the database.
        doing: What is done, as in `loading courses of term 118`.

    Raises:
        CanvasSyncError: The database is away, or does not take what is done.
    """
    with explained(url, doing), connect(url) as connection:
        yield connection


def _explanation(error: psycopg.Error, where: str, said: str) -> CanvasSyncError:
    match error:
        case pg.ReadOnlySqlTransaction():
            return MisconfiguredError(
                f"{where}: the server is read-only ({said}). Point CANVAS_SYNC_DATABASE_URL to the primary."
            )
        case pg.InsufficientPrivilege():
            return SchemaError(f"{where}: {said}. Grant the right to the user of CANVAS_SYNC_DATABASE_URL.")
        case pg.UndefinedTable() | pg.UndefinedColumn() | pg.InvalidSchemaName():
            return SchemaError(f"{where}: {said}. Run `canvas-sync migrate`.")
        case pg.DiskFull():
            return DatabaseUnavailableError(f"{where}: {said}. Nothing was published; make room and run it again.")
        case pg.ProgramLimitExceeded():
            # psycopg counts it among the errors that pass; a value too long for an index stays so.
            return SchemaError(f"{where}: {said}. Nothing was published; an index of your own may be in its way.")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return DatabaseUnavailableError(
                f"{where}: {said}. Nothing was published; run it again when the server is back."
            )
        case _:
            return SchemaError(
                f"{where}: {said}. Nothing was published; `canvas-sync migrate --check` compares the tables."
            )
