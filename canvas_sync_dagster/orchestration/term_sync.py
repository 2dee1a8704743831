"""Registers the terms in scope as partitions before they are synced, and opens a batch for terms that are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg

from canvas_sync_dagster.cron import Cron
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.callbacks import OnSync
from canvas_sync_dagster.orchestration.driver import Launch, Launcher, batch_tags
from canvas_sync_dagster.orchestration.identifiers import root_job, sync_schedule_name
from canvas_sync_dagster.orchestration.new_terms import TermSituation, terms_to_sync
from canvas_sync_dagster.orchestration.orphaned_runs import begin_batch
from canvas_sync_dagster.orchestration.term_partitions import register_terms
from canvas_sync_dagster.redaction import summary
from canvas_sync_dagster.sync.covered_terms import TermPartitions
from canvas_sync_dagster.sync.scope import Term
from canvas_sync_dagster.warehouse.state.sync_batches import NEW_TERMS, SyncBatches


@dataclass(frozen=True, slots=True)
class TermSync:
    """What a tick does about the terms that Canvas lists now.

    Attributes:
        instance: The Dagster instance.
        service: The tenant's batches, of its own genre.
        launcher: Launches the root run of a batch.
        callbacks: `on_sync` functions, called for an abandoned batch that this closes.
    """

    instance: dg.DagsterInstance
    service: BatchService
    launcher: Launcher
    callbacks: Sequence[OnSync] = field(default=())

    def update(self, listed: Sequence[Term]) -> list[str]:
        """Register the terms that belong to the partitions, and open a batch if terms are new.

        Args:
            listed: The terms that Canvas lists.

        Returns:
            What was done, as sentences; mostly none. A failure is one of them: it must not fail the tick, which also
            drives the batches that are under way.
        """
        try:
            return self._update(listed, datetime.now(UTC))
        except Exception as error:
            # The user's function for the term scope may have raised, or the database is away.
            text = str(error) if isinstance(error, CanvasSyncError) else summary(error)
            return [f"the terms could not be compared with Canvas: {text}"]

    def _update(self, listed: Sequence[Term], now: datetime) -> list[str]:
        found = self.service.terms.partitions(now, listed)
        added = register_terms(self.instance, self.service.tenant.slug, found.keys)
        lines = [f"terms {', '.join(added)} became partitions"] if added else []
        if new := [term for term in found.in_scope if term not in found.synced]:
            lines += self._sync_new(found, new, now)
        return lines

    def _sync_new(self, found: TermPartitions, new: Sequence[str], now: datetime) -> list[str]:
        terms = terms_to_sync(self._situation(found, now))
        if not terms:
            return []
        tenant = self.service.tenant
        key = f"{tenant.slug}:new terms:{','.join(terms)}"
        details = {"trigger": NEW_TERMS, "only": list(terms)}
        batch = begin_batch(self.instance, self.service, key, details, self.callbacks)
        if batch is None:
            return []
        self.launcher.launch(Launch("root", key, root_job(tenant.slug), batch_tags(tenant, batch)))
        return [f"a sync of the new terms {', '.join(terms)} begins"]

    def _situation(self, found: TermPartitions, now: datetime) -> TermSituation:
        tenant = self.service.tenant
        with self.service.warehouse("reading batches") as warehouse:
            batches = SyncBatches(warehouse)
            under_way = bool(batches.under_way())
            tried, has_completed = batches.tried_new_terms(), batches.has_completed(tenant.batch_genre)
        ready = tenant.sync_new_terms and has_completed and not under_way
        tick = next(Cron.parse(tenant.schedule).ticks(now, tenant.time_zone, days=2), None)
        return TermSituation(
            in_scope=found.in_scope,
            synced=found.synced,
            tried=tried,
            wanted=tenant.sync_new_terms,
            has_completed=has_completed,
            under_way=under_way,
            scheduled=ready and schedule_is_running(self.instance, sync_schedule_name(tenant.slug)),
            until_tick=tick - now if tick else None,
        )


def schedule_is_running(instance: dg.DagsterInstance, name: str) -> bool:
    """Return whether a schedule of this name is running; one that was never started has no state."""
    return any(state.name == name and state.is_running for state in instance.all_instigator_state())
