"""Serves a simulated Canvas over real HTTP on loopback: Canvas itself, and beside it the storage of its files."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import uvicorn
from starlette.applications import Starlette

from canvas_sync_dagster.simulator.app import CanvasApp, RecordedRequest
from canvas_sync_dagster.simulator.faults import Faults
from canvas_sync_dagster.simulator.reports import REPORTS, ReportQueue
from canvas_sync_dagster.simulator.university import University


class SimulatedCanvas:
    """A Canvas to develop against.

    Args:
        size: `small` (hundreds of rows), `medium` (60 k users, 400 k enrollments, 2 M submissions) or `large`.
        seed: Two simulators of one size and seed tell the same.
        token: The token that is accepted.
        hostile: Whether things go wrong by themselves.
        compile_seconds: How long a report takes.
        reports: Names of the reports that this Canvas has; all if not given.

    >>> with SimulatedCanvas().serve() as canvas:
    ...     canvas.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self,
        size: str = "small",
        *,
        seed: int = 1,
        token: str = "simulated~token",  # noqa: S107 (it opens nothing real)
        hostile: bool = False,
        compile_seconds: float = 0.2,
        reports: frozenset[str] = frozenset(REPORTS),
    ) -> None:
        self.token = token
        self.university = University(size, seed=seed)
        self.faults = Faults(hostile=hostile, seed=seed)
        self._directory = TemporaryDirectory(prefix="canvas_sync_simulator_")
        self.queue = ReportQueue(
            self.university,
            self.faults,
            Path(self._directory.name),
            compile_seconds=compile_seconds,
            available=reports,
        )
        self._app = CanvasApp(self.queue, self.faults, token)

    @property
    def base_url(self) -> str:
        return self._app.base_url

    @property
    def requests(self) -> deque[RecordedRequest]:
        """The latest requests of the API."""
        return self._app.requests

    @property
    def storage_saw_authorization(self) -> bool:
        """Whether a client ever sent its token to the storage, which is another host."""
        return self._app.storage_saw_authorization

    @property
    def now(self) -> datetime:
        """The moment on Canvas's clock, which moves only when it is advanced."""
        return self.university.now

    def advance(self, **duration: float) -> None:
        """Moves the clock, by `days=1` and so on; the university changes."""
        self.university.advance(timedelta(**duration))

    @contextlib.contextmanager
    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[Self]:
        """Serves for the length of a `with`; both servers accept from its first line on."""
        with (
            self._directory,
            _running(self._app.storage(), host, 0) as storage,
            _running(self._app.canvas(), host, port) as main,
        ):
            self._app.storage_url, self._app.base_url = f"http://localhost:{storage}", f"http://{host}:{main}"
            yield self


@contextlib.contextmanager
def _running(app: Starlette, host: str, port: int) -> Iterator[int]:
    with socket.create_server((host, port)) as listener:
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, date_header=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()
