"""A real PostgreSQL server from a wheel, for the demo, for tests, and for users without a server."""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path

from canvas_sync_dagster.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "embedded_database_url"]

_handles: dict[tuple[int, Path], EmbeddedPostgres] = {}
_lock = threading.Lock()


def embedded_database_url(home: Path, name: str) -> str:
    """Return the URL of a database on the server of a home directory; the server runs at least as long as this process.

    Args:
        home: Home directory of the server.
        name: Name of the database; it is created if it does not exist.

    Raises:
        EmbeddedPostgresError: The server cannot be started here.
    """
    key = (os.getpid(), Path(home).resolve())
    with _lock:
        if key not in _handles:
            _handles[key] = EmbeddedPostgres(home).start()
        return _handles[key].database(name)


@atexit.register
def leave_embedded_servers() -> None:
    """Stop the servers that this process has started, unless other processes use them."""
    for process, home in list(_handles):
        if process == os.getpid():  # A forked child does not stop the server of its parent.
            _handles.pop((process, home)).close()
