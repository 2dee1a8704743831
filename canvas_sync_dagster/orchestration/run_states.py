"""Reads from Dagster how the runs of a batch are doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from canvas_sync_dagster.orchestration.identifiers import (
    BATCH_TAG,
    PARTITION_TAG,
    RETRY_TAG,
    WILL_RETRY_TAG,
    end_job,
    root_job,
)
from canvas_sync_dagster.orchestration.next_step import RunState

RETRIED_WITHIN = timedelta(minutes=5)
"""How long a failed run whose retry was announced counts as active; the daemon launches the retry within seconds."""


@dataclass(frozen=True, slots=True)
class BatchRuns:
    """The runs of a batch. Where a run was retried or re-executed, the latest one counts.

    Attributes:
        ids: Ids of all runs, the oldest first.
        root_id: Id of the root run; None if there is none.
        root: State of the root run; None if there is none.
        terms: State of each term run, by term id.
        end: State of the run of the steps at the end; None if there is none, or if another run began after it: then the
            batch has gone on, and its end runs again.
        end_count: Number of runs of the steps at the end.
    """

    ids: Sequence[str]
    root_id: str | None
    root: RunState | None
    terms: Mapping[str, RunState]
    end: RunState | None
    end_count: int


def read_runs(instance: dg.DagsterInstance, tenant: str, batch_key: str, *, awaits_retries: bool = True) -> BatchRuns:
    """Read the runs of a batch.

    Args:
        instance: The Dagster instance that has the runs.
        tenant: Slug of the tenant.
        batch_key: Key of the batch, which its runs have as a tag.
        awaits_retries: Whether a failed run counts as active while Dagster's daemon is about to retry it. The daemon
            cannot retry runs that a command executed.
    """
    records = instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: batch_key}), ascending=True)
    root = _latest(records, root_job(tenant))
    ends = [record for record in records if record.dagster_run.job_name == end_job(tenant)]
    terms = {
        record.dagster_run.tags[PARTITION_TAG]: _state(record, awaits_retries=awaits_retries)
        for record in records
        if PARTITION_TAG in record.dagster_run.tags and record.dagster_run.job_name != root_job(tenant)
    }
    return BatchRuns(
        ids=[record.dagster_run.run_id for record in records],
        root_id=root.dagster_run.run_id if root else None,
        root=_state(root, awaits_retries=awaits_retries) if root else None,
        terms=terms,
        end=_state(ends[-1], awaits_retries=awaits_retries) if ends and ends[-1] is records[-1] else None,
        end_count=len(ends),
    )


def start_failed(instance: dg.DagsterInstance, tenant: str, runs: BatchRuns, steps: Sequence[str]) -> bool:
    """Return whether a step at the start of a batch failed, so that the rest of the batch must not run.

    Args:
        instance: The Dagster instance that has the runs.
        tenant: Slug of the tenant.
        runs: The runs of the batch.
        steps: Names of the steps at the start.
    """
    if runs.root is not RunState.FAILURE or runs.root_id is None or not steps:
        return False
    stats = instance.get_run_step_stats(runs.root_id, [f"{tenant}__{step}" for step in steps])
    return any(each.status is not None and each.status.value == "FAILURE" for each in stats)


def _latest(records: Sequence[dg.RunRecord], job: str) -> dg.RunRecord | None:
    return next((record for record in reversed(records) if record.dagster_run.job_name == job), None)


def _state(record: dg.RunRecord, *, awaits_retries: bool) -> RunState:
    run = record.dagster_run
    if not run.is_finished:
        return RunState.ACTIVE
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return RunState.SUCCESS
    if run.status is dg.DagsterRunStatus.CANCELED:
        return RunState.CANCELLED
    awaited = awaits_retries and run.tags.get(WILL_RETRY_TAG) == "true" and RETRY_TAG not in run.tags
    ended = datetime.fromtimestamp(record.end_time or 0, UTC)
    return RunState.ACTIVE if awaited and datetime.now(UTC) - ended < RETRIED_WITHIN else RunState.FAILURE
