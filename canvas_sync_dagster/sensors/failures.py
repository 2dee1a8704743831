"""The sensor `canvas_sync_failures`: calls `on_failure` functions, and closes the journal of runs whose process died."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import dagster as dg

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.callbacks import FailedRun, OnFailure, call_on_failure
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG, WILL_RETRY_TAG
from canvas_sync_dagster.orchestration.run_errors import raised


def failure_sensor(
    batches: Mapping[str, Callable[[], BatchService]], callbacks: Sequence[OnFailure]
) -> dg.SensorDefinition:
    """Return the sensor that is evaluated for every failed run.

    Args:
        batches: Slug of a tenant → function that returns its batches.
        callbacks: `on_failure` functions.
    """

    @dg.run_failure_sensor(
        name="canvas_sync_failures",
        monitor_all_code_locations=False,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Closes the journal of failed runs and, unless they are retried, calls what on_failure asked for.",
    )
    def failures(context: dg.RunFailureSensorContext) -> None:
        run, slug = context.dagster_run, context.dagster_run.tags.get(TENANT_TAG, "")
        message = context.failure_event.message or ""
        job_log: dict[str, object] | None = None
        service: BatchService | None = None
        if slug in batches:
            try:
                service = batches[slug]()
                job_log = service.close_journal(run.run_id, f"the process ended: {message}")
            except CanvasSyncError as error:
                context.log.warning(str(error))
        if run.tags.get(WILL_RETRY_TAG) != "true":
            raised_error = raised(context.get_step_failure_events(), message or "the run failed")
            call_on_failure(callbacks, FailedRun(run, raised_error, slug, job_log, service), context.log)

    return failures
