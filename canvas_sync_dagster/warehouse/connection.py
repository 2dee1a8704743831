"""Connections to the warehouse, and what PostgreSQL's errors mean to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from enum import StrEnum
from typing import Any, Self, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus

from canvas_sync_dagster.errors import (
    CanvasSyncError,
    DatabaseLimitError,
    DatabaseUnavailableError,
    MisconfiguredError,
    SchemaError,
)
from canvas_sync_dagster.postgres_url import ENCODING, PERCENT_ENCODE, problem_of, redacted
from canvas_sync_dagster.printable import ended
from canvas_sync_dagster.redaction import message, redact
from canvas_sync_dagster.warehouse.limits import limit_hit
from canvas_sync_dagster.warehouse.moments import read_any_year

SETTING = "CANVAS_SYNC_DATABASE_URL"
OLDEST_SUPPORTED = 140000
CONNECT_SECONDS = 15
"""How long a server may take to answer; one that recovers from a crash refuses at once."""

SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",  # The only one that psycopg reads.
    "extra_float_digits": "1",  # Fewer lose digits of what is read.
    "jit": "off",  # Merges are single statements over known plans; compiling them costs more than it gains.
    "work_mem": "64MB",  # A frame's join fits; measured in facts of the loader.
    "client_min_messages": "warning",
    # A load may take hours and wait for another load of its scope; a role's limits are meant for people's queries.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
NEWER_SETTINGS = {"transaction_timeout": ("0", 170000)}
"""Settings that older servers do not know: value, and the version that knows it."""

PROBES = 5
"""How often two connections try to get one server process from a pooler, which may be busy with other clients."""

Connection = psycopg.Connection[tuple[Any, ...]]
Row = TypeVar("Row")


class Pooling(StrEnum):
    """What is between us and the server."""

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


def settings(server_version: int, **others: str) -> str:
    """Return the statements that give a transaction our settings, whatever the role and the database set.

    Args:
        server_version: As PostgreSQL numbers it, such as 170002.
        others: Settings in addition, or in place of ours.

    They belong to the transaction, because a pooler may run the next one in another server process, and another
    client's in this one. They are not start-up options, because poolers refuse those.
    """
    return "; ".join(f"set local {name} = '{value}'" for name, value in _values(server_version, others).items())


def session_settings(server_version: int, **others: str) -> str:
    """Return the statements that give a session our settings; only for a session that no pooler shares.

    Args:
        server_version: As PostgreSQL numbers it, such as 170002.
        others: Settings in addition, or in place of ours.
    """
    return "; ".join(f"set session {name} = '{value}'" for name, value in _values(server_version, others).items())


def _values(server_version: int, others: Mapping[str, str]) -> dict[str, str]:
    newer = {name: value for name, (value, since) in NEWER_SETTINGS.items() if server_version >= since}
    return {**SETTINGS, **newer, **others}


class _Cursor(psycopg.Cursor[Row]):
    """A cursor whose first statement of a transaction is preceded by our settings."""

    def execute(self, *args: Any, **kwargs: Any) -> Self:
        self._begin()
        return super().execute(*args, **kwargs)

    def executemany(self, *args: Any, **kwargs: Any) -> None:
        self._begin()
        super().executemany(*args, **kwargs)

    @contextmanager
    def copy(self, *args: Any, **kwargs: Any) -> Iterator[psycopg.Copy]:
        self._begin()
        with super().copy(*args, **kwargs) as copy:
            yield copy

    def _begin(self) -> None:
        if not self.connection.autocommit and self.connection.info.transaction_status == TransactionStatus.IDLE:
            _configure(self.connection)


class _Connection(psycopg.Connection[Row]):
    """A connection each of whose transactions has our settings."""

    @contextmanager
    def transaction(self, *args: Any, **kwargs: Any) -> Iterator[psycopg.Transaction]:
        outermost = self.info.transaction_status == TransactionStatus.IDLE
        with super().transaction(*args, **kwargs) as transaction:
            if outermost:
                _configure(self)
            yield transaction


def _configure(connection: psycopg.Connection[Any]) -> None:
    psycopg.Cursor(connection).execute(settings(connection.info.server_version).encode())


def connect(
    url: str, *, autocommit: bool = False, setting: str = SETTING, seconds: int = CONNECT_SECONDS
) -> Connection:
    """Opens a connection whose transactions have the settings that loads were measured with.

    It works through a pooler, in session and in transaction mode: nothing of it outlives a transaction.

    Args:
        url: Of the database.
        autocommit: Whether each statement is its own transaction, without our settings.
        setting: Where the address comes from, for messages.
        seconds: How long a server may take to answer.

    Raises:
        DatabaseUnavailableError: The server does not answer, or not now.
        MisconfiguredError: The address, the name or the password is wrong, the server is too old, or its encoding is
            not UTF8.
    """
    if problem := problem_of(url):
        raise MisconfiguredError(f"{setting}: {ended(problem)}")
    try:
        connection = _Connection.connect(
            url,
            autocommit=autocommit,
            connect_timeout=seconds,
            application_name="canvas_sync",
            client_encoding=ENCODING,
            keepalives_idle=30,
            prepare_threshold=None,
            cursor_factory=_Cursor,
        )
    except psycopg.Error as error:
        raise _refused(url, error, setting) from None
    # A stricter default of the role would show a transaction what was there before it waited for its lock.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    if problem := _unsuitable(connection, setting):
        connection.close()
        raise MisconfiguredError(f"{redacted(url)} {problem}")
    read_any_year(connection)
    return connection


def _unsuitable(connection: Connection, setting: str) -> str | None:
    if connection.info.server_version < OLDEST_SUPPORTED:
        return f"is PostgreSQL {connection.info.server_version // 10000}; version 14 or newer is required."
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != ENCODING:
        return (
            f"has the server encoding {encoding}, which cannot hold every text of Canvas. Create a database with "
            f"`create database … encoding 'UTF8' template template0` and point {setting} to it."
        )
    return None


def dedicated_session(url: str) -> Connection | None:
    """Opens a connection in autocommit mode whose session lasts as long as it, for a session-level lock.

    The role's `idle_session_timeout` does not end it.

    Returns:
        None where a transaction pooler is in between: there the next statement may run in another session.

    Raises:
        CanvasSyncError: As `connect`.
    """
    if pooling(url) is Pooling.TRANSACTION:
        return None
    connection = connect(url, autocommit=True)
    connection.execute("set idle_session_timeout = 0")
    return connection


def pooling(url: str) -> Pooling:
    """Return whether a pooler is in between, and whether it shares server processes between transactions.

    A pooler answers in place of the server, with an invented process id. One that shares gives the server process of a
    connection between two transactions to another connection; two connections test that.

    Raises:
        CanvasSyncError: As `connect`.
    """
    with connect(url, autocommit=True) as first:
        before = _process(first)
        if before == first.info.backend_pid:
            return Pooling.NONE
        for _ in range(PROBES):
            with connect(url) as second:
                shared = _process(second) == before
                if shared or _process(first) != before:
                    return Pooling.TRANSACTION
    return Pooling.SESSION


def _process(connection: Connection) -> int:
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None  # noqa: S101 (it always returns)
    return int(row[0])


def _refused(url: str, error: psycopg.Error, setting: str) -> CanvasSyncError:
    where = redacted(url)
    # libpq names hosts and users, and no password: an address that it would read wrongly never gets here.
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
    hint = f"; {PERCENT_ENCODE}" if "password authentication failed" in said and "%" in url else ""
    if isinstance(error, psycopg.ProgrammingError) or any(words in said for words in permanent):
        return MisconfiguredError(f"cannot log in to {where}: {ended(said)} Check {setting}{hint}.")
    return DatabaseUnavailableError(
        f"cannot reach {where}: {ended(said)} Check that the server runs and {setting} points to it."
    )


@contextmanager
def explained(url: str, doing: str) -> Iterator[None]:
    """Turn PostgreSQL's errors into ours, which name what was being done, where, and what to do next.

    PostgreSQL's own error stays the cause, without the row content in its text: whatever prints the chain prints none.

    Args:
        url: The database, for its name.
        doing: What is done, as in `loading courses of term 118`.
    """
    try:
        yield
    except psycopg.Error as error:
        where = f"{doing} in {redacted(url)}"
        limit = limit_hit(url, error)
        explanation = (
            DatabaseLimitError(
                f"{where}: {limit} ended it. Nothing was published; raise the limit for this role, then run it again."
            )
            if limit
            else _explanation(error, where, " ".join(message(error).split())[:1000])
        )
        redact(error)
        raise explanation from error


@contextmanager
def transaction(url: str, doing: str) -> Iterator[Connection]:
    """Opens a connection whose errors are ours; leaving the `with` commits, an exception rolls back.

    Args:
        url: Of the database.
        doing: What is done, as in `loading courses of term 118`.

    Raises:
        CanvasSyncError: The database is away, or does not take what is done.
    """
    # psycopg leaves a connection open whose commit fails, as deferred constraints make it.
    with explained(url, doing), closing(connect(url)) as connection, connection:
        yield connection


def _explanation(error: psycopg.Error, where: str, said: str) -> CanvasSyncError:
    match error:
        case pg.ReadOnlySqlTransaction():
            return MisconfiguredError(
                f"{where}: the server is read-only ({said.rstrip('.')}). Point CANVAS_SYNC_DATABASE_URL to the primary."
            )
        case pg.InsufficientPrivilege():
            return SchemaError(f"{where}: {ended(said)} Grant the right to the user of CANVAS_SYNC_DATABASE_URL.")
        case pg.UndefinedTable() | pg.UndefinedColumn() | pg.InvalidSchemaName():
            return SchemaError(f"{where}: {ended(said)} Run `canvas-sync migrate`.")
        case pg.DiskFull():
            return DatabaseUnavailableError(
                f"{where}: {ended(said)} Nothing was published; make room and run it again."
            )
        case pg.NotNullViolation():
            column = error.diag.column_name or "the column"
            return SchemaError(
                f"{where}: {ended(said)} Nothing was published; link a header to {column}, give it a default, or drop its NOT NULL."
            )
        case pg.ProgramLimitExceeded():
            # psycopg counts it among the errors that pass; a value too long for an index stays so.
            return SchemaError(f"{where}: {ended(said)} Nothing was published; one of your indexes may be the cause.")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return DatabaseUnavailableError(
                f"{where}: {ended(said)} Nothing was published; run it again when the server is back."
            )
        case _:
            return SchemaError(
                f"{where}: {ended(said)} Nothing was published; `canvas-sync migrate --check` compares the tables."
            )
