"""Drive a report from the request to the file: adopt or start it, poll it, download it.

The ledger records each report before and after it is started. After a crash, the next process therefore adopts the
report that Canvas is still compiling, instead of starting another one.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.canvas.download import download
from canvas_sync_dagster.canvas.lifecycle import (
    FAILED,
    Attachment,
    Fetch,
    GiveUp,
    Limits,
    Missing,
    Seen,
    StartAgain,
    Status,
    Trouble,
    Try,
    Wait,
    next_step,
)
from canvas_sync_dagster.catalogue.parameters import ADDED_BY_CANVAS, Parameters, form
from canvas_sync_dagster.clocks import report_began
from canvas_sync_dagster.errors import (
    CanvasError,
    CanvasNotFoundError,
    CanvasRequestError,
    NotCanvasError,
    ReportFailedError,
    TransientError,
)
from canvas_sync_dagster.printable import ended

CLOCK_SLACK = timedelta(minutes=2)
"""How much earlier than the request a report in the index may have been created: Canvas's times have whole seconds, and
our reading of its clock is as old as its last response."""
STALE_AFTER = timedelta(hours=1)
"""Age above which a finished report that was not loaded is not adopted, because a new run should get newer rows."""
POST_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds before each search for a report whose response was lost; short failures of a gateway have ended by then."""
ROOT_ONLY = frozenset({"rubrics_csv"})
"""Reports that Canvas offers to every account, although they fail on all except a root account."""
INDEX_PAGES = 300
"""Maximum reports of one kind that are searched for a lost one, newest first."""


class Entry(Try, Protocol):
    """A try of a report, as recorded in the ledger."""

    @property
    def id(self) -> int: ...
    @property
    def canvas_report_id(self) -> int | None: ...
    @property
    def state(self) -> str: ...
    @property
    def canvas_requested_at(self) -> datetime: ...


E = TypeVar("E", bound=Entry)


