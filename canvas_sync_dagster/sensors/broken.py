"""Sensor that shows in the UI which tenants were left out because of a wrong setting; they have no other definitions."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from canvas_sync_dagster.errors import MisconfiguredError
from canvas_sync_dagster.tenants import BrokenTenant

SECONDS = 300


def broken_tenants_sensor(broken: Sequence[BrokenTenant]) -> dg.SensorDefinition:
    """Return a sensor that fails as long as the settings of a tenant are wrong.

    Args:
        broken: The tenants that were left out; at least one.
    """
    names = ", ".join(each.slug for each in broken)
    said = "; ".join(f"{each.slug} is left out: {each.error}" for each in broken)

    @dg.sensor(
        name="canvas_sync_settings",
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tenants with a wrong setting: {names}. The others load and run.",
    )
    def settings(_: dg.SensorEvaluationContext) -> None:
        raise MisconfiguredError(said)

    return settings
