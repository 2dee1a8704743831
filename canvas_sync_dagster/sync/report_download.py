"""A report on its way from Canvas to a temporary directory."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from canvas_sync_dagster.canvas.reports import ReportDriver, ReportFile
from canvas_sync_dagster.catalogue.parameters import Parameters
from canvas_sync_dagster.errors import DataRejectedError
from canvas_sync_dagster.sync.downloads import download_directory
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.state.ledger import ReportLedger

Meanwhile = Callable[[ReportDriver[Any]], None]
"""Is called once Canvas has the report, before it is waited for."""
LONG_PAUSE = 5.0
"""Seconds of a pause during which no connection is kept. Pauses grow to them within half a minute: most reports are ready
by then, and one that Canvas compiles for hours occupies no connection of a server or a pooler."""


@contextmanager
def downloaded(
    flow: Flow, report: str, parameters: Parameters, *, meanwhile: Meanwhile = lambda _: None
) -> Iterator[ReportFile]:
    """Request a report, wait for it, and download it; the file is removed when the context ends.

    A report that Canvas is already compiling with the same parameters is adopted. One whose content is rejected within
    the context is not: the next run requests another one.

    Args:
        flow: The sync that needs the report.
        report: Canvas's name of it.
        parameters: All parameters, without Canvas's `parameters[…]`.
        meanwhile: What to do while Canvas compiles.

    Raises:
        CanvasError: Canvas refused to start it, it failed, or it took too long.
        ReportContentError: Its file is incomplete.
    """
    session = flow.session
    ledger = ReportLedger(session.database_url, session.schema, session.canvas.account_id, session.connections)
    pause = functools.partial(_pause, session.connections)
    driver = ReportDriver(session.canvas, ledger, flow.policy.limits, log=flow.log, sleep=pause)
    with download_directory(session.home, session.tenant.slug) as directory:
        file = driver.obtain(report, parameters, directory, meanwhile=lambda: meanwhile(driver))
        try:
            yield file
        except DataRejectedError as error:
            ledger.reject(file.entry, str(error))
            raise


def _pause(connections: KeptConnections, seconds: float) -> None:
    if seconds >= LONG_PAUSE:
        connections.release()
    time.sleep(seconds)
