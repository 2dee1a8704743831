"""The sensor `canvas_sync_staleness`: evaluates the staleness of each tenant's tables about every hour: it also becomes stale when nothing is loaded."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.assets.checks import staleness_evaluations
from canvas_sync_dagster.sensors.tenant_tasks import TaskLimits, TenantTasks
from canvas_sync_dagster.sensors.tick_report import TickReport
from canvas_sync_dagster.sensors.watched_tenants import WatchedTenants
from canvas_sync_dagster.sync.staleness import TenantStaleness, staleness_of

if TYPE_CHECKING:
    from canvas_sync_dagster.orchestration.batch_service import BatchService

SECONDS = 300
"""Time between two ticks. Each evaluates a part of the tenants: the evaluations of 100 tenants at once, 3,000, would take
longer than a tick may last."""
EVERY_SECONDS = 3600
"""Time between two evaluations of a tenant."""


def due(slugs: Sequence[str], evaluated_at: Mapping[str, float], now: float) -> list[str]:
    """Return the tenants that a tick evaluates: those that wait for the longest time, and as many as each tick can take.

    Args:
        slugs: The tenants.
        evaluated_at: Slug → when it was last evaluated, in seconds.
        now: Current time, in seconds.
    """
    share = math.ceil(len(slugs) * SECONDS / EVERY_SECONDS)
    # A tick comes a little late, never early.
    waiting = [slug for slug in slugs if now - evaluated_at.get(slug, -math.inf) > EVERY_SECONDS - SECONDS / 2]
    return sorted(waiting, key=lambda slug: evaluated_at.get(slug, -math.inf))[:share]


class StalenessSensor:
    """Evaluates the `staleness` checks of all tenants.

    Args:
        tenants: The tenants that are looked at.
        keys: Slug → keys of the tenant's assets.
        batches: Slug → function that returns the tenant's batches.
        limits: Limits of the tasks.
    """

    def __init__(
        self,
        tenants: WatchedTenants,
        keys: Mapping[str, AssetKeys],
        batches: Mapping[str, Callable[[], BatchService]],
        limits: TaskLimits | None = None,
    ) -> None:
        self._tenants, self._keys, self._batches = tenants, keys, batches
        limits = limits or TaskLimits(wait_seconds=30.0, slow_seconds=10.0)
        self._tasks: TenantTasks[TenantStaleness] = TenantTasks("canvas_sync_staleness", limits)
        self._evaluated_at: dict[str, float] = {}

    def tick(self) -> TickReport:
        """Evaluate the tenants that are due."""
        for slug in due(list(self._tenants.urls), self._evaluated_at, time.monotonic()):
            if self._tasks.submit(slug, functools.partial(self._evaluate, slug)):
                self._evaluated_at[slug] = time.monotonic()
        report = TickReport(
            "nothing was evaluated: no tenant is due, or nothing has been synced", self._tenants.skipped
        )
        for slug, result in self._tasks.wait().items():
            if result.problem is not None:
                report.problems[slug] = result.problem
            elif result.value is not None and result.value.models:
                stale = [each.model for each in result.value.models if each.stale]
                report.done[slug] = f"stale: {', '.join(stale)}" if stale else "nothing is stale"
                report.events += staleness_evaluations(result.value, self._keys[slug].of)
            else:
                # Due again at once, behind those that wait for longer: its first sync may end at any time.
                self._evaluated_at[slug] = time.monotonic() - EVERY_SECONDS
        return report

    def _evaluate(self, slug: str) -> TenantStaleness:
        return staleness_of(self._batches[slug]().terms)


def staleness_sensor(stale: StalenessSensor) -> dg.SensorDefinition:
    """Return the sensor that evaluates the `staleness` checks of all tenants."""

    @dg.sensor(
        name="canvas_sync_staleness",
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports the stale tables of all tenants, with their terms, about once an hour.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return stale.tick().result(context.cursor)

    return look
