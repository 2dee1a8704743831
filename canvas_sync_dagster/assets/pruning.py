"""Which of Dagster's own runs are old enough to go: those of a tenant that nothing in the UI rests on any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from canvas_sync_dagster.assets.specs import TENANT_TAG

RUNS_KEPT = timedelta(days=90)
"""How long runs are kept; as long as the journal."""
AT_ONCE = 1_000
"""Runs per call, so that the first housekeeping of an old instance does not take all night."""


def prune_runs(instance: dg.DagsterInstance, slug: str, *, kept: timedelta = RUNS_KEPT, limit: int = AT_ONCE) -> int:
    """Deletes a tenant's old runs with their events; returns how many.

    The latest success of each job and term stays however old it is: by its events the UI knows that a term that has left
    the scope was ever synced.
    """
    old = instance.get_run_records(
        dg.RunsFilter(tags={TENANT_TAG: slug}, created_before=datetime.now(UTC) - kept), ascending=True
    )
    latest: dict[tuple[str, str | None], str | None] = {}
    gone = 0
    for record in old:
        run = record.dagster_run
        place = (run.job_name, run.tags.get("dagster/partition"))
        if place not in latest:
            latest[place] = _latest_success(instance, slug, *place)
        if run.is_finished and run.run_id != latest[place]:
            instance.delete_run(run.run_id)
            gone += 1
            if gone == limit:
                break
    return gone


def _latest_success(instance: dg.DagsterInstance, slug: str, job: str, term: str | None) -> str | None:
    tags = {TENANT_TAG: slug, **({"dagster/partition": term} if term else {})}
    condition = dg.RunsFilter(job_name=job, tags=tags, statuses=[dg.DagsterRunStatus.SUCCESS])
    found = instance.get_run_records(condition, limit=1)
    return found[0].dagster_run.run_id if found else None
