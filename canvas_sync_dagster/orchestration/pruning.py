"""Which of Dagster's own runs are old enough to go: those of a tenant that nothing in the UI rests on any more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG

RUNS_KEPT = timedelta(days=90)
"""How long runs are kept; as long as the journal."""
AT_ONCE = 1_000
"""Runs per call, so that the first housekeeping of an old instance does not take all night."""
AD_HOC_JOB = "__ASSET_JOB"
"""Dagster's name of the job behind its button "Materialize"; such runs have no tag of ours."""
PARTITION_TAG = "dagster/partition"

Place = tuple[str, str | None, frozenset[dg.AssetKey]]
"""Job, term and what was selected: of each of them the latest success stays."""


def prune_runs(instance: dg.DagsterInstance, slug: str, *, kept: timedelta = RUNS_KEPT, limit: int = AT_ONCE) -> int:
    """Deletes a tenant's old runs with their events; returns how many.

    The latest success of each job, term and selection stays however old it is: by its events the UI knows that a term
    that has left the scope was ever synced.
    """
    latest: dict[Place, str | None] = {}
    gone = 0
    for run in _old_runs(instance, slug, datetime.now(UTC) - kept):
        place = _place(run)
        if place not in latest:
            latest[place] = _latest_success(instance, place)
        if run.is_finished and run.run_id != latest[place]:
            instance.delete_run(run.run_id)
            gone += 1
            if gone == limit:
                break
    return gone


def _old_runs(instance: dg.DagsterInstance, slug: str, before: datetime) -> Iterator[dg.DagsterRun]:
    ours = dg.RunsFilter(tags={TENANT_TAG: slug}, created_before=before)
    for record in instance.get_run_records(ours, ascending=True):
        yield record.dagster_run
    by_hand = dg.RunsFilter(job_name=AD_HOC_JOB, created_before=before)
    for record in instance.get_run_records(by_hand, ascending=True):
        run = record.dagster_run
        if run.asset_selection and all(key.path[0] == slug for key in run.asset_selection):
            yield run


def _place(run: dg.DagsterRun) -> Place:
    return run.job_name, run.tags.get(PARTITION_TAG), frozenset(run.asset_selection or ())


def _latest_success(instance: dg.DagsterInstance, place: Place) -> str | None:
    job, term, _ = place
    condition = dg.RunsFilter(
        job_name=job, tags={PARTITION_TAG: term} if term else {}, statuses=[dg.DagsterRunStatus.SUCCESS]
    )
    successes = (record.dagster_run for record in instance.get_run_records(condition))
    return next((run.run_id for run in successes if _place(run) == place), None)
