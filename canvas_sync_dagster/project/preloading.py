"""Starts run workers in which Dagster and its storage are imported already.

Dagster's code server starts a new Python for each run. Of 3.2 CPU seconds per near-empty run, 1.5 are the imports of
Dagster, SQLAlchemy and Alembic. The fork server of `multiprocessing` imports them once; each run is a fork of it, and
imports the code location itself, so that it sees the present code, settings and secrets as before.

Dagster has this choice for the steps of a run (`start_method` of the multiprocess executor) but not for runs. So we
replace the attribute of the code server by which it starts them. Where there is none, as after a change in Dagster or
where a launcher starts pods or containers, runs start as Dagster starts them; `tests/project/test_preloading.py` then fails.
"""

from __future__ import annotations

import multiprocessing
import sys
from types import FrameType
from typing import Any

SERVER = "dagster._grpc.server"
"""Module of Dagster's code server."""
CONTEXT = "_mp_ctx"
"""Attribute of the code server: the `multiprocessing` context by which it starts runs."""
MODULES = [
    "dagster._grpc.impl",
    "dagster._core.storage.sqlalchemy_compat",
    "dagster_postgres",
    "psycopg2",
    "psycopg",
    "httpx",
]
"""What is imported once. None of them starts a thread: a fork would lose it. Polars does, so it is not among them."""
SAFE_SINCE = (3, 11, 1)
"""In Python 3.11.0 every user of the host can connect to the socket of a fork server (CVE-2022-42919)."""


def preload_run_workers() -> bool:
    """Let the code server that is loading the code location start its runs as forks, and return whether it does.

    The fork server starts with the first run. Outside of a code server, and on macOS and Windows, nothing changes.
    """
    server = _server()
    if server is None or sys.platform != "linux" or sys.version_info < SAFE_SINCE:
        return False
    present = getattr(server, CONTEXT, None)
    if present is None or present.get_start_method() != "spawn":
        return False
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    setattr(server, CONTEXT, context)
    return True


def _server() -> Any:
    """Return the code server among the callers; None if no code server is loading the code location."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 (documented; `inspect.stack` would read source files)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if frame.f_globals.get("__name__") == SERVER and type(caller).__name__ == "DagsterApiServer":
            return caller
        frame = frame.f_back
    return None
