"""A report on its way from Canvas to a temporary directory: whole, or in parts by sub-account."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from canvas_sync_dagster.canvas.reports import STALE_AFTER, ReportDriver, ReportFile, ReportFiles
from canvas_sync_dagster.catalogue.parameters import Parameters
from canvas_sync_dagster.errors import CanvasError, DataRejectedError
from canvas_sync_dagster.sync.downloads import download_directory
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.state.ledger import ReportEntry, ReportLedger

LONG_PAUSE = 5.0
"""Seconds of a pause during which no connection is kept. Pauses grow to them within half a minute: most reports are ready
by then, and one that Canvas compiles for hours occupies no connection of a server or a pooler."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A report that is requested from one account.

    Attributes:
        report: Canvas's name of it.
        parameters: All parameters, without Canvas's `parameters[…]`.
        sub_account: Id of the sub-account; None is the tenant's account.
    """

    report: str
    parameters: Parameters
    sub_account: str | None = None


def _none() -> Sequence[Asked]:
    return ()


@contextmanager
def downloaded(
    flow: Flow, parts: Sequence[Asked], *, following: Callable[[], Sequence[Asked]] = _none
) -> Iterator[ReportFiles]:
    """Request the parts of a report, wait for them, and download them; the files are removed when the context ends.

    While Canvas compiles a part, the next `reports_ahead` reports are ordered: the remaining parts, then those that
    follow. A report that Canvas is already compiling with the same parameters is adopted. One whose content is rejected
    within the context is not: the next run requests another one. If a part fails, the next run adopts the others.

    Args:
        flow: The sync that needs the report.
        parts: The report of the tenant's account, or those of its sub-accounts; at least one.
        following: Returns the reports that this run requests next.

    Raises:
        CanvasError: Canvas refused to start one, one failed, or took too long.
        ReportContentError: A file is incomplete.
    """
    files: dict[str, ReportFile] = {}
    with download_directory(flow.session.home, flow.session.tenant.slug) as directory:
        for place, part in enumerate(parts, 1):
            account = part.sub_account or flow.session.canvas.account_id
            if part.sub_account:
                flow.log(f"{part.report}: part {place} of {len(parts)}, sub-account {account}")
            order = functools.partial(_order_ahead, flow, parts[place:], following)
            driver = _driver(flow, part)
            files[account] = driver.obtain(part.report, part.parameters, directory, meanwhile=order)
        try:
            yield ReportFiles(files)
        except DataRejectedError as error:
            for part, file in zip(parts, files.values(), strict=True):
                _ledger(flow, part).reject(file.entry, str(error))
            raise


def _order_ahead(flow: Flow, remaining: Sequence[Asked], following: Callable[[], Sequence[Asked]]) -> None:
    """Have Canvas begin with the next reports; the sync that needs one reports why it cannot."""
    for asked in islice(_next(remaining, following), flow.policy.reports_ahead):
        try:
            _driver(flow, asked).order(asked.report, asked.parameters)
        except CanvasError as error:
            flow.log(f"{asked.report} is not ordered ahead: {error}")


def _next(remaining: Sequence[Asked], following: Callable[[], Sequence[Asked]]) -> Iterator[Asked]:
    yield from remaining
    yield from following()


def _driver(flow: Flow, asked: Asked) -> ReportDriver[ReportEntry]:
    limits = flow.policy.limits
    return ReportDriver(
        flow.session.canvas,
        _ledger(flow, asked),
        limits,
        account=asked.sub_account,
        # A part waits for the others, which may take hours each; it is as old as `observed_at` says.
        stale_after=limits.total if asked.sub_account else STALE_AFTER,
        log=flow.log,
        sleep=functools.partial(_pause, flow.session.connections),
    )


def _ledger(flow: Flow, asked: Asked) -> ReportLedger:
    session = flow.session
    account = asked.sub_account or session.canvas.account_id
    return ReportLedger(session.database_url, session.schema, account, session.connections)


def _pause(connections: KeptConnections, seconds: float) -> None:
    if seconds >= LONG_PAUSE:
        connections.release()
    time.sleep(seconds)
