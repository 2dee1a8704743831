"""The life of a report in Canvas as a pure state machine: what was seen goes in, what to do next comes out.

Canvas's own states are created → running → (compiling →) complete, or error, aborted, deleted. What looks strange and
is ordinary: progress that falls back, a finished report without `ended_at`, or for a moment without its attachment;
half an hour of compiling without movement. What must be bounded because Canvas does not: waiting in the queue,
compiling (a lost worker leaves `running` for ever), and the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from canvas_sync_dagster.printable import quotable

LONGEST_STATE = 50
"""Characters of a state; Canvas's longest has nine."""
FAILED = frozenset({"error", "aborted", "deleted"})
ATTACHMENT_GRACE = timedelta(minutes=5)
"""How long a complete report may be without its attachment: Canvas writes the two within seconds of each other."""
FIRST_PAUSE = timedelta(seconds=0.5)
"""Pause after the first look at a report. Canvas compiles a small one within a second."""
PAUSE_PER_AGE = 0.25
"""Pause as a share of the time since the report's state last changed. A finished report is found after at most a quarter
of the time that Canvas took for it, and a pause of 30 seconds is reached after 22 requests and two minutes."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """The file of a finished report.

    Attributes:
        url: Where it is; lives for hours, not for ever.
        id: Canvas's id of the file, for a fresh address.
        size: Bytes as stored; None if Canvas does not say.
    """

    url: str
    id: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What Canvas says of a report. Older versions leave most of it out."""

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
        """Reads Canvas's JSON.

        Raises:
            ValueError: It has no id or no status.
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
    """Canvas does not know the report any more."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Canvas could not be asked."""

    reason: str


Seen = Status | Missing | Trouble


class Try(Protocol):
    """What is remembered of the present try, on our own clock."""

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
    """How long and how often.

    Attributes:
        total: From the first request to the file, over all tries.
        compilation: From the moment that Canvas works on it.
        queue: From a request until Canvas begins; jobs of an account wait for each other, possibly for hours.
        tries: How often a report is started.
        poll: Longest pause between two requests for its status.
    """

    total: timedelta
    compilation: timedelta
    queue: timedelta
    tries: int
    poll: timedelta


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download."""

    attachment: Attachment
    status: Status


@dataclass(frozen=True, slots=True)
class StartAgain:
    """This try came to nothing; another may."""

    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No try is left, or no time."""

    reason: str


Step = Wait | Fetch | StartAgain | GiveUp


def next_step(attempt: Try, seen: Seen, now: datetime, limits: Limits) -> Step:
    """Decides what to do after a look at a report.

    Args:
        attempt: What is remembered of the try.
        seen: What was seen.
        now: The moment of the look, on our clock.
        limits: How long and how often.
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
    """Return when the report was requested, began or was complete: one that waited in the queue is young when it begins."""
    known = (attempt.requested_at, attempt.running_since, attempt.completed_at)
    return max(moment for moment in known if moment is not None)


def _why_failed(attempt: Try, seen: Seen, now: datetime, limits: Limits) -> str | None:
    match seen:
        case Trouble():
            return None
        case Missing():
            return "it vanished from Canvas while it was waited for"
        case Status(state=state) if state in FAILED:
            return f"Canvas ended it as {state}{f': {seen.extra_text.strip()}' if seen.extra_text.strip() else ''}"
        case Status(state="created"):
            waited, most, what = now - attempt.requested_at, limits.queue, "it was not begun"
        case Status(state="complete"):
            waited, most, what = now - (attempt.completed_at or now), ATTACHMENT_GRACE, "it was complete without a file"
        case _:
            waited, most, what = now - (attempt.running_since or now), limits.compilation, "it was still being compiled"
    return f"{what} after {most}" if waited > most else None


def _refuse(body: Mapping[str, Any]) -> Any:
    raise ValueError(f"this is no report; its keys: {quotable(sorted(body))}")


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
