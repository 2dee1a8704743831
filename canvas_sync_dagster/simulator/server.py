"""Serves a simulated Canvas over real HTTP on loopback: Canvas itself, and beside it the storage of its files."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Self

import polars as pl
import uvicorn
from starlette.applications import Starlette

from canvas_sync_dagster.simulator.app import CanvasApp, RecordedRequest
from canvas_sync_dagster.simulator.available import REPORTS
from canvas_sync_dagster.simulator.events import EventSource, Signer
from canvas_sync_dagster.simulator.faults import Faults
from canvas_sync_dagster.simulator.report import Report
from canvas_sync_dagster.simulator.reports import Content, ReportQueue
from canvas_sync_dagster.simulator.throttle import Bucket
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
        bucket: What limits the rate of requests; Canvas's own limits if not given.

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
        bucket: Bucket | None = None,
    ) -> None:
        self.token = token
        self.university = University(size, seed=seed)
        self._events = EventSource(self.university)
        self.faults = Faults(hostile=hostile, seed=seed)
        self.queue = ReportQueue(
            self.university, self.faults, compile_seconds=compile_seconds, available=frozenset(reports)
        )
        self._app = CanvasApp(self.queue, self.faults, token, bucket or Bucket())

    @property
    def base_url(self) -> str:
        return self._app.base_url

    @property
    def jwk_url(self) -> str:
        """Where the keys of its live events are."""
        return f"{self.base_url}/live-events/jwks"

    @property
    def signer(self) -> Signer:
        """What its live events are signed with."""
        return self._app.signer.get()

    def take_events(self, *, everything: bool = False) -> list[dict[str, Any]]:
        """Returns the live events of what changed since the last call, unsigned, in the order of their models.

        Args:
            everything: Also of what follows from people and courses (groups, submissions, modules); of that, since the
                last call for everything.
        """
        return self._events.take(everything=everything)

    def save_again(self, table: str, number: int) -> list[dict[str, Any]]:
        """Returns the live events of rows that somebody saved without changing them."""
        return self._events.saved_again(table, number)

    @property
    def requests(self) -> deque[RecordedRequest]:
        """The latest requests to Canvas, but not to its storage."""
        return self._app.requests

    @property
    def storage_saw_authorization(self) -> bool:
        """Whether a client ever sent its token to the storage, which is another host."""
        return self._app.storage_saw_authorization

    @property
    def now(self) -> datetime:
        """The moment on Canvas's clock, which moves only when it is advanced."""
        return self.university.now

    def add_report(self, name: str, content: Content, *, title: str = "") -> None:
        """Offers a report of one's own, as Canvas does where an institution has ordered one.

        Args:
            name: Canvas's name of it, by which it is asked for.
            content: Its CSV; or a function that makes it from the parameters, such as `enrollment_term_id`.
            title: What people see.

        >>> SimulatedCanvas().add_report("my_really_cool_report_csv", "course_id,score\\n2001,7\\n")
        """
        self.queue.add(name, content, title or name)

    def spell_term(self, number: int, **fields: object) -> None:
        """Has the API give fields of a term as they are spelled here: years after 9999, text in place of a time."""
        self._app.odd_terms[number] = fields

    def advance(self, **duration: float) -> None:
        """Moves the clock, by `days=1` and so on; the university changes."""
        self.queue.advance(timedelta(**duration))

    def table(
        self, report: str, table: str, term_id: int | None = None, *, include_deleted: bool = True
    ) -> tuple[list[str], list[dict[str, str | None]]]:
        """Returns the header and the rows that a report would hold if it were started now, as text."""
        asked: dict[str, str] = {"include_deleted": str(include_deleted), table: "true"}
        if term_id is not None:
            asked["enrollment_term_id"] = str(term_id)
        frame = self.queue.tables(Report(0, report, asked, self.now), self.university)[table]
        return frame.columns, frame.select(pl.all().cast(pl.String)).to_dicts()

    @contextlib.contextmanager
    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[Self]:
        """Serves for the length of a `with`; both servers accept from its first line on."""
        with (
            self.queue.working(),
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
