"""Serve a receiver by uvicorn, with options that bound what senders may use."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from canvas_sync_dagster.live_events.connections import LimitedProtocol

BACKLOG = 512
"""Connections that the kernel holds until they are accepted. Beyond it senders' systems retry by themselves."""


def server_options(keep_alive: int = 5) -> dict[str, Any]:
    """Return the options of uvicorn that bound what senders may use.

    Headers of a proxy are ignored, because none is used. uvicorn's own limit of connections is off: it refuses genuine
    senders while an attacker holds connections open; `Budget` takes its place.

    Args:
        keep_alive: Seconds for which an idle connection is kept.
    """
    return {
        "http": LimitedProtocol,
        "ws": "none",
        "proxy_headers": False,
        "server_header": False,
        "access_log": False,
        "timeout_keep_alive": keep_alive,
        "limit_concurrency": None,
    }


@contextlib.contextmanager
def served(app: Callable[..., Any]) -> Iterator[str]:
    """Serve an ASGI application on a free port of this machine, for the length of a `with` block.

    Args:
        app: The application.

    Yields:
        The address, such as `http://127.0.0.1:41234`.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        options = server_options() | {"log_level": "critical", "lifespan": "on", "backlog": BACKLOG}
        config = uvicorn.Config(app, timeout_graceful_shutdown=1, **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
