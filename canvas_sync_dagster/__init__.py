"""A copy of a Canvas LMS in PostgreSQL, kept in sync by Dagster.

Public names are imported when they are first used: the receiver and the simulator start without Dagster, whose import
takes 0.6 seconds and 60 MB.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if sys.platform == "win32":
    # Locks of files (fcntl), accounts (pwd), limits (resource) and sockets in directories are those of POSIX.
    raise ImportError(
        "canvas_sync_dagster runs on Linux and macOS. On Windows, install it in the Windows Subsystem for Linux: `wsl --install`"
    )

if TYPE_CHECKING:
    from canvas_sync_dagster.assets.translation import CanvasAsset as CanvasAsset
    from canvas_sync_dagster.assets.translation import CanvasSyncTranslator as CanvasSyncTranslator
    from canvas_sync_dagster.canvas.client import Canvas as Canvas
    from canvas_sync_dagster.catalogue import Model as Model
    from canvas_sync_dagster.component import CanvasSyncComponent as CanvasSyncComponent
    from canvas_sync_dagster.errors import CanvasSyncError as CanvasSyncError
    from canvas_sync_dagster.live_events.handlers import LiveEvent as LiveEvent
    from canvas_sync_dagster.project.builder import CanvasSync as CanvasSync
    from canvas_sync_dagster.settings import Settings as Settings
    from canvas_sync_dagster.sync.downloaded_report import DownloadedReport as DownloadedReport
    from canvas_sync_dagster.sync.downloaded_report import ReportContext as ReportContext
    from canvas_sync_dagster.sync.extension_types import InsertionContext as InsertionContext
    from canvas_sync_dagster.sync.fetching import fetch as fetch
    from canvas_sync_dagster.sync.fetching import find_or_fetch as find_or_fetch
    from canvas_sync_dagster.sync.fetching import load_objects as load_objects
    from canvas_sync_dagster.sync.scope import Term as Term
    from canvas_sync_dagster.tenant_resources import CanvasResource as CanvasResource
    from canvas_sync_dagster.tenant_resources import WarehouseResource as WarehouseResource
    from canvas_sync_dagster.tenants import TenantSettings as TenantSettings


_MODULES = {
    "Canvas": "canvas.client",
    "CanvasAsset": "assets.translation",
    "CanvasResource": "tenant_resources",
    "CanvasSync": "project.builder",
    "CanvasSyncComponent": "component",
    "CanvasSyncError": "errors",
    "CanvasSyncTranslator": "assets.translation",
    "DownloadedReport": "sync.downloaded_report",
    "InsertionContext": "sync.extension_types",
    "LiveEvent": "live_events.handlers",
    "Model": "catalogue",
    "ReportContext": "sync.downloaded_report",
    "Settings": "settings",
    "TenantSettings": "tenants",
    "Term": "sync.scope",
    "WarehouseResource": "tenant_resources",
    "fetch": "sync.fetching",
    "find_or_fetch": "sync.fetching",
    "load_objects": "sync.fetching",
}
"""Public name → the module that defines it. A test compares it with the imports above, which are for type checkers."""

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # `dg list components` looks for components here.
    return __all__
