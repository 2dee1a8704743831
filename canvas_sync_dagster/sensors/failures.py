"""Tells the user's functions of failed runs, and closes the journal of runs whose process died."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.orchestration.callbacks import OnFailure, tell_of_failure
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG, WILL_RETRY_TAG
from canvas_sync_dagster.orchestration.run_errors import raised

if TYPE_CHECKING:
    from canvas_sync_dagster.orchestration.batch_service import BatchService


def failure_sensor(
    batches: Mapping[str, Callable[[], BatchService]], callbacks: Sequence[OnFailure]
) -> dg.SensorDefinition:
    """Builds the sensor that hears of every failed run.

    Args:
        batches: Tenant → its batches.
        callbacks: The user's functions.
    """

    @dg.run_failure_sensor(
        name="canvas_sync_failures",
        monitor_all_code_locations=False,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Closes the journal of failed runs and, unless they are retried, calls what on_failure asked for.",
    )
    def failures(context: dg.RunFailureSensorContext) -> None:
        run, slug = context.dagster_run, context.dagster_run.tags.get(TENANT_TAG, "")
        job_log: dict[str, object] | None = None
        ours: BatchService | None = None
        if slug in batches:
            why = f"the process ended: {context.failure_event.message or ''}"
            try:
                ours = batches[slug]()
                job_log = ours.close_journal(run.run_id, why)
            except CanvasSyncError as error:
                context.log.warning(str(error))
        if run.tags.get(WILL_RETRY_TAG) != "true":
            what = raised(context.get_step_failure_events(), context.failure_event.message or "the run failed")
            tell_of_failure(callbacks, what, tenant=slug, job_log=job_log, run=run, ours=ours, log=context.log)

    return failures