class Ledger(Protocol[E]):
    """Record of started reports; see `canvas_sync_dagster.warehouse.state.ledger.ReportLedger`."""

    def lock(self, report: str, parameters: Parameters) -> AbstractContextManager[None]: ...
    def find_alive(self, report: str, parameters: Parameters) -> E | None: ...
    def known_canvas_ids(self, report: str) -> set[int]: ...
    def open(
        self,
        report: str,
        parameters: Parameters,
        *,
        tries: int,
        first_requested_at: datetime,
        requested_at: datetime,
        canvas_requested_at: datetime,
    ) -> E: ...
    def started(self, entry: E, canvas_report_id: int) -> E: ...
    def seen_running(self, entry: E, at: datetime) -> E: ...
    def seen_complete(self, entry: E, at: datetime, started_at: datetime | None) -> E: ...
    def failed(self, entry: E, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ReportFile:
    """The downloaded file of a finished report.

    Attributes:
        path: The file, CSV or ZIP.
        entry: Id of its entry in the ledger.
        status: Final status in Canvas.
        observed_at: Observation of its rows, by Canvas's clock.
        bytes: Size of the file.
        adopted: Whether an earlier run started it, or this run requested it in advance.
        tries: Number of the successful try, from 1.
    """

    path: Path
    entry: int
    status: Status
    observed_at: datetime
    bytes: int
    adopted: bool
    tries: int


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The downloaded files of a report: one of the whole account, or one of each sub-account.

    Attributes:
        parts: Account → its file; at least one.
    """

    parts: Mapping[str, ReportFile]

    @property
    def files(self) -> tuple[ReportFile, ...]:
        """The files, in the order in which they were requested."""
        return tuple(self.parts.values())

    @property
    def observed_at(self) -> datetime:
        """Observation of the oldest part: no row is older."""
        return self._oldest.observed_at

    @property
    def report_id(self) -> int:
        """Canvas's id of the report; of the oldest part if there are several."""
        return self._oldest.status.id

    @property
    def adopted(self) -> bool:
        """Whether any of them was started before."""
        return any(file.adopted for file in self.files)

    @property
    def directory(self) -> Path:
        """Directory of the files."""
        return self._oldest.path.parent

    @property
    def _oldest(self) -> ReportFile:
        return min(self.files, key=lambda file: file.observed_at)


class ReportDriver(Generic[E]):
    """Obtain reports from one account of a Canvas.

    Args:
        canvas: The client.
        ledger: Record of started reports of this account.
        limits: Limits of time and tries.
        account: Id of the account; by default, that of the client.
        stale_after: Age above which a finished report that was not loaded is not adopted.
        log: Function that gets a line of progress at every poll.
        sleep: Function that waits for a number of seconds.
    """

    def __init__(
        self,
        canvas: Canvas,
        ledger: Ledger[E],
        limits: Limits,
        *,
        account: str | None = None,
        stale_after: timedelta = STALE_AFTER,
        log: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._canvas = canvas
        self._ledger = ledger
        self._limits = limits
        self._account = account or canvas.account_id
        self._of_account = f" of account {account}" if account else ""
        self._stale_after = stale_after
        self._log = log
        self._sleep = sleep

    def order(self, report: str, parameters: Parameters) -> None:
        """Request a report in advance, unless an equal one is in progress.

        Args:
            report: Name of the report in Canvas.
            parameters: Parameters of the report, without Canvas's `parameters[…]`.

        Raises:
            CanvasError: Canvas refused to start it.
        """
        self._find_or_start(report, parameters)

    def obtain(
        self,
        report: str,
        parameters: Parameters,
        directory: Path,
        *,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> ReportFile:
        """Adopt or start a report, wait for it, and download its file.

        Args:
            report: Name of the report in Canvas.
            parameters: Parameters of the report, without Canvas's `parameters[…]`.
            directory: Directory for the file.
            meanwhile: Function that is called once, after Canvas has accepted the report and before the wait.

        Returns:
            The downloaded file, with its status and observation.

        Raises:
            ReportFailedError: The report failed on its last try, or took too long.
            CanvasError: Canvas refused to start it.
            ReportContentError: Its file cannot be downloaded completely.
        """
        entry, adopted = self._find_or_start(report, parameters)
        if adopted:
            self._log(f"{report} {entry.canvas_report_id} was started before and is adopted")
        with self._cancellation_logged(report):
            meanwhile()
            return self._await(report, parameters, entry, directory, adopted=adopted)

    @contextlib.contextmanager
    def _cancellation_logged(self, report: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            raise
        except BaseException:
            # Dagster's interrupt or Ctrl-C. The report is not aborted: Canvas has worked on it, and a restart needs it.
            self._log(f"cancelled; {report} stays in Canvas, and the next run that requests the same adopts it")
            raise

    def _await(self, report: str, parameters: Parameters, entry: E, directory: Path, *, adopted: bool) -> ReportFile:
        while True:
            seen = self._look(report, entry)
            entry = self._note(entry, seen)
            self._log(_line(report, entry, seen, _now()))
            match next_step(entry, seen, _now(), self._limits):
                case Wait(seconds=seconds):
                    self._sleep(seconds)
                case Fetch(attachment=attachment, status=status):
                    return self._fetch(report, entry, attachment, status, directory, adopted=adopted)
                case StartAgain(reason=reason) | GiveUp(reason=reason) if adopted:
                    # A failed adoption must not use up the tries of this request.
                    self._log(f"{report} {entry.canvas_report_id} cannot be resumed: {reason}")
                    entry, adopted = self._start_again(report, parameters, entry, reason, tries=1, since=_now())
                case StartAgain(reason=reason):
                    self._log(f"{report} {entry.canvas_report_id} failed: {reason}; restarting")
                    tries, since = entry.tries + 1, entry.first_requested_at
                    entry, adopted = self._start_again(report, parameters, entry, reason, tries=tries, since=since)
                case GiveUp(reason=reason):
                    self._abandon(report, entry, reason)
                    raise ReportFailedError(
                        f"report {report}{self._of_account} ({_spelled(parameters)}), "
                        f"id {entry.canvas_report_id} in Canvas: {reason}, "
                        f"on try {entry.tries} of {self._limits.tries}. Look at it in Canvas under Admin → Settings → "
                        "Reports, then run it again. CANVAS_SYNC_REPORT_TIMEOUT, …_COMPILATION_TIMEOUT and …_MAX_TRIES "
                        "set the limits."
                    )

    def _find_or_start(self, report: str, parameters: Parameters) -> tuple[E, bool]:
        with self._ledger.lock(report, parameters):
            entry = self._recovered(report, parameters, self._ledger.find_alive(report, parameters))
            if entry is not None:
                return entry, True
            return self._start(report, parameters, tries=1, first_requested_at=_now()), False

    def _recovered(self, report: str, parameters: Parameters, entry: E | None) -> E | None:
        """Return an entry that can still be loaded, or None; search Canvas's index if the entry has no Canvas id."""
        if entry is None:
            return None
        if entry.canvas_report_id is None:
            lost = self._lost_report(report, parameters, entry)
            if lost is None:
                self._ledger.failed(entry, "the request never reached Canvas")
                return None
            entry = self._ledger.started(entry, lost)
        too_old = entry.completed_at is not None and _now() - entry.completed_at > self._stale_after
        if too_old or _now() - entry.first_requested_at > self._limits.total:
            self._ledger.failed(entry, "it was not loaded in time")
            return None
        return entry

    def _start_again(
        self, report: str, parameters: Parameters, entry: E, reason: str, *, tries: int, since: datetime
    ) -> tuple[E, bool]:
        self._abandon(report, entry, reason)
        with self._ledger.lock(report, parameters):
            # Another run that waits for the same report may have restarted it already.
            other = self._recovered(report, parameters, self._ledger.find_alive(report, parameters))
            if other is not None and other.id != entry.id:
                return other, True
            return self._start(report, parameters, tries=tries, first_requested_at=since), False

    def _start(self, report: str, parameters: Parameters, *, tries: int, first_requested_at: datetime) -> E:
        now = _now()
        entry = self._ledger.open(
            report,
            parameters,
            tries=tries,
            first_requested_at=first_requested_at,
            requested_at=now,
            canvas_requested_at=self._canvas.now(),
        )
        try:
            number = self._post(report, parameters, entry)
        except CanvasError as error:
            # After a transient error, Canvas may have accepted the report, so the entry stays open; a refusal is final.
            if not isinstance(error, TransientError):
                self._ledger.failed(entry, str(error))
            raise
        return self._ledger.started(entry, number)

    def _post(self, report: str, parameters: Parameters, entry: E) -> int:
        pairs = form(parameters)
        for pause in POST_PAUSES:
            try:
                return self._posted(report, parameters, pairs)
            except TransientError as error:
                # Canvas may have executed the request, and a second POST would execute it twice.
                self._log(f"the response to starting {report} was lost ({error}); searching for the report")
                self._sleep(min(pause, self._limits.poll.total_seconds()))
                lost = self._lost_report(report, parameters, entry)
                if lost is not None:
                    return lost
        return self._posted(report, parameters, pairs)

    def _posted(self, report: str, parameters: Parameters, pairs: Sequence[tuple[str, str]]) -> int:
        try:
            return Status.parse(self._canvas.post(self._path(report), pairs)).id
        except ValueError as error:
            raise NotCanvasError(f"starting {report}: {ended(str(error))} Check CANVAS_SYNC_BASE_URL.") from None
        except CanvasNotFoundError as error:
            raise CanvasNotFoundError(
                f"account {self._account} has no report {report}, or the token may not run it "
                "(Admin → Settings → Reports lists the available reports)."
            ) from error
        except CanvasRequestError as error:
            raise CanvasRequestError(
                f"Canvas refused to start {report}{self._of_account} ({_spelled(parameters)}): {error}"
            ) from error

    def _lost_report(self, report: str, parameters: Parameters, entry: E) -> int | None:
        """Return the Canvas id of a report that was requested and whose response was lost; None if there is none."""
        known = self._ledger.known_canvas_ids(report)
        since = entry.canvas_requested_at - CLOCK_SLACK
        for number, body in enumerate(self._canvas.get_list(self._path(report))):
            if number >= INDEX_PAGES:
                break
            with contextlib.suppress(ValueError):
                status = Status.parse(body)
                fresh = status.created_at is None or status.created_at >= since
                same = comparable(body.get("parameters")) == comparable(parameters)
                if same and fresh and status.id not in known and status.state not in FAILED:
                    return status.id
        return None

    def _look(self, report: str, entry: E) -> Seen:
        try:
            return Status.parse(self._canvas.get(f"{self._path(report)}/{entry.canvas_report_id}"))
        except CanvasNotFoundError:
            return Missing()
        except (TransientError, NotCanvasError, ValueError) as error:
            # During maintenance Canvas may even return a web page with status 200.
            return Trouble(str(error))

    def _note(self, entry: E, seen: Seen) -> E:
        if not isinstance(seen, Status):
            return entry
        if seen.state == "complete":
            return entry if entry.completed_at else self._ledger.seen_complete(entry, _now(), seen.started_at)
        if seen.state not in FAILED | {"created"} and entry.running_since is None:
            return self._ledger.seen_running(entry, _now())
        return entry

    def _fetch(
        self, report: str, entry: E, attachment: Attachment, status: Status, directory: Path, *, adopted: bool
    ) -> ReportFile:
        def fresh() -> Attachment:
            again = self._look(report, entry)
            if isinstance(again, Status) and again.attachment:
                return again.attachment
            return self._attachment_of_file(attachment)

        path = directory / f"{report}-{entry.canvas_report_id}"
        size = download(self._canvas, attachment, fresh, path, sleep=self._sleep)
        observed = report_began(
            status.started_at or status.created_at,
            asked=entry.canvas_requested_at,
            asked_on_ours=entry.requested_at,
            now=_now(),
        )
        return ReportFile(path, entry.id, status, observed, size, adopted, entry.tries)

    def _attachment_of_file(self, attachment: Attachment) -> Attachment:
        if attachment.id is None:
            return attachment
        body = self._canvas.get(f"/files/{attachment.id}")
        return Attachment(str(body.get("url") or attachment.url), attachment.id, attachment.size)

    def _abandon(self, report: str, entry: E, reason: str) -> None:
        """Best-effort cancellation of a report that will not be used, so that the next one need not wait for it."""
        self._ledger.failed(entry, reason)
        with contextlib.suppress(CanvasError):
            self._canvas.put(f"{self._path(report)}/{entry.canvas_report_id}/abort")
        with contextlib.suppress(CanvasError):
            self._canvas.delete(f"{self._path(report)}/{entry.canvas_report_id}")

    def _path(self, report: str) -> str:
        return f"/accounts/{self._account}/reports/{report}"


def available_reports(canvas: Canvas) -> dict[str, str]:
    """Return the reports that the account can run: name → title."""
    found = {
        str(each.get("report")): str(each.get("title")) for each in canvas.get_list("/accounts/{account_id}/reports")
    }
    if ROOT_ONLY & found.keys() and canvas.root_account_id != canvas.account_id:
        return {name: title for name, title in found.items() if name not in ROOT_ONLY}
    return found


def comparable(parameters: Any) -> dict[str, Any]:
    """Return parameters in a form in which ours equal those that Canvas returns.

    >>> comparable({"users": True, "extra_text": "Term: All Terms; "}) == comparable({"users": "1"})
    True
    >>> comparable({"ids": [1, 2]}) == comparable({"ids": ["1", "2"]}) != comparable({"ids": ["2", "1"]})
    True
    """
    given = parameters if isinstance(parameters, Mapping) else {}
    return {str(name): _folded(value) for name, value in given.items() if name not in ADDED_BY_CANVAS}


def _folded(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _folded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_folded(each) for each in value]
    truths = {"true": "true", "1": "true", "false": "false", "0": "false"}
    return truths.get(str(value).lower(), str(value))


def _now() -> datetime:
    return datetime.now(UTC)


def _spelled(parameters: Parameters) -> str:
    return ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in parameters.items()
    )


def _line(report: str, entry: Entry, seen: Seen, now: datetime) -> str:
    match seen:
        case Status(state=state, progress=progress):
            seconds = (now - entry.requested_at).total_seconds()
            return f"{report} {entry.canvas_report_id}: {state}, {progress} %, after {seconds:,.0f} s"
        case Trouble(reason=reason):
            return f"{report} {entry.canvas_report_id} cannot be polled: {reason}"
        case _:
            return f"{report} {entry.canvas_report_id} is gone"
