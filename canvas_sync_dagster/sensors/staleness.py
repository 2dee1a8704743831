"""Sensor that evaluates staleness every hour: a table also becomes stale when nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.assets.checks import staleness_evaluations
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.sync.staleness import staleness_of
from canvas_sync_dagster.tenants import TenantSettings

if TYPE_CHECKING:
    from canvas_sync_dagster.orchestration.batch_service import BatchService

SECONDS = 3600


def staleness_sensor(
    tenant: TenantSettings, keys: AssetKeys, batches: Callable[[], BatchService]
) -> dg.SensorDefinition:
    """Return the sensor that evaluates a tenant's `staleness` checks.

    Args:
        tenant: Settings of the tenant.
        keys: Keys of its assets.
        batches: Function that returns its batches; called within a tick, because it needs the database.
    """
    slug = tenant.slug

    @dg.sensor(
        name=f"{slug}__staleness",
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Reports the stale tables of {slug}, with their terms.",
    )
    def look(_: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if tenant.base_url is None and tenant.database_url is None:
            return dg.SkipReason(f"{slug} is not configured: CANVAS_SYNC_BASE_URL is not set")
        try:
            found = staleness_of(batches().terms)
        except CanvasSyncError as error:
            return dg.SkipReason(str(error))
        if not found.models:
            return dg.SkipReason("nothing has been synced yet")
        return dg.SensorResult(asset_events=staleness_evaluations(found, keys.of))

    return look
