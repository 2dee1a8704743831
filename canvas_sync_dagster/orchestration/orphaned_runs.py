"""Orphaned runs and batches: found by a released lock or by missing heartbeats, and ended, so that nothing waits for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from canvas_sync_dagster.orchestration.callbacks import OnSync, tell_of_batch
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, TENANT_TAG
from canvas_sync_dagster.orchestration.next_step import RunState
from canvas_sync_dagster.warehouse.state.job_logs import CANCELLED

if TYPE_CHECKING:
    from canvas_sync_dagster.orchestration.batch_service import BatchService
    from canvas_sync_dagster.orchestration.next_step import RunState
    from canvas_sync_dagster.warehouse.state.sync_batches import Batch

WILL_RETRY_TAG = "dagster/will_retry"
"""What Dagster writes on a failed run that it is going to retry."""
RETRY_TAG = "dagster/auto_retry_run_id"
"""What Dagster writes on it once the retry exists."""
LOOKED_AFTER = timedelta(minutes=1)
"""Silence that a batch of the sensor's may have between two of its runs: it looks every fifteen seconds, and late when
the daemon is busy or has just been started again."""
RETRIED_WITHIN = timedelta(minutes=5)
"""How long a failed run whose retry was announced counts as under way; the daemon launches it within seconds."""


def begin_batch(
    instance: dg.DagsterInstance,
    ours: BatchService,
    key: str,
    details: Mapping[str, Any],
    callbacks: Sequence[OnSync] = (),
) -> Batch | None:
    """Opens a batch, after closing those of its genre that nobody works on any more; None if one is under way."""
    fail_orphaned_runs(instance, ours)
    for batch in ours.under_way():
        if batch.genre == ours.tenant.batch_genre and batch.key != key and is_abandoned(instance, ours, batch):
            close_abandoned(instance, ours, batch, callbacks)
    return ours.open(key, details)


def is_abandoned(instance: dg.DagsterInstance, ours: BatchService, batch: Batch) -> bool:
    """Return whether a batch has no run under way, and no process that would launch one."""
    root, terms, _ = batch_runs(instance, ours.tenant.slug, batch.key)
    alone = batch.details.get("trigger") == "command"
    limit = ours.tenant.lost_after if alone else max(ours.tenant.lost_after, LOOKED_AFTER)
    gone = batch.silence > limit or ours.has_lost_its_process(batch)
    end, _ = end_run(instance, ours.tenant.slug, batch.key)
    return gone and RunState.ACTIVE not in (root, end, *terms.values())


def close_abandoned(
    instance: dg.DagsterInstance, ours: BatchService, batch: Batch, callbacks: Sequence[OnSync] = ()
) -> None:
    """Closes such a batch as failed, unless somebody else has."""
    _, _, ids = batch_runs(instance, ours.tenant.slug, batch.key)
    gone = ours.has_lost_its_process(batch)
    reason = "its process is gone" if gone else f"no heartbeat for {round(batch.silence.total_seconds())} s"
    if ours.close(batch, "failed", reason, ids):
        tell_of_batch(callbacks, ours, batch, "failed", reason)


def fail_orphaned_runs(instance: dg.DagsterInstance, ours: BatchService) -> list[str]:
    """Fail the runs whose process died unnoticed, and their entries in the journal; return the ids of the runs.

    Dagster's default launcher notices the death of a run's process only while the code server lives that started it.
    Otherwise the run would be under way for ever, and hold its place in the queue and in the pool.
    """
    lost_after, silences = ours.tenant.lost_after, ours.silences()
    lost = {run_id for run_id, silence in silences.items() if silence > lost_after}
    lost |= {run_id for run_id in _started(instance, ours.tenant.slug) if run_id not in silences}
    silent = f"its process is gone: no heartbeat for {lost_after}"
    reasons = {run_id: silent for run_id in lost if _silence(instance, run_id) > lost_after}
    reasons |= dict.fromkeys(_of_lost_processes(instance, ours), "its process is gone")
    for run_id, why in sorted(reasons.items()):
        _end(instance, ours, run_id, why)
    return sorted(reasons)


def _of_lost_processes(instance: dg.DagsterInstance, ours: BatchService) -> Iterator[str]:
    """Yield the unfinished runs of batches whose process is gone: a command executes its runs itself."""
    for batch in ours.under_way():
        if ours.has_lost_its_process(batch):
            for record in instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: batch.key})):
                if not record.dagster_run.is_finished:
                    yield record.dagster_run.run_id


def _end(instance: dg.DagsterInstance, ours: BatchService, run_id: str, why: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status is dg.DagsterRunStatus.CANCELED:
        why = CANCELLED
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, f"Run {run_id}: {why}.")
        # The daemon frees the places of ended runs in pools, but only where one runs.
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    ours.close_journal(run_id, why)


def _started(instance: dg.DagsterInstance, slug: str) -> Iterator[str]:
    condition = dg.RunsFilter(tags={TENANT_TAG: slug}, statuses=[dg.DagsterRunStatus.STARTED])
    return (record.dagster_run.run_id for record in instance.get_run_records(condition))


def _silence(instance: dg.DagsterInstance, run_id: str) -> timedelta:
    """Measures how long a run has told Dagster nothing; of an unknown run it is for ever."""
    if not instance.has_run(run_id):
        return timedelta.max
    events = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    return datetime.now(UTC) - datetime.fromtimestamp(events[0].timestamp if events else 0, UTC)


def batch_runs(
    instance: dg.DagsterInstance, slug: str, key: str
) -> tuple[RunState | None, dict[str, RunState], list[str]]:
    """Reads the states of a batch's runs: the root's, each term's, and all their ids. The latest run of a term counts."""
    root: RunState | None = None
    terms: dict[str, RunState] = {}
    found = instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: key}), ascending=True)
    for record in found:
        run = record.dagster_run
        if run.job_name == f"{slug}__sync_root":
            root = _state(record)
        elif term := run.tags.get("dagster/partition"):
            terms[term] = _state(record)
    return root, terms, [record.dagster_run.run_id for record in found]


