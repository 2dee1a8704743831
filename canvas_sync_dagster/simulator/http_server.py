"""Serve an ASGI application over real HTTP from a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette


@contextlib.contextmanager
def running(app: Starlette, host: str, port: int) -> Iterator[int]:
    with socket.create_server((host, port)) as listener:
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, date_header=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the simulated Canvas's server ended before it began; run it again")
                time.sleep(0.005)
            yield int(listener.getsockname()[1])
        finally:
            # Clients that keep a connection open would be waited for.
            server.should_exit = server.force_exit = True
            thread.join()
