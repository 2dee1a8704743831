"""The sensor `canvas_sync_alerts`: reports problems of all tenants, once for each change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from canvas_sync_dagster.alerts.conditions import FailedRun
from canvas_sync_dagster.alerts.rounds import AlertTenant, EndedRun, Round, memory_of
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, PARTITION_TAG, TENANT_TAG, WILL_RETRY_TAG

SECONDS = 110
"""Shortest time between two ticks; the daemon evaluates every five seconds, so it is two minutes in effect."""
MOST_RUNS = 500
"""Runs that one tick looks at; the next tick continues."""
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
UNTIL = "runs_until"
"""Key of the cursor: time of the last change of a run that was looked at, in seconds since 1970."""


def alert_sensor(tenants: Sequence[AlertTenant]) -> dg.SensorDefinition:
    """Return the sensor that sends the alerts of all tenants of a location.

    Args:
        tenants: Tenants with alerts; at least one.
    """
    names = ", ".join(each.slug for each in tenants[:10]) + (" and others" if len(tenants) > 10 else "")

    @dg.sensor(
        name="canvas_sync_alerts",
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Sends alerts by webhook and mail, once for each change, for {names}.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        memory, content = memory_of(context.cursor)
        now = datetime.now(UTC)
        runs, until = ended_runs(context.instance, float(content.get(UNTIL) or now.timestamp()))
        current = Round(tenants, memory, now, runs)
        cursor = json.dumps({**current.run().as_json(), UNTIL: until})
        for line in current.lines:
            context.log.info(line)
        return dg.SensorResult(skip_reason="; ".join(current.lines) or "nothing is due", cursor=cursor)

    return alerts


def ended_runs(instance: dg.DagsterInstance, since: float) -> tuple[list[EndedRun], float]:
    """Return the runs of tenants outside batches that ended since a time and are not retried, and until when.

    Args:
        instance: The Dagster instance.
        since: Time after which they changed, in seconds since 1970.
    """
    filters = dg.RunsFilter(statuses=ENDED, updated_after=datetime.fromtimestamp(since, UTC) - timedelta(seconds=1))
    records = instance.get_run_records(filters, limit=MOST_RUNS, order_by="update_timestamp", ascending=True)
    found = [each for each in map(_ended, records) if each is not None]
    until = max((each.update_timestamp.timestamp() for each in records), default=since)
    return found, max(since, until)


def _ended(record: dg.RunRecord) -> EndedRun | None:
    run = record.dagster_run
    slug, batch = run.tags.get(TENANT_TAG), run.tags.get(BATCH_TAG)
    in_batch = batch is not None and batch != run.run_id
    if slug is None or in_batch or run.tags.get(WILL_RETRY_TAG) == "true":
        return None
    failed = FailedRun(run.job_name, run.tags.get(PARTITION_TAG, ""), run.run_id)
    return EndedRun(slug, failed, run.status is dg.DagsterRunStatus.FAILURE)
