"""Connections that are kept between two transactions, with an upper bound of their number."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from psycopg.rows import tuple_row

from canvas_sync_dagster.errors import DatabaseUnavailableError
from canvas_sync_dagster.postgres_url import ENCODING
from canvas_sync_dagster.retries import attempts_at
from canvas_sync_dagster.warehouse.connection import CONNECT_SECONDS, Connection, connect, explained

KEPT = 20
"""Connections that are kept at most. A transaction on a further database opens a connection and closes it."""
AGE_SECONDS = 300.0
"""Age at which a connection is replaced: a server process keeps the catalog of all tables that it has seen."""
IDLE_SECONDS = 60.0
"""Idle time after which a connection is replaced without a test: where a firewall has dropped it, a test would wait for
the time limits of TCP."""
LOOK_SECONDS = 5
"""How long a sensor's look may take to connect, and how long each of its statements may take."""
RESTART_SECONDS = 60.0
"""How long a patient transaction waits for a server that is away: a restart takes seconds."""


class KeptConnections:
    """Connections by URL. A connection that is in use is not kept, so that no two threads share one.

    They are closed with `close()`, when the object is garbage collected, and when the process ends. After `close()` each
    transaction opens a connection and closes it.

    Args:
        connect_seconds: How long a server may take to accept a connection.
        statement_seconds: How long a statement may take on the server; None for no limit.
        kept: Largest number of connections that are kept.
        per_database: Largest number of them per database and role.
        now: Clock, in seconds.
    """

    def __init__(
        self,
        *,
        connect_seconds: int = CONNECT_SECONDS,
        statement_seconds: int | None = None,
        kept: int = KEPT,
        per_database: int = 1,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect_seconds, self._statement_seconds = connect_seconds, statement_seconds
        self._most, self._per_database, self._now = kept, per_database, now
        self._lock = threading.Lock()
        self._free: list[_Kept] = []
        # Also when definitions are built again in the same process.
        self.close = weakref.finalize(self, _close_all, self._free)

    @classmethod
    def for_looks(cls) -> Self:
        """Return the connections of a sensor, whose looks are short."""
        return cls(connect_seconds=LOOK_SECONDS, statement_seconds=LOOK_SECONDS)

    @contextlib.contextmanager
    def transaction(self, url: str, doing: str, *, patient: bool = False) -> Iterator[Connection]:
        """Open a transaction; leaving the `with` commits, an exception rolls back and closes the connection.

        A kept connection is like a new one: a lost one is replaced before the transaction begins, and what the last
        transaction left in its session is undone.

        Args:
            url: URL of the database.
            doing: What is being done, for messages.
            patient: Whether to wait for a server that restarts, up to `RESTART_SECONDS`.

        Raises:
            CanvasSyncError: The database cannot be reached, or a statement fails or takes too long.
        """
        with explained(url, doing):
            used = self._taken(url) or self._opened(url, patient=patient)
            try:
                with used.connection.transaction():
                    if self._statement_seconds is not None:
                        used.connection.execute(f"set local statement_timeout = '{self._statement_seconds}s'")
                    yield used.connection
            except BaseException:
                used.connection.close()
                raise
            self._keep(used)

    def release(self) -> None:
        """Close the connections that are not in use; the next transaction opens one again."""
        with self._lock:
            _close_all(self._free)

    def _opened(self, url: str, *, patient: bool) -> _Kept:
        for attempt in attempts_at(
            "connecting to the database",
            DatabaseUnavailableError,
            attempts=None if patient else 1,
            seconds=RESTART_SECONDS,
            longest_wait=5,
        ):
            with attempt:
                # In autocommit mode `transaction()` is the only one, so that a connection never waits within one.
                connection = connect(url, autocommit=True, seconds=self._connect_seconds)
        return _Kept(url, connection, since=self._now())

    def _taken(self, url: str) -> _Kept | None:
        while True:
            with self._lock:
                found = next((each for each in reversed(self._free) if each.url == url), None)
                if found is None:
                    return None
                self._free.remove(found)
            now = self._now()
            if now - found.since < AGE_SECONDS and now - found.used < IDLE_SECONDS and _is_as_new(found.connection):
                return found
            found.connection.close()

    def _keep(self, used: _Kept) -> None:
        used.used = self._now()
        with self._lock:
            of_database = sum(each.url == used.url for each in self._free)
            if self.close.alive and of_database < self._per_database and len(self._free) < self._most:
                self._free.append(used)
                return
        used.connection.close()


@dataclass(slots=True, eq=False)
class _Kept:
    """A connection, since when it is open, and when it was last used; seconds of the clock."""

    url: str = field(repr=False)
    connection: Connection
    since: float
    used: float = 0.0


def _close_all(free: list[_Kept]) -> None:
    while free:
        free.pop().connection.close()


def _is_as_new(connection: Connection) -> bool:
    """Undo what the last transaction may have left in the session; return False if the connection was lost.

    Functions of the user work on these connections: a setting, a temporary table or a lock of the session that they leave
    must not reach the next transaction.
    """
    connection.row_factory = tuple_row
    try:
        connection.execute("discard all")
        # Behind a pooler, the encoding of our start-up packet is not the server process's: it fell back to the role's.
        connection.execute(f"set client_encoding to '{ENCODING}'")
    except Exception:
        return False
    return True
