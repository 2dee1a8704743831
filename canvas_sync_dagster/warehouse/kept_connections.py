"""Connections that are kept between two looks at a database, with an upper bound of their number."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator

from canvas_sync_dagster.warehouse.connection import Connection, connect, explained

KEPT = 20
"""Connections that are kept, one per database and role. Looks at further ones open a connection and close it."""
AGE_SECONDS = 300.0
"""Age at which a connection is replaced: a server process keeps the catalog of all tables that it has seen."""
CONNECT_SECONDS = 5
"""How long a server may take to accept a connection."""
STATEMENT_SECONDS = 5
"""How long a look may take on the server."""


class KeptConnections:
    """Connections by URL. A connection that is in use is not kept, so that no two threads share one.

    They are closed with `close()`, when the object is garbage collected, and when the process ends.

    Args:
        connect_seconds: How long a server may take to accept a connection.
        kept: Largest number of connections that are kept.
        now: Clock, in seconds.
    """

    def __init__(
        self, connect_seconds: int = CONNECT_SECONDS, kept: int = KEPT, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect_seconds, self._most, self._now = connect_seconds, kept, now
        self._lock = threading.Lock()
        self._free: dict[str, tuple[Connection, float]] = {}
        # Also when definitions are built again in the same process.
        self.close = weakref.finalize(self, _close_all, self._free)

    @contextlib.contextmanager
    def transaction(self, url: str, doing: str) -> Iterator[Connection]:
        """Open a transaction for a short look; leaving the `with` commits, an exception closes the connection.

        Args:
            url: URL of the database.
            doing: What is being done, for messages.

        Raises:
            CanvasSyncError: The database cannot be reached, or a statement fails or takes too long.
        """
        with explained(url, doing):
            connection, since = self._taken(url) or (self._opened(url), self._now())
            try:
                with connection.transaction():
                    connection.execute(f"set local statement_timeout = '{STATEMENT_SECONDS}s'")
                    yield connection
            except BaseException:
                connection.close()
                raise
            self._keep(url, connection, since)

    def _opened(self, url: str) -> Connection:
        # In autocommit mode the transaction above is the only one, so that a connection never waits within one.
        return connect(url, autocommit=True, seconds=self._connect_seconds)

    def _taken(self, url: str) -> tuple[Connection, float] | None:
        with self._lock:
            found = self._free.pop(url, None)
        if found is None:
            return None
        connection, since = found
        if self._now() - since < AGE_SECONDS and _answers(connection):
            return found
        connection.close()
        return None

    def _keep(self, url: str, connection: Connection, since: float) -> None:
        with self._lock:
            if url not in self._free and len(self._free) < self._most:
                self._free[url] = connection, since
                return
        connection.close()


def _close_all(free: dict[str, tuple[Connection, float]]) -> None:
    for connection, _ in free.values():
        connection.close()


def _answers(connection: Connection) -> bool:
    try:
        connection.execute("select 1")
    except Exception:
        return False
    return True
