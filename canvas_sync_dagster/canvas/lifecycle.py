"""The lifecycle of a Canvas report as a pure state machine: from the observed status to the next step.

Canvas's states are created → running → (compiling →) complete, or error, aborted, deleted. Some odd states are normal:
progress that decreases, a complete report without `ended_at` or, for a moment, without its attachment, and half an hour
of compilation without progress. Canvas sets no limits, so this module limits the wait in the queue, the compilation (a
crashed worker of Canvas leaves `running` for ever), and the total time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from canvas_sync_dagster.printable import quotable

LONGEST_STATE = 50
"""Maximum characters of a state; Canvas's longest has nine."""
FAILED = frozenset({"error", "aborted", "deleted"})
ATTACHMENT_GRACE = timedelta(minutes=5)
"""How long a complete report may be without its attachment: Canvas writes the two within seconds of each other."""
FIRST_PAUSE = timedelta(seconds=0.5)
"""Pause after the first poll of a report. Canvas compiles a small one within a second."""
PAUSE_PER_AGE = 0.25
"""Pause as a share of the time since the report's state last changed. A finished report is found after at most a quarter
of the time that Canvas took for it, and a pause of 30 seconds is reached after 22 requests and two minutes."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """The file of a finished report.

    Attributes:
        url: URL of the file; it expires within hours.
        id: Canvas's id of the file, to request a new URL.
        size: Bytes; None if Canvas does not return it.
    """

    url: str
    id: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Status of a report, as Canvas returns it. Older versions of Canvas omit most fields."""

    id: int
    state: str
    progress: int = 0
    attachment: Attachment | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    extra_text: str = ""

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Status:
        """Parse Canvas's JSON.

        Raises:
            ValueError: It lacks id or status.
        """
        parameters = body.get("parameters") or {}
        return cls(
            id=int(body["id"]) if "id" in body else _refuse(body),
            state=quotable(body["status"], LONGEST_STATE).lower() if body.get("status") else _refuse(body),
            progress=_whole(body.get("progress")) or 0,
            attachment=_attachment(body.get("attachment")),
            created_at=_moment(body.get("created_at")),
            started_at=_moment(body.get("started_at")),
            ended_at=_moment(body.get("ended_at")),
            extra_text=quotable(parameters.get("extra_text") or "") if isinstance(parameters, dict) else "",
        )


@dataclass(frozen=True, slots=True)
class Missing:
    """The report no longer exists in Canvas."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The status could not be read."""

    reason: str


Seen = Status | Missing | Trouble


class Try(Protocol):
    """The recorded times of the current try, by this host's clock."""

    @property
    def tries(self) -> int: ...
    @property
    def first_requested_at(self) -> datetime: ...
    @property
    def requested_at(self) -> datetime: ...
    @property
    def running_since(self) -> datetime | None: ...
    @property
    def completed_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of time and tries for a report.

    Attributes:
        total: Longest time from the first request to the file, over all tries.
        compilation: Longest time from the start of the compilation.
        queue: Longest time from a request to the start; jobs of an account wait for each other, possibly for hours.
        tries: How often a report is started.
        poll: Longest pause between two polls.
    """

    total: timedelta
    compilation: timedelta
    queue: timedelta
    tries: int
    poll: timedelta


@dataclass(frozen=True, slots=True)
class Wait:
    """Poll again after a pause."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download the file."""

    attachment: Attachment
    status: Status


@dataclass(frozen=True, slots=True)
class StartAgain:
    """This try failed; start the report again."""

    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """All tries, or the total time, are used up."""

    reason: str


Step = Wait | Fetch | StartAgain | GiveUp


def next_step(attempt: Try, seen: Seen, now: datetime, limits: Limits) -> Step:
    """Return the next step after a poll of a report.

    Args:
        attempt: Recorded times of the current try.
        seen: Result of the poll.
        now: Time of the poll, by this host's clock.
        limits: Limits of time and tries.
    """
    if isinstance(seen, Status) and seen.state == "complete" and seen.attachment:
        return Fetch(seen.attachment, seen)
    left = limits.total - (now - attempt.first_requested_at)
    if left <= timedelta(0):
        return GiveUp(f"it was not finished within {limits.total}")
    if reason := _why_failed(attempt, seen, now, limits):
        return StartAgain(reason) if attempt.tries < limits.tries else GiveUp(reason)
    age = timedelta.max if isinstance(seen, Trouble) else now - _last_change(attempt)
    return Wait(min(pause(age, limits.poll), left).total_seconds())


def pause(age: timedelta, longest: timedelta) -> timedelta:
    """Return how long to wait before the next request for a report's status: short for a young one, then longer.

    Args:
        age: Time since the report was requested, or since its state changed.
        longest: Upper bound, the setting `poll_seconds`.

    >>> pause(timedelta(seconds=8), timedelta(seconds=30))
    datetime.timedelta(seconds=2)
    """
    return min(longest, max(FIRST_PAUSE, age * PAUSE_PER_AGE))


def _last_change(attempt: Try) -> datetime:
    """Return the time of the last change of state: requested, running or complete."""
    known = (attempt.requested_at, attempt.running_since, attempt.completed_at)
    return max(moment for moment in known if moment is not None)


def _why_failed(attempt: Try, seen: Seen, now: datetime, limits: Limits) -> str | None:
    match seen:
        case Trouble():
            return None
        case Missing():
            return "it disappeared from Canvas before it was complete"
        case Status(state=state) if state in FAILED:
            return f"Canvas ended it as {state}{f': {seen.extra_text.strip()}' if seen.extra_text.strip() else ''}"
        case Status(state="created"):
            waited, most, what = now - attempt.requested_at, limits.queue, "it was not started"
        case Status(state="complete"):
            waited, most, what = now - (attempt.completed_at or now), ATTACHMENT_GRACE, "it was complete without a file"
        case _:
            waited, most, what = now - (attempt.running_since or now), limits.compilation, "it was still being compiled"
    return f"{what} after {most}" if waited > most else None


def _refuse(body: Mapping[str, Any]) -> Any:
    raise ValueError(f"not a report; its keys: {quotable(sorted(body))}")


def _attachment(body: object) -> Attachment | None:
    if not isinstance(body, dict) or not body.get("url"):
        return None
    return Attachment(str(body["url"]), _whole(body.get("id")), _whole(body.get("size")))


def _whole(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
