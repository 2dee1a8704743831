"""Finds runs and batches whose process is gone, by a released lock or a missing heartbeat, and closes them.

Otherwise they would be under way for ever, and keep the next sync of their genre from starting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.callbacks import OnSync
from canvas_sync_dagster.orchestration.driver import close, executor_of, liveness
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, TENANT_TAG
from canvas_sync_dagster.orchestration.next_step import Close, abandonment
from canvas_sync_dagster.orchestration.run_states import read_runs
from canvas_sync_dagster.warehouse.state.job_logs import CANCELLED
from canvas_sync_dagster.warehouse.state.sync_batches import Batch

POOL_WAIT = timedelta(minutes=5)
"""How often a run that waits for a slot of a pool says so in Dagster's event log. It has no other sign of life."""


def begin_batch(
    instance: dg.DagsterInstance,
    service: BatchService,
    key: str,
    details: Mapping[str, Any],
    callbacks: Sequence[OnSync] = (),
) -> Batch | None:
    """Open a batch, after closing the abandoned batches of its genre; return None if one of the genre is under way.

    Args:
        instance: The Dagster instance that will have the runs.
        service: The tenant's batches of the genre.
        key: Key of the batch. An open batch with this key is returned; a closed one is opened again.
        details: What else is stored with it: its `trigger`, and `options` for its term runs.
        callbacks: `on_sync` functions, called for each batch that this closes.

    Raises:
        CanvasSyncError: The database cannot be reached.
    """
    fail_orphaned_runs(instance, service)
    for batch in service.under_way():
        if batch.genre == service.tenant.batch_genre and batch.key != key:
            _close_abandoned(instance, service, batch, callbacks)
    return service.open(key, details)


def _close_abandoned(
    instance: dg.DagsterInstance, service: BatchService, batch: Batch, callbacks: Sequence[OnSync]
) -> None:
    runs = read_runs(instance, service.tenant.slug, batch.key)
    if reason := abandonment(liveness(service, batch, runs, executor_of(batch))):
        close(service, batch, Close("failed", reason), runs, callbacks)


def fail_orphaned_runs(instance: dg.DagsterInstance, service: BatchService) -> list[str]:
    """Fail the tenant's runs whose process is gone, and their entries in the journal.

    Dagster's default launcher notices that a run's process died only while the code server that started it lives.
    Otherwise the run would be active for ever, and occupy its place in the queue and in its pool. A run that waits for a
    slot of a pool works on nothing, so that the journal has no heartbeat of it: it may be silent for longer.

    Args:
        instance: The Dagster instance that has the runs.
        service: The tenant's batches.

    Returns:
        The ids of these runs, sorted.

    Raises:
        CanvasSyncError: The database cannot be reached.
    """
    reasons = _silent_runs(instance, service) | dict.fromkeys(_locked_runs(instance, service), "its process is gone")
    for run_id, reason in sorted(reasons.items()):
        _fail(instance, service, run_id, reason)
    return sorted(reasons)


def _silent_runs(instance: dg.DagsterInstance, service: BatchService) -> dict[str, str]:
    """Return run id → reason of the runs without a heartbeat, neither in the journal nor in Dagster's event log."""
    lost_after, silences = service.tenant.lost_after, service.silences()
    suspects = {run_id for run_id, silence in silences.items() if silence > lost_after}
    suspects |= {run_id for run_id in _started(instance, service.tenant.slug) if run_id not in silences}
    silent = {run_id: silence for run_id in suspects if (silence := _event_silence(instance, run_id)) > lost_after}
    waiting = _waiting_for_pools(instance) if silent else frozenset()
    limits = {run_id: lost_after + (POOL_WAIT if run_id in waiting else timedelta()) for run_id in silent}
    return {
        run_id: f"its process is gone: no heartbeat for {limits[run_id]}"
        for run_id, silence in silent.items()
        if silence > limits[run_id]
    }


def _waiting_for_pools(instance: dg.DagsterInstance) -> frozenset[str]:
    """Return the ids of the runs with a step that waits for a slot of a pool."""
    storage = instance.event_log_storage
    pools = map(storage.get_concurrency_info, storage.get_concurrency_keys())
    return frozenset(step.run_id for pool in pools for step in pool.pending_steps)


def _locked_runs(instance: dg.DagsterInstance, service: BatchService) -> Iterator[str]:
    """Yield the unfinished runs of batches whose process is gone: a command executes its runs itself."""
    for batch in service.under_way():
        if service.has_lost_its_process(batch):
            for record in instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: batch.key})):
                if not record.dagster_run.is_finished:
                    yield record.dagster_run.run_id


def _fail(instance: dg.DagsterInstance, service: BatchService, run_id: str, reason: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status is dg.DagsterRunStatus.CANCELED:
        reason = CANCELLED
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, f"Run {run_id}: {reason}.")
        # Dagster's daemon frees the pool slots of ended runs, but a command may run without a daemon.
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    service.close_journal(run_id, reason)


def _started(instance: dg.DagsterInstance, slug: str) -> Iterator[str]:
    condition = dg.RunsFilter(tags={TENANT_TAG: slug}, statuses=[dg.DagsterRunStatus.STARTED])
    return (record.dagster_run.run_id for record in instance.get_run_records(condition))


def _event_silence(instance: dg.DagsterInstance, run_id: str) -> timedelta:
    """Return the time since a run's last event in Dagster's log; the longest possible for an unknown run."""
    if not instance.has_run(run_id):
        return timedelta.max
    events = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    return datetime.now(UTC) - datetime.fromtimestamp(events[0].timestamp if events else 0, UTC)
