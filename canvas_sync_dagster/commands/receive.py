"""`canvas-sync live-events`: the receiver, in one process or several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from canvas_sync_dagster.commands.location import Location, find

if TYPE_CHECKING:
    from canvas_sync_dagster.live_events.receiver import Receiver

MODULE, FILE, DRAINS = "CANVAS_SYNC_RECEIVER_MODULE", "CANVAS_SYNC_RECEIVER_FILE", "CANVAS_SYNC_RECEIVER_DRAINS"
"""How the first process tells the others what they serve."""
MOST_CONNECTIONS = 1_000
"""Per process; more are answered by 503. With a body of 1 MB each they take 1 GB at worst, and 2 MB in ordinary life."""
LAST_SECONDS = 14
"""Seconds that requests under way are given when the receiver is to end; Canvas waits for fifteen."""


@click.command("live-events")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, help="Processes.")
@click.option("--drain", is_flag=True, help="Also apply events, at once; the sensor stays the safety net.")
@click.option("-m", "module", help="Module with your own CanvasSync, in place of the built-in code location.")
@click.option("-f", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with it.")
def live_events(host: str, port: int, workers: int, drain: bool, module: str | None, file: Path | None) -> None:
    """Receive live events."""
    import uvicorn  # noqa: PLC0415

    location = find(module, file)
    options: dict[str, Any] = {"host": host, "port": port, "log_level": "warning", "access_log": False}
    options |= {"timeout_graceful_shutdown": LAST_SECONDS, "limit_concurrency": MOST_CONNECTIONS}
    click.echo(
        f"Live events are received at http://{host}:{port}/canvas_sync/api/v1/live_event; Ctrl-C ends it.", err=True
    )
    if workers == 1:
        uvicorn.run(_receiver(location, drains=drain), **options)
        return
    os.environ |= {MODULE: module or "", FILE: str(file.resolve()) if file else "", DRAINS: "1" if drain else ""}
    uvicorn.run(f"{__name__}:application", factory=True, workers=workers, **options)


def application() -> Receiver:
    """Makes the ASGI application of this environment, for a server that makes it in each of its processes.

    Raises:
        CanvasSyncError: A setting is wrong, or a database is away.
    """
    module, file = os.environ.get(MODULE), os.environ.get(FILE)
    return _receiver(find(module or None, Path(file) if file else None), drains=bool(os.environ.get(DRAINS)))


def _receiver(location: Location, *, drains: bool) -> Receiver:
    from canvas_sync_dagster.live_events.serve import receiver  # noqa: PLC0415

    return receiver(location.settings, location.models, location.extensions, drains=drains)
