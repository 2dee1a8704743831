"""A heartbeat during work, so that other processes can distinguish slow work from a dead process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from canvas_sync_dagster.errors import CanvasSyncError

BEATS = 8
"""Heartbeats within `lost_after`: a database that restarts may cost some of them."""


@contextmanager
def beating(beat: Callable[[], object], lost_after: timedelta) -> Iterator[None]:
    """Call a function at intervals while the body works.

    Args:
        beat: Writes the heartbeat. If the database is away, the next heartbeat tries again.
        lost_after: Time without heartbeat after which the process counts as dead.
    """
    done = threading.Event()

    def work() -> None:
        while not done.wait(lost_after.total_seconds() / BEATS):
            with suppress(CanvasSyncError):
                beat()

    thread = threading.Thread(target=work, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
