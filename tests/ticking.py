"""The schedules and sensors of a location, ticked by hand; their runs are executed in this process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from canvas_sync_dagster import CanvasSync


class Ticking:
    """A location on an instance of Dagster."""

    def __init__(self, sync: CanvasSync, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.definitions = sync.definitions()

    def schedule(self, name: str, hour: int = 3) -> dg.RunRequest | None:
        moment = datetime(2026, 9, 2, hour, tzinfo=UTC)
        context = dg.build_schedule_context(instance=self.instance, scheduled_execution_time=moment)
        requests = self.definitions.resolve_schedule_def(name).evaluate_tick(context).run_requests
        return requests[0] if requests else None

    def sensor(self, name: str = "canvas_sync_batches") -> list[dg.RunRequest]:
        context = dg.build_sensor_context(instance=self.instance, definitions=self.definitions)
        with dg.partition_loading_context(dynamic_partitions_store=self.instance):
            return list(self.definitions.resolve_sensor_def(name).evaluate_tick(context).run_requests or [])

    def run(self, job: str, request: dg.RunRequest) -> Any:
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=dict(request.tags),
            partition_key=request.partition_key,
            asset_selection=request.asset_selection,
        )