def end_run(instance: dg.DagsterInstance, slug: str, key: str) -> tuple[RunState | None, int]:
    """Read the state of a batch's run of the steps at the end, and count such runs.

    One that is older than another run of the batch does not count: the batch has gone on since.
    """
    records = instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: key}), ascending=True)
    name = f"{slug}__sync_end"
    number = sum(record.dagster_run.job_name == name for record in records)
    is_last = bool(records) and records[-1].dagster_run.job_name == name
    return _state(records[-1]) if is_last else None, number


def failed_at_start(instance: dg.DagsterInstance, slug: str, key: str, steps: Sequence[str]) -> bool:
    """Return whether a step at the start of a batch failed, so that the rest of the batch must not run."""
    found = instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: key}, job_name=f"{slug}__sync_root"), limit=1)
    if not found or not steps:
        return False
    keys = [f"{slug}__{step}" for step in steps]
    stats = instance.get_run_step_stats(found[0].dagster_run.run_id, keys)
    return any(each.status is not None and each.status.value == "FAILURE" for each in stats)


def _state(record: dg.RunRecord) -> RunState:
    run = record.dagster_run
    if not run.is_finished:
        return RunState.ACTIVE
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return RunState.SUCCESS
    if run.status is dg.DagsterRunStatus.CANCELED:
        return RunState.CANCELLED
    awaited = run.tags.get(WILL_RETRY_TAG) == "true" and RETRY_TAG not in run.tags
    ended = datetime.fromtimestamp(record.end_time or 0, UTC)
    return RunState.ACTIVE if awaited and datetime.now(UTC) - ended < RETRIED_WITHIN else RunState.FAILURE
