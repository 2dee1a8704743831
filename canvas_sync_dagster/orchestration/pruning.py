"""Deletes old runs of a tenant from the Dagster instance, except those that the UI still needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from canvas_sync_dagster.orchestration.event_pruning import prune_checks_of_runs
from canvas_sync_dagster.orchestration.identifiers import PARTITION_TAG, TENANT_TAG

RUNS_KEPT = timedelta(days=90)
"""Age at which runs are deleted; the journal keeps its entries as long."""
RUNS_PER_CALL = 1_000
"""Runs that one call deletes at most, so that the first housekeeping of an old instance does not take all night."""
AD_HOC_JOB = "__ASSET_JOB"
"""Dagster's name of the job behind its button "Materialize"; such runs have none of our tags."""

Place = tuple[str, str | None, frozenset[dg.AssetKey]]
"""Job, term and selected assets; the latest successful run of each is kept."""


def prune_runs(
    instance: dg.DagsterInstance,
    slug: str,
    assets: Collection[dg.AssetKey],
    *,
    kept: timedelta = RUNS_KEPT,
    limit: int = RUNS_PER_CALL,
) -> int:
    """Delete a tenant's old runs with their events.

    The latest successful run of each job, term and selection is kept at any age: from its events the UI knows that a term
    that left the scope was synced.

    Args:
        instance: The Dagster instance that has the runs.
        slug: The tenant.
        assets: Keys of its assets.
        kept: Age at which runs are deleted.
        limit: Number of runs that are deleted at most.

    Returns:
        The number of runs that were deleted.
    """
    latest: dict[Place, str | None] = {}
    deleted: list[str] = []
    for run in _old_runs(instance, slug, assets, datetime.now(UTC) - kept):
        place = _place(run)
        if place not in latest:
            latest[place] = _latest_success(instance, place)
        if run.is_finished and run.run_id != latest[place]:
            instance.delete_run(run.run_id)
            deleted.append(run.run_id)
            if len(deleted) == limit:
                break
    prune_checks_of_runs(instance, assets, deleted)
    return len(deleted)


def _old_runs(
    instance: dg.DagsterInstance, slug: str, assets: Collection[dg.AssetKey], before: datetime
) -> Iterator[dg.DagsterRun]:
    ours = dg.RunsFilter(tags={TENANT_TAG: slug}, created_before=before)
    for record in instance.get_run_records(ours, ascending=True):
        yield record.dagster_run
    by_hand = dg.RunsFilter(job_name=AD_HOC_JOB, created_before=before)
    for record in instance.get_run_records(by_hand, ascending=True):
        run = record.dagster_run
        if run.asset_selection and all(key in assets for key in run.asset_selection):
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
