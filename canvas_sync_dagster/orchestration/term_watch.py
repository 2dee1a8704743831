"""Reads the terms of each tenant from Canvas every few minutes, in a thread, so that no tick of a sensor waits long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.redaction import summary
from canvas_sync_dagster.sync.scope import Term

EVERY = 600.0
"""Seconds between two readings of a tenant's terms. Canvas lists them in one request of about 0.2 s."""
WAIT = 2.0
"""Seconds that the tick which starts a reading waits for it; a later tick gets a slower one."""
LOG = logging.getLogger(__name__)

Read = Callable[[], Sequence[Term]]


@dataclass(slots=True)
class _Reading:
    due_at: float
    done: threading.Event = field(default_factory=threading.Event)
    terms: Sequence[Term] | None = None


class TermWatch:
    """The latest readings, by tenant. Ticks of several threads may share it."""

    def __init__(self) -> None:
        self._readings: dict[str, _Reading] = {}
        self._lock = threading.Lock()

    def look(self, tenant: str, read: Read) -> Sequence[Term] | None:
        """Return the terms of a reading once, in the first tick after it; None if there is no new reading.

        Args:
            tenant: Slug of the tenant.
            read: Reads the terms of the tenant; called in a thread, if a reading is due.
        """
        with self._lock:
            reading = self._readings.get(tenant)
            starts = reading is None or (reading.done.is_set() and time.monotonic() >= reading.due_at)
            if reading is None or starts:
                reading = self._readings[tenant] = _Reading(time.monotonic() + EVERY)
        if starts:
            threading.Thread(target=_execute, args=(reading, tenant, read), daemon=True, name=f"terms {tenant}").start()
            reading.done.wait(WAIT)
        with self._lock:
            terms, reading.terms = reading.terms if reading.done.is_set() else None, None
        return terms


def _execute(reading: _Reading, tenant: str, read: Read) -> None:
    try:
        reading.terms = read()
    except CanvasSyncError as error:
        LOG.info("the terms of %s could not be read; syncs report the same: %s", tenant, error)
    except Exception as error:
        # A function of the user's may have made the client. No tick may fail because of this.
        LOG.warning("the terms of %s could not be read: %s", tenant, summary(error))
    finally:
        reading.done.set()
