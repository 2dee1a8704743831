"""Opens a batch before its time for the terms whose live events wait for a report, once per wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.callbacks import OnSync
from canvas_sync_dagster.orchestration.driver import Launch, Launcher, batch_tags
from canvas_sync_dagster.orchestration.identifiers import root_job, sync_schedule_name
from canvas_sync_dagster.orchestration.orphaned_runs import begin_batch
from canvas_sync_dagster.orchestration.term_sync import schedule_is_running
from canvas_sync_dagster.warehouse.state.report_waits import ReportWait, read_active_waits, write_wait
from canvas_sync_dagster.warehouse.state.sync_batches import LIVE_EVENTS, SyncBatches

WORTHWHILE = timedelta(hours=1)
"""Time until the scheduled sync below which no early one begins: it would still be under way, and the scheduled one would
be skipped. Reports of large institutions take 45 minutes."""


@dataclass(frozen=True, slots=True)
class EarlySync:
    """What a tick does about live events that wait for a report.

    Attributes:
        instance: The Dagster instance.
        service: The tenant's batches, of its own genre.
        whole: Launches the root run of a batch for all terms.
        terms: Launches the root run of a batch for some terms.
        callbacks: `on_sync` functions, called for an abandoned batch that this closes.
    """

    instance: dg.DagsterInstance
    service: BatchService
    whole: Launcher
    terms: Launcher
    callbacks: Sequence[OnSync] = field(default=())

    def update(self) -> list[str]:
        """Open a batch if events began to wait for a report, and return what was done, as sentences; mostly none.

        A failure is one of them: it must not fail the tick, which also drives the batches that are under way.
        """
        try:
            return self._update(datetime.now(UTC))
        except CanvasSyncError as error:
            return [f"an early sync could not begin: {error}"]

    def _update(self, now: datetime) -> list[str]:
        tenant = self.service.tenant
        with self.service.warehouse("reading which events wait for reports") as warehouse:
            waits = worthwhile(read_active_waits(warehouse).values(), now)
            if not waits or SyncBatches(warehouse).under_way():
                return []
        if not schedule_is_running(self.instance, sync_schedule_name(tenant.slug)):
            return []
        terms = affected_terms(waits)
        key = f"{tenant.slug}:live events:{min(wait.since for wait in waits):%Y-%m-%dT%H:%M:%S}"
        details: dict[str, Any] = {"trigger": LIVE_EVENTS} | ({"only": list(terms)} if terms else {})
        batch = begin_batch(self.instance, self.service, key, details, self.callbacks)
        if batch is None:
            return []
        launcher = self.terms if terms else self.whole
        launcher.launch(Launch("root", key, root_job(tenant.slug), batch_tags(tenant, batch)))
        with self.service.warehouse("noting that an early sync was requested") as warehouse:
            for wait in waits:
                write_wait(warehouse, replace(wait, is_requested=True))
        models = ", ".join(sorted(wait.model for wait in waits))
        of = f"the terms {', '.join(terms)}" if terms else "all terms"
        return [f"an early sync of {of} begins, because live events of {models} wait for it"]


def worthwhile(waits: Iterable[ReportWait], now: datetime) -> list[ReportWait]:
    """Return the waits for which an early sync was not requested, and whose scheduled sync is not near."""
    return [wait for wait in waits if not wait.is_requested and wait.at - now > WORTHWHILE]


def affected_terms(waits: Sequence[ReportWait]) -> tuple[str, ...]:
    """Return the terms that an early sync covers: those of all waits; none, for all terms, if one has no known term."""
    if any(not wait.terms for wait in waits):
        return ()
    return tuple(sorted({term for wait in waits for term in wait.terms}))
