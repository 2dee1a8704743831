"""Sensor that drains a tenant's inbox: a small backlog within the tick, a large or slow one in a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import dagster as dg

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.assets.metadata import event_materializations
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.live_events.drain import backlog, drain
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG
from canvas_sync_dagster.tenants import TenantSettings

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.session import Session

BUDGET = 15.0
"""Seconds of a tick for draining; Dagster allows a tick sixty."""
BACKLOG = 20_000
"""Number of events above which a run drains the inbox: a tick could not, and the run is worth its five seconds of CPU."""

INTERVAL = 4
"""Seconds. The daemon evaluates every five; with five here, too, every second evaluation would be milliseconds too early."""

Open = Callable[[], AbstractContextManager["Session"]]


def live_event_sensor(tenant: TenantSettings, keys: AssetKeys, session: Open) -> dg.SensorDefinition:
    """Return the sensor that drains a tenant's inbox.

    Args:
        tenant: Settings of the tenant.
        keys: Keys of its assets.
        session: Function that opens its session; called within a tick.
    """
    slug = tenant.slug

    @dg.sensor(
        name=f"{slug}__live_events",
        job_name=f"{slug}__live_events",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Applies the live events of {slug}: a few within the tick, many in a run.",
    )
    def live_events(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if tenant.base_url is None and tenant.database_url is None:
            return dg.SkipReason(f"{slug} is not configured: CANVAS_SYNC_BASE_URL is not set")
        try:
            with session() as opened:
                waiting, first = backlog(opened)
                if not waiting:
                    return dg.SkipReason("no events are waiting")
                # The key changes every five minutes, so that a failed run does not block later ones.
                key = f"{slug}:{first}:{int(time.time()) // 300}"
                run = dg.RunRequest(run_key=key, tags={TENANT_TAG: slug})
                if waiting > BACKLOG:
                    return dg.SensorResult(run_requests=[run])
                done = drain(opened, budget=BUDGET)
                # Events that take longer than a tick, because of many or slow requests to Canvas, need a run, too.
                return dg.SensorResult(
                    asset_events=event_materializations(keys, done), run_requests=[run] if done.left else None
                )
        except CanvasSyncError as error:
            return dg.SkipReason(f"{error} Events remain in the inbox.")

    return live_events
