"""A copy of a Canvas LMS in Postgres, kept true by Dagster."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from canvas_sync_dagster.canvas.client import Canvas
    from canvas_sync_dagster.catalogue import Model
    from canvas_sync_dagster.component import CanvasSyncComponent
    from canvas_sync_dagster.errors import CanvasSyncError
    from canvas_sync_dagster.live_events.handlers import LiveEvent
    from canvas_sync_dagster.project.builder import CanvasSync
    from canvas_sync_dagster.settings import Settings
    from canvas_sync_dagster.sync.downloaded_report import DownloadedReport, ReportContext
    from canvas_sync_dagster.sync.fetching import fetch, find_or_fetch, load_objects
    from canvas_sync_dagster.sync.own import InsertionContext
    from canvas_sync_dagster.sync.scope import Term
    from canvas_sync_dagster.tenants import TenantSettings

__all__ = [
    "Canvas",
    "CanvasSync",
    "CanvasSyncComponent",
    "CanvasSyncError",
    "DownloadedReport",
    "InsertionContext",
    "LiveEvent",
    "Model",
    "ReportContext",
    "Settings",
    "TenantSettings",
    "Term",
    "fetch",
    "find_or_fetch",
    "load_objects",
]

_HOMES = {
    "Canvas": "canvas.client",
    "CanvasSync": "project.builder",
    "CanvasSyncComponent": "component",
    "CanvasSyncError": "errors",
    "DownloadedReport": "sync.downloaded_report",
    "InsertionContext": "sync.own",
    "LiveEvent": "live_events.handlers",
    "Model": "catalogue",
    "ReportContext": "sync.downloaded_report",
    "Settings": "settings",
    "TenantSettings": "tenants",
    "Term": "sync.scope",
    "fetch": "sync.fetching",
    "find_or_fetch": "sync.fetching",
    "load_objects": "sync.fetching",
}


def __getattr__(name: str) -> object:
    # The receiver, the simulator and the loader start without Dagster, whose import costs over a second.
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # `dg list components` looks for components here.
    return __all__
