"""Deletes old runs of a tenant from the Dagster instance, except those that the UI still needs."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from canvas_sync_dagster.orchestration.event_pruning import prune_checks_of_deleted_runs
from canvas_sync_dagster.orchestration.identifiers import PARTITION_TAG, TENANT_TAG

RUNS_KEPT = timedelta(days=90)
"""Age at which runs are deleted; the journal keeps its entries as long."""
TIME_PER_CALL = timedelta(hours=1)
"""How long one call deletes at most, so that the first housekeeping of an old instance does not take all night."""
PAGE = 500
"""Runs that are read at once: some megabytes."""
AD_HOC_JOB = "__ASSET_JOB"
"""Dagster's name of the job behind its button "Materialize"; such runs have none of our tags."""
LOG = logging.getLogger(__name__)

Place = tuple[str, str | None, frozenset[dg.AssetKey]]
"""Job, term and selected assets; the latest successful run of each is kept."""


def prune_runs(
    instance: dg.DagsterInstance,
    slug: str,
    assets: Collection[dg.AssetKey],
    *,
    kept: timedelta = RUNS_KEPT,
    within: timedelta = TIME_PER_CALL,
) -> int:
    """Delete a tenant's old runs with their events, check results and captured output, the oldest first.

    The latest successful run of each job, term and selection is kept at any age: from its events the UI knows that a term
    that left the scope was synced.

    Args:
        instance: The Dagster instance that has the runs.
        slug: The tenant.
        assets: Keys of its assets.
        kept: Age at which runs are deleted.
        within: How long to delete; the next call continues.

    Returns:
        The number of runs that were deleted.
    """
    until, before = time.monotonic() + within.total_seconds(), datetime.now(UTC) - kept
    latest: dict[Place, str | None] = {}
    output, deleted = _Output(instance), 0
    for run in _old_runs(instance, slug, assets, before):
        if time.monotonic() > until:
            break
        place = _place(run)
        if place not in latest:
            latest[place] = _latest_success(instance, place)
        if run.is_finished and run.run_id != latest[place]:
            output.delete(run.run_id)
            instance.delete_run(run.run_id)
            deleted += 1
    prune_checks_of_deleted_runs(instance, assets, before)
    return deleted


class _Output:
    """What the processes of runs have printed, as Dagster has captured it. `delete_run` leaves it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance, self._possible = instance, True

    def delete(self, run_id: str) -> None:
        """Delete the captured output of a run. A place that refuses it does not stop housekeeping."""
        if not self._possible:
            return
        try:
            self._instance.compute_log_manager.delete_logs(prefix=[run_id])
        except Exception as error:
            self._possible = False
            LOG.warning("captured output of old runs is not deleted: %s", type(error).__name__)


def _old_runs(
    instance: dg.DagsterInstance, slug: str, assets: Collection[dg.AssetKey], before: datetime
) -> Iterator[dg.DagsterRun]:
    yield from _runs(instance, dg.RunsFilter(tags={TENANT_TAG: slug}, created_before=before), ascending=True)
    for run in _runs(instance, dg.RunsFilter(job_name=AD_HOC_JOB, created_before=before), ascending=True):
        if run.asset_selection and all(key in assets for key in run.asset_selection):
            yield run


def _runs(instance: dg.DagsterInstance, condition: dg.RunsFilter, *, ascending: bool) -> Iterator[dg.DagsterRun]:
    """Yield runs by their age, read page by page; the caller may delete each."""
    page = _page(instance, condition, None, ascending=ascending)
    while page:
        # Before the caller deletes the last one: Dagster looks up where it is.
        following = _page(instance, condition, page[-1].run_id, ascending=ascending) if len(page) == PAGE else []
        yield from page
        page = following


def _page(
    instance: dg.DagsterInstance, condition: dg.RunsFilter, cursor: str | None, *, ascending: bool
) -> list[dg.DagsterRun]:
    records = instance.get_run_records(condition, limit=PAGE, cursor=cursor, ascending=ascending)
    return [record.dagster_run for record in records]


def _place(run: dg.DagsterRun) -> Place:
    return run.job_name, run.tags.get(PARTITION_TAG), frozenset(run.asset_selection or ())


def _latest_success(instance: dg.DagsterInstance, place: Place) -> str | None:
    job, term, _ = place
    condition = dg.RunsFilter(
        job_name=job, tags={PARTITION_TAG: term} if term else {}, statuses=[dg.DagsterRunStatus.SUCCESS]
    )
    successes = _runs(instance, condition, ascending=False)
    return next((run.run_id for run in successes if _place(run) == place), None)
