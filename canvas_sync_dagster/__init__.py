"""A copy of a Canvas LMS in Postgres, kept true by Dagster."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from canvas_sync_dagster.component import CanvasSyncComponent
    from canvas_sync_dagster.live_events.handlers import LiveEvent
    from canvas_sync_dagster.project import CanvasSync
    from canvas_sync_dagster.settings import Settings, TenantSettings
    from canvas_sync_dagster.sync.fetching import fetch, find_or_fetch, load_objects

__all__ = [
    "CanvasSync",
    "CanvasSyncComponent",
    "LiveEvent",
    "Settings",
    "TenantSettings",
    "fetch",
    "find_or_fetch",
    "load_objects",
]

_HOMES = {
    "CanvasSync": "project",
    "CanvasSyncComponent": "component",
    "LiveEvent": "live_events.handlers",
    "Settings": "settings",
    "TenantSettings": "settings",
    "fetch": "sync.fetching",
    "find_or_fetch": "sync.fetching",
    "load_objects": "sync.fetching",
}


def __getattr__(name: str) -> object:
    # The receiver, the simulator and the loader start without Dagster, whose import costs over a second.
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
