"""How often a scope is read in full: the gem's setting `full_sync_every`. Pure.

The start of a batch is compared with the start of the batch that read the scope in full last, both on our own clock. So
all terms of a batch get the same decision, and the time that a report waits in Canvas's queue has no influence. Days and
weeks are those of the tenant's time zone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

TOLERANCE = timedelta(minutes=30)
"""How much earlier than `N days` after the last full batch a batch may start and still be due. Starts at the same time of
day are late by different amounts: usually seconds, but minutes after a restart of Dagster's daemon. The value is less
than the hour between the ticks of a frequent schedule, so that no earlier tick becomes due."""
MEANINGFUL = 3
"""Minimum number of ticks from which the distances of a schedule are judged."""
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class FullSyncEvery:
    """How often a scope is read in full; exactly one of `percent`, `days` and `weekday` is set.

    Attributes:
        percent: Probability that a sync is full, 0 to 100.
        days: Number of days between full syncs.
        weekday: Day of full syncs; 0 is Monday.
        weeks: Number of weeks between full syncs on that weekday.
    """

    percent: int | None = None
    days: int | None = None
    weekday: int | None = None
    weeks: int = 1

    @classmethod
    def parse(cls, text: str) -> FullSyncEvery:
        """Parse the gem's notation.

        >>> FullSyncEvery.parse("saturday/4")
        FullSyncEvery(percent=None, days=None, weekday=5, weeks=4)

        Raises:
            ValueError: The text is none of `15%`, `10 days`, `sunday`, `saturday/4`.
        """
        folded = text.strip().lower()
        if match := re.fullmatch(r"(\d{1,3})\s*%", folded):
            if int(match[1]) <= 100:
                return cls(percent=int(match[1]))
        elif match := re.fullmatch(r"(\d{1,5})\s*days?", folded):
            return cls(days=int(match[1]))
        elif (match := re.fullmatch(r"([a-z]+)(?:/(\d{1,3}))?", folded)) and match[1] in WEEKDAYS:
            weeks = int(match[2] or 1)
            if weeks >= 1:
                return cls(weekday=WEEKDAYS.index(match[1]), weeks=weeks)
        raise ValueError(f"{text!r} is not an interval of full syncs")

    def is_due(self, *, now: datetime, last_full: datetime, timezone: ZoneInfo, batch_id: str) -> bool:
        """Return whether a full sync is due.

        `N days` are counted on the wall clock, so that no tick is too early because of the change to summer time. A
        weekday means the first batch on or after that day: if none starts on the day, the next one is full.

        Args:
            now: Start of the batch, aware.
            last_full: Start of the batch that read the scope in full last, aware.
            timezone: Calendar of days and weeks.
            batch_id: Seed of a percentage, which makes it reproducible.
        """
        if self.percent is not None:
            return draw(batch_id) < self.percent
        if self.days is not None:
            passed = _wall_clock(now, timezone) - _planned(last_full, timezone)
            return passed >= timedelta(days=self.days) - TOLERANCE
        passed = self._week_of(now, timezone) - self._week_of(last_full, timezone)
        return passed >= timedelta(weeks=self.weeks)

    def _week_of(self, moment: datetime, timezone: ZoneInfo) -> date:
        """Return the day on which the week of a moment began, if weeks begin on the weekday of full syncs."""
        day = moment.astimezone(timezone).date()
        return day - timedelta(days=(day.weekday() - (self.weekday or 0)) % 7)

    @property
    def period(self) -> timedelta | None:
        """Time between full syncs; None for a percentage."""
        if self.percent is not None:
            return None
        return timedelta(days=self.days) if self.days is not None else timedelta(weeks=self.weeks)


def forecast(every: FullSyncEvery, ticks: Sequence[datetime], timezone: ZoneInfo) -> list[datetime]:
    """Return the ticks of a schedule that start full batches; the first one does, because nothing was read before.

    Args:
        every: How often a scope is read in full; not a percentage.
        ticks: Starts of batches, in order.
        timezone: Time zone of the tenant.
    """
    full = list(ticks[:1])
    for tick in ticks[1:]:
        if every.is_due(now=tick, last_full=full[-1], timezone=timezone, batch_id=""):
            full.append(tick)
    return full


def schedule_problem(every: FullSyncEvery, ticks: Sequence[datetime], timezone: ZoneInfo) -> str:
    """Return why a schedule cannot keep an interval of full syncs; empty if it can.

    Args:
        every: How often a scope is read in full.
        ticks: Starts of batches, in order, over about a year.
        timezone: Time zone of the tenant.
    """
    if every.period is None or len(ticks) < MEANINGFUL:
        return ""
    full = forecast(every, ticks, timezone)
    # The first one is full on any day.
    days = [tick.astimezone(timezone).date() for tick in full[1:]] or [ticks[-1].astimezone(timezone).date()]
    apart = max((later - earlier for earlier, later in pairwise(days)), default=timedelta())
    if apart > max(every.period, timedelta(days=1)):
        return f"full syncs come up to {apart.days} days apart, because no sync starts in between"
    other = {day.weekday() for day in days} - {every.weekday}
    if every.weekday is not None and len(full) > 1 and other:
        names = ", ".join(WEEKDAYS[number].capitalize() for number in sorted(other))
        return f"not every {WEEKDAYS[every.weekday].capitalize()} has a sync; the first one after it is the full one ({names})"
    return ""


def _planned(tick: datetime, timezone: ZoneInfo) -> datetime:
    """Return the wall-clock time of a tick, without the hour by which the change to summer time may have moved it."""
    hour = timedelta(hours=1)
    return min(_wall_clock(tick, timezone), _wall_clock(tick - hour, timezone) + hour)


def _wall_clock(moment: datetime, timezone: ZoneInfo) -> datetime:
    return moment.astimezone(timezone).replace(tzinfo=None)


def draw(batch_id: str) -> float:
    """Return a number from 0 up to 100 that depends on the batch alone."""
    digest = hashlib.sha256(batch_id.encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 * 100
