"""How often a scope is read in full: the gem's `full_sync_every`, as a value and a pure question.

Weeks and weekdays are counted in the tenant's time zone, by days, so that a drift of hours skips nothing.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

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
        """Says whether a full sync is due.

        Args:
            now: Moment of the decision, aware.
            last_full: When the last full sync of the scope was observed, aware.
            timezone: Whose calendar counts weeks and weekdays.
            batch_id: What makes the percentage reproducible.
        """
        if self.percent is not None:
            return draw(batch_id) < self.percent
        if self.days is not None:
            return now - last_full >= timedelta(days=self.days)
        today, last_day = now.astimezone(timezone).date(), last_full.astimezone(timezone).date()
        return today.weekday() == self.weekday and (today - last_day).days >= 7 * self.weeks


def draw(batch_id: str) -> float:
    """Returns a number from 0 up to 100 that is always the same for one batch."""
    digest = hashlib.sha256(batch_id.encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 * 100
