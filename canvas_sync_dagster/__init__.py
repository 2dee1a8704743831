"""A copy of a Canvas LMS in PostgreSQL, kept in sync by Dagster.

The imports below are the only list of the public names. They are executed for the names that are used: the receiver and
the simulator start without Dagster, whose import takes 0.6 seconds and 60 MB.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from canvas_sync_dagster.tenants import TenantSettings as TenantSettings


def _public_names() -> dict[str, str]:
    """Return the public names, each with the module that defines it, as the imports above list them."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    (listed,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = (node for node in listed.body if isinstance(node, ast.ImportFrom))
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_MODULES = _public_names()
__all__ = sorted(_MODULES)  # noqa: PLE0605 (type checkers read the imports)


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # `dg list components` looks for components here.
    return __all__
