"""A real PostgreSQL from a wheel, for the demo, the tests, and whoever has no server at hand."""

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
    """Returns the address of a database on the home's server, which stays up while this process lives.

    Raises:
        EmbeddedPostgresError: The server cannot be started here.
    """
    key = (os.getpid(), Path(home).resolve())
    with _lock:
        if key not in _handles:
            _handles[key] = EmbeddedPostgres(home).start()
        return _handles[key].database(name)


@atexit.register
def _leave() -> None:
    for (process, _), handle in list(_handles.items()):
        if process == os.getpid():  # A forked child leaves the server to its parent.
            handle.close()
