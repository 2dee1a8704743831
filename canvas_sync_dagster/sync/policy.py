"""Full or incremental: decided from the warehouse's state and the policy, never from the clock of a process.

Pure functions: the moment, the marks and the wishes go in, a decision with its reason comes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.rhythm import FullSyncEvery

Mode = Literal["auto", "full", "incremental"]

OVERLAP = timedelta(hours=1)
"""How far an incremental report reaches back past the last one. Canvas compiles from a replica that may lag by minutes,
and reads tables one after another; an hour is far beyond both and costs only rows that turn out unchanged."""

AHEAD = "the time of the last sync lay in the future, because a clock was wrong"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the warehouse knows of one model in one scope.

    Attributes:
        observed_at: Freshness of the newest load.
        full_observed_at: Freshness of the newest complete load.
        full_started_at: When the sync of that load started, on our own clock: its batch, or its run if it belonged to
            no batch.
    """

    observed_at: datetime | None
    full_observed_at: datetime | None
    full_started_at: datetime | None = None

    def is_ahead(self, now: datetime) -> bool:
        """Return whether the mark lies in the future, because a clock was wrong."""
        latest = horizon(now)
        return any(at is not None and at > latest for at in (self.observed_at, self.full_observed_at))

    def believed(self, now: datetime) -> Mark:
        """Return the mark without the times that lie in the future, as `read_watermarks` gives it."""
        times = (self.observed_at, self.full_observed_at, self.full_started_at)
        return Mark(*(None if at is not None and at > horizon(now) else at for at in times))


@dataclass(frozen=True, slots=True)
class Decision:
    """Full or incremental, and why.

    Attributes:
        updated_after: Since when an incremental report is asked; None means full.
        reason: One sentence for people.
    """

    updated_after: datetime | None
    reason: str

    @property
    def mode(self) -> Literal["full", "incremental"]:
        return "full" if self.updated_after is None else "incremental"


def decide(
    *,
    now: datetime,
    marks: Iterable[Mark | None],
    takes_updated_after: bool,
    mode: Mode = "auto",
    updated_after: datetime | bool = True,
    full_sync_every: FullSyncEvery | None = None,
    timezone: ZoneInfo | None = None,
    batch_id: str = "",
) -> Decision:
    """Decides whether a report is asked in full or since a time.

    Args:
        now: Start of the batch, or of a run that belongs to no batch: all scopes of a batch are decided alike. On our own
            clock, aware.
        marks: Marks of all the models that the report feeds in this scope; None for one that was never loaded.
        takes_updated_after: Whether the report can be limited at all.
        mode: What the run asks for.
        updated_after: The policy: True is since the last success, False never; a date is as given, unless the scope's
            last success is earlier: what changed in between would be missed for good.
        full_sync_every: Rhythm of full syncs under the policy; None is never by rhythm.
        timezone: Whose calendar the rhythm follows; UTC if not given.
        batch_id: What makes a percentage reproducible.
    """
    known = list(marks)
    if reason := _reason_for_full(known, takes_updated_after, mode, updated_after):
        return Decision(None, reason)
    last_full = min(mark.full_started_at or mark.full_observed_at for mark in known if mark and mark.full_observed_at)
    due = full_sync_every is not None and full_sync_every.is_due(
        now=now, last_full=last_full, timezone=timezone or ZoneInfo("UTC"), batch_id=batch_id
    )
    if due and mode == "auto":
        return Decision(None, f"a full sync is due: the last one was of {last_full:%Y-%m-%d}")
    since = (min(mark.observed_at for mark in known if mark and mark.observed_at) - OVERLAP).astimezone(UTC)
    if isinstance(updated_after, datetime) and updated_after <= since:
        return Decision(updated_after, "updated_after was given")
    late = ", which is earlier than the date that was given" if isinstance(updated_after, datetime) else ""
    return Decision(since, f"since the last success, less an hour of overlap{late}")


def _reason_for_full(
    marks: list[Mark | None], takes_updated_after: bool, mode: Mode, updated_after: datetime | bool
) -> str | None:
    if mode == "full":
        return "a full sync was asked for"
    if not takes_updated_after:
        return "this report cannot be limited to what changed"
    if updated_after is False and mode != "incremental":
        return "updated_after is false: every sync is full"
    if any(mark is not None and mark.observed_at is None for mark in marks):
        return AHEAD
    if not marks or any(mark is None or not (mark.observed_at and mark.full_observed_at) for mark in marks):
        return "no earlier full sync of this scope"
    return None
