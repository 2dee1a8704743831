"""A sign of life beside the work, so that others can tell slow work from a dead process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from canvas_sync_dagster.errors import CanvasSyncError

BEATS = 8
"""Beats within the silence that counts as death: a database that restarts may cost some of them."""


@contextmanager
def beating(beat: Callable[[], object], lost_after: timedelta) -> Iterator[None]:
    """Calls a function from time to time while the body works.

    Args:
        beat: Writes the sign of life; when the database is away, the next beat tries again.
        lost_after: Silence that counts as death.
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
