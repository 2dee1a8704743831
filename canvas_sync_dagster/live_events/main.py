"""The receiver of this environment's tenants, for a server that makes it in each of its processes."""

from __future__ import annotations

import os

from canvas_sync_dagster.live_events.receiver import Receiver
from canvas_sync_dagster.live_events.serve import receiver
from canvas_sync_dagster.settings import Settings


def application() -> Receiver:
    """Makes the ASGI application from the environment.

    Raises:
        CanvasSyncError: A setting is wrong, or a database is away.
    """
    settings = Settings.from_environment()
    return receiver(settings, settings.models(), drains=bool(os.environ.get("CANVAS_SYNC_RECEIVER_DRAINS")))
