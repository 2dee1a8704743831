"""A copy of a Canvas LMS in Postgres, kept true by Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from canvas_sync_dagster.project import CanvasSync

__all__ = ["CanvasSync"]


def __getattr__(name: str) -> object:
    # The receiver, the simulator and the loader start without Dagster, whose import costs over a second.
    if name == "CanvasSync":
        from canvas_sync_dagster.project import CanvasSync  # noqa: PLC0415

        return CanvasSync
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
