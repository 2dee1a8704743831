"""A simulated Canvas: what a user of this package starts, changes and inspects."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Self

import polars as pl

from canvas_sync_dagster.simulator.event_feed.event_source import EventSource
from canvas_sync_dagster.simulator.event_feed.signer import LazySigner, Signer
from canvas_sync_dagster.simulator.faults import Faults
from canvas_sync_dagster.simulator.http_api.application import CanvasApplication
from canvas_sync_dagster.simulator.http_api.served_state import RecordedRequest, ServedState
from canvas_sync_dagster.simulator.http_server import running
from canvas_sync_dagster.simulator.rate_limit import Bucket
from canvas_sync_dagster.simulator.report_runs.report_content import Content, tables_of
from canvas_sync_dagster.simulator.report_runs.report_queue import ReportQueue
from canvas_sync_dagster.simulator.report_runs.report_run import ReportRun
from canvas_sync_dagster.simulator.report_tables.offered_reports import REPORTS
from canvas_sync_dagster.simulator.university.founding import found_university
from canvas_sync_dagster.simulator.university.sizes import EPOCH, Size


class SimulatedCanvas:
    """A Canvas to develop and test against, served over real HTTP on this machine.

    Args:
        size: `small` (hundreds of rows), `medium` (60 k users, 400 k enrollments, 2 M submissions) or `large` (ten
            times as many); or a `Size`.
        seed: Two simulators of the same size and seed hold the same data and change in the same way.
        token: The one API token that is accepted.
        hostile: Whether requests, reports and files fail at random, as often as a correct client survives.
        compile_seconds: Seconds that a report takes at least.
        reports: Names of the reports that are offered; all if not given.
        bucket: What limits the rate of requests; Canvas's own limits if not given.
        latency: Seconds that a request to the API waits before it is answered; not of its file storage.
        now: Time on its clock at the start, with the data of `EPOCH`, 2026-09-01; `EPOCH` if not given.

    Attributes:
        token: The one API token that is accepted.
        university: The tables; `university.set(table, where, **values)` changes rows.
        faults: What goes wrong: `faults.add("truncated_download")` orders a fault, `faults.happened` counts them.
        queue: The report runs, by id in `queue.reports`.

    >>> with SimulatedCanvas().serve() as canvas:
    ...     canvas.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self,
        size: str | Size = "small",
        *,
        seed: int = 1,
        token: str = "simulated~token",  # noqa: S107 (it opens nothing real)
        hostile: bool = False,
        compile_seconds: float = 0.2,
        reports: frozenset[str] = frozenset(REPORTS),
        bucket: Bucket | None = None,
        latency: float = 0.0,
        now: datetime | None = None,
    ) -> None:
        self.token = token
        self.university = found_university(size, seed=seed)
        if now is not None:
            self.university.now, self.university.days = now, (now - EPOCH).days
        self.faults = Faults(hostile=hostile, seed=seed)
        self.queue = ReportQueue(
            self.university, self.faults, compile_seconds=compile_seconds, available=frozenset(reports)
        )
        self._events, self._signer = EventSource(self.university), LazySigner()
        self._state = ServedState(self.queue, self.faults, token=token)
        self._application = CanvasApplication(self._state, token, bucket or Bucket(), self._signer, latency=latency)

    @contextlib.contextmanager
    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[Self]:
        """Serve Canvas and its file storage for the length of a `with` block.

        Args:
            host: Address to listen on.
            port: Port of Canvas; 0 takes a free one. The file storage always takes a free one.

        Raises:
            OSError: The address or port cannot be used.
        """
        with (
            self.queue.working(),
            running(self._application.storage(), host, 0) as storage,
            running(self._application.canvas(), host, port) as main,
        ):
            self._state.storage_url, self._state.base_url = f"http://localhost:{storage}", f"http://{host}:{main}"
            yield self

    @property
    def base_url(self) -> str:
        """Address of Canvas; empty before it serves."""
        return self._state.base_url

    @property
    def requests(self) -> deque[RecordedRequest]:
        """The latest 10,000 requests to Canvas, without those to its file storage."""
        return self._state.requests

    @property
    def request_count(self) -> int:
        """How many requests Canvas has answered, without those to its file storage."""
        return self._state.answered

    @property
    def storage_saw_authorization(self) -> bool:
        """Whether a client ever sent its token to the file storage, which is another host."""
        return self._state.storage_saw_authorization

    @property
    def now(self) -> datetime:
        """The time on Canvas's clock, which moves only with `advance` and a second per report."""
        return self.university.now

    def advance(self, **duration: float) -> None:
        """Move the clock; at the end of each day some rows change.

        Args:
            duration: Keyword arguments of `datetime.timedelta`, such as `days=1`.

        Raises:
            ValueError: The duration is negative.
        """
        self.queue.advance(timedelta(**duration))

    def change_rows(self, share: float) -> int:
        """Change about this share of the users, courses, sections, enrollments and assignments; the seed decides which.

        Args:
            share: From 0 to 1.

        Returns:
            The number of rows that were changed.

        Raises:
            ValueError: The share is not between 0 and 1.
        """
        return self.queue.change_rows(share)

    def add_report(self, name: str, content: Content, *, title: str = "") -> None:
        """Offer a custom report, as Canvas does where an institution has ordered one.

        Args:
            name: Its name in the API.
            content: Its CSV; or a function that makes it from the parameters, such as `enrollment_term_id`.
            title: Its title in the list of reports; the name if not given.

        >>> SimulatedCanvas().add_report("my_really_cool_report_csv", "course_id,score\\n2001,7\\n")
        """
        self.queue.add(name, content, title or name)

    def set_token_expiry(self, expires_at: datetime | None, *, shown: bool = True) -> None:
        """Set when the token expires, as Canvas shows it to the token's user. The token is accepted in any case.

        Args:
            expires_at: Time of the expiry, aware; None for a token that does not expire.
            shown: False for a Canvas that is too old to show a token.
        """
        self._state.token_expires_at = expires_at.strftime("%Y-%m-%dT%H:%M:%SZ") if expires_at else None
        self._state.shows_tokens = shown

    def override_term(self, term_id: int, **fields: object) -> None:
        """Override fields of a term in the REST API, such as a time after the year 9999 or text in place of a time."""
        self._state.odd_terms[term_id] = fields

    def table(
        self, report: str, table: str, term_id: int | None = None, *, include_deleted: bool = True
    ) -> tuple[list[str], list[dict[str, str | None]]]:
        """Return what a report would hold if it were started now.

        Args:
            report: Name of the report.
            table: Name of one of its tables; the report's own name if it has a single table.
            term_id: Canvas's id of a term; all terms if not given.
            include_deleted: Value of the report's parameter.

        Returns:
            The header, and each row as header → text or None.
        """
        parameters: dict[str, str] = {"include_deleted": str(include_deleted), table: "true"}
        if term_id is not None:
            parameters["enrollment_term_id"] = str(term_id)
        run = ReportRun(0, report, parameters, self.now)
        frame = pl.concat(tables_of(run, self.university, self.queue.custom)[table])
        return frame.columns, frame.select(pl.all().cast(pl.String)).to_dicts()

    def take_events(self, *, everything: bool = False) -> list[dict[str, Any]]:
        """Return the live events of what changed since the last call, unsigned.

        Args:
            everything: Include tables that follow from people and courses (groups, submissions, modules). Their events
                cover the time since the last call with this argument.

        Returns:
            `{"metadata": …, "body": …}` for each new or changed row, table by table.
        """
        return self._events.take(everything=everything)

    def save_again(self, table: str, number: int) -> list[dict[str, Any]]:
        """Return the live events of the first rows of a table as if they were saved without a change.

        Args:
            table: Such as `users`.
            number: How many rows.
        """
        return self._events.saved_again(table, number)

    @property
    def jwk_url(self) -> str:
        """Address of the public keys that verify live events."""
        return f"{self.base_url}/live-events/jwks"

    @property
    def signer(self) -> Signer:
        """The keys that sign live events; `signer.rotate()` makes the next one current."""
        return self._signer.get()
