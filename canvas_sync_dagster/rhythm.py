"""How often a scope is read in full: the gem's `full_sync_every`, as a value and pure questions.

Batches are compared with batches: the question is asked for the start of a batch, once for all its terms, and the answer
rests on the start of the batch that read the scope in full last. How long a report waited in Canvas's queue plays no part.
Days and weeks are those of the tenant's time zone.
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
"""How much sooner than `N days` after the last one a batch may start and still be the one that is due. Two ticks of one
time of day differ by what their starts are late: seconds as a rule, minutes after a restart of Dagster's daemon. It is
less than the hour between the ticks of a frequent schedule, so that no earlier tick becomes due."""
MEANINGFUL = 3
"""Ticks of a schedule from which on its distances are judged."""
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class FullSyncEvery:
    """How often a scope is read in full: one of the three is set.

    Attributes:
        percent: Chance of each sync, in percent.
        days: Days since the last full sync.
        weekday: 0 is Monday; together with `weeks`.
        weeks: Every so many weeks on that weekday.
    """

    percent: int | None = None
    days: int | None = None
    weekday: int | None = None
    weeks: int = 1

    @classmethod
    def parse(cls, text: str) -> FullSyncEvery:
        """Reads the gem's notation.

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
        raise ValueError(f"{text!r} is not a rhythm of full syncs")

    def is_due(self, *, now: datetime, last_full: datetime, timezone: ZoneInfo, batch_id: str) -> bool:
        """Return whether a full sync is due.

        `N days` are counted on the wall clock, so that the change to summer time makes no tick early. A weekday means
        the first batch on or after that day: one that was missed is made up for by the next batch.

        Args:
            now: Start of the batch, aware.
            last_full: Start of the batch that read the scope in full last, aware.
            timezone: Whose calendar counts days and weeks.
            batch_id: What makes the percentage reproducible.
        """
        if self.percent is not None:
            return draw(batch_id) < self.percent
        if self.days is not None:
            passed = _wall_clock(now, timezone) - _planned(last_full, timezone)
            return passed >= timedelta(days=self.days) - TOLERANCE
        passed = self._week_of(now, timezone) - self._week_of(last_full, timezone)
        return passed >= timedelta(weeks=self.weeks)

    def _week_of(self, moment: datetime, timezone: ZoneInfo) -> date:
        """Return the day on which the rhythm's week of a moment began."""
        day = moment.astimezone(timezone).date()
        return day - timedelta(days=(day.weekday() - (self.weekday or 0)) % 7)

    @property
    def period(self) -> timedelta | None:
        """How far full syncs are to be apart; None for a percentage."""
        if self.percent is not None:
            return None
        return timedelta(days=self.days) if self.days is not None else timedelta(weeks=self.weeks)


def forecast(rhythm: FullSyncEvery, ticks: Sequence[datetime], timezone: ZoneInfo) -> list[datetime]:
    """Return which batches of a schedule will be full; the first one is, because nothing was read before.

    Args:
        rhythm: No percentage.
        ticks: When the schedule starts batches, in order.
        timezone: The tenant's.
    """
    full = list(ticks[:1])
    for tick in ticks[1:]:
        if rhythm.is_due(now=tick, last_full=full[-1], timezone=timezone, batch_id=""):
            full.append(tick)
    return full


def unmet(rhythm: FullSyncEvery, ticks: Sequence[datetime], timezone: ZoneInfo) -> str:
    """Return how a schedule fails to meet a rhythm; empty if it meets it.

    Args:
        rhythm: As the settings have it.
        ticks: When the schedule starts batches, in order, over a year or so.
        timezone: The tenant's.
    """
    if rhythm.period is None or len(ticks) < MEANINGFUL:
        return ""
    full = forecast(rhythm, ticks, timezone)
    # The first one is full on whatever day it is.
    days = [each.astimezone(timezone).date() for each in full[1:]] or [ticks[-1].astimezone(timezone).date()]
    apart = max((later - earlier for earlier, later in pairwise(days)), default=timedelta())
    if apart > max(rhythm.period, timedelta(days=1)):
        return f"full syncs come up to {apart.days} days apart, because no sync starts in between"
    other = {day.weekday() for day in days} - {rhythm.weekday}
    if rhythm.weekday is not None and len(full) > 1 and other:
        names = ", ".join(WEEKDAYS[number].capitalize() for number in sorted(other))
        return f"not every {WEEKDAYS[rhythm.weekday].capitalize()} has a sync; the first one after it is the full one ({names})"
    return ""


def _planned(tick: datetime, timezone: ZoneInfo) -> datetime:
    """Return a tick on the wall clock, without the hour by which the change to summer time may have moved it."""
    hour = timedelta(hours=1)
    return min(_wall_clock(tick, timezone), _wall_clock(tick - hour, timezone) + hour)


def _wall_clock(moment: datetime, timezone: ZoneInfo) -> datetime:
    return moment.astimezone(timezone).replace(tzinfo=None)


def draw(batch_id: str) -> float:
    """Returns a number from 0 up to 100 that is always the same for one batch."""
    digest = hashlib.sha256(batch_id.encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 * 100
