"""`canvas-sync live-events`: the receiver, in one process or several."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from canvas_sync_dagster.commands.checks.finding import Checked
from canvas_sync_dagster.commands.checks.settings import exposures
from canvas_sync_dagster.commands.location import Location, find, location_options
from canvas_sync_dagster.commands.output import say
from canvas_sync_dagster.live_events.budget import Limits
from canvas_sync_dagster.live_events.serve import receiver
from canvas_sync_dagster.live_events.uvicorn_server import BACKLOG, server_options

if TYPE_CHECKING:
    import socket

    from canvas_sync_dagster.live_events.receiver import Receiver

PREFIX = "CANVAS_SYNC_RECEIVER_"
MODULE, FILE, DRAINS, HEALTH_PORT, KEEP_ALIVE = (
    f"{PREFIX}{name}" for name in ("MODULE", "FILE", "DRAINS", "HEALTH_PORT", "KEEP_ALIVE")
)
"""How the first process passes the options to the others."""
METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of `prometheus_client`; a process reads it when it imports that."""
LAST_SECONDS = 14
"""Seconds that running requests are given when the receiver is stopped; Canvas waits for 15 s."""
FILES = 4_096
"""Limit of open files that a process requests. Many distributions default to 1,024, which 1,000 connections, the
databases and libraries exceed."""


@click.command("live-events")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on.")
@click.option("--health-host", help="Address for /health and /metrics; --host by default.")
@click.option(
    "--health-port",
    type=click.IntRange(1, 65535),
    help="Separate port for /health and /metrics; CANVAS_SYNC_HEALTH_PORT or the port of events by default.",
)
@click.option(
    "--keep-alive",
    type=click.IntRange(1, 3600),
    default=5,
    show_default=True,
    help="Seconds that an idle connection is kept; use more than the proxy in front does.",
)
@click.option("--workers", default=1, show_default=True, help="Number of processes.")
@click.option("--drain", is_flag=True, help="Also apply events at once; the sensor applies those that remain.")
@location_options
def live_events(
    *,
    host: str,
    port: int,
    health_host: str | None,
    health_port: int | None,
    keep_alive: int,
    workers: int,
    drain: bool,
    module: str | None,
    file: Path | None,
) -> None:
    """Receive live events."""
    location = find(module, file, needs_tokens=drain)
    for broken in location.settings.broken:
        say(f"tenant {broken.slug} is left out: {broken.error}", err=True)
    for tenant in location.settings.tenants:
        for finding in exposures(Checked(location, tenant)):
            say(f"tenant {tenant.slug}: {finding}", err=True)
    probes = health_port or location.settings.health_port
    if probes == port:
        raise click.UsageError("--health-port must differ from --port")
    _allow_files(FILES)
    options: dict[str, Any] = {"log_level": "warning", "timeout_graceful_shutdown": LAST_SECONDS, "backlog": BACKLOG}
    options |= server_options(keep_alive) | {"workers": workers}
    sockets = [_listening(host, port)]
    if probes is not None:
        sockets.append(_listening(health_host or host, probes))
    say(
        f"Live events are received at http://{host}:{port}/canvas_sync/api/v1/live_event; press Ctrl-C to stop.",
        err=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        if workers == 1:
            app = _receiver(location, drains=drain, health_port=probes, keep_alive=keep_alive)
            server = uvicorn.Server(uvicorn.Config(app, **options))
            server.run(sockets)
            sys.exit(0 if server.started else 3)
        os.environ |= {MODULE: module or "", FILE: str(file.resolve()) if file else "", DRAINS: "1" if drain else ""}
        os.environ |= {HEALTH_PORT: str(probes or ""), KEEP_ALIVE: str(keep_alive)}
        config = uvicorn.Config(f"{__name__}:application", factory=True, **options)
        with _shared_metrics():
            Multiprocess(config, sockets=sockets).run()


def application() -> Receiver:
    """Build the ASGI application from environment variables, for a server that does so in each of its processes.

    Raises:
        CanvasSyncError: A setting is wrong, or no tenant's database can be used.
    """
    module, file = os.environ.get(MODULE), os.environ.get(FILE)
    drains = bool(os.environ.get(DRAINS))
    location = find(module or None, Path(file) if file else None, needs_tokens=drains)
    return _receiver(
        location,
        drains=drains,
        health_port=int(os.environ.get(HEALTH_PORT) or 0) or None,
        keep_alive=int(os.environ.get(KEEP_ALIVE) or 5),
    )


def _receiver(location: Location, *, drains: bool, health_port: int | None, keep_alive: int) -> Receiver:
    return receiver(
        location.settings,
        location.models,
        location.extensions,
        drains=drains,
        health_port=health_port,
        limits=Limits(idle_seconds=keep_alive),
        models_of=location.models_of,
    )


@contextlib.contextmanager
def _shared_metrics() -> Iterator[None]:
    """Name a directory in which the processes that are started keep their metrics, until all have ended."""
    with tempfile.TemporaryDirectory(prefix="canvas_sync_metrics_") as directory:
        os.environ[METRICS] = directory
        try:
            yield
        finally:
            del os.environ[METRICS]


def _listening(host: str, port: int) -> socket.socket:
    return uvicorn.Config("", host=host, port=port, log_level="warning").bind_socket()


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        top = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
