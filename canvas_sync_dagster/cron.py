"""Compute the ticks of a cron schedule without importing Dagster, which takes over a second.

Dagster itself decides when a sync starts; a test compares both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression with five fields, as sets of numbers. Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    """Whether a day needs to match only one of day and weekday, because the expression restricts both."""

    @classmethod
    def parse(cls, line: str) -> Cron:
        """Parse a cron expression.

        >>> sorted(Cron.parse("0 */8 * * mon-wed").weekdays)
        [1, 2, 3]

        Raises:
            ValueError: It is not a cron expression.
        """
        fields = ALIASES.get(line.strip(), line).lower().split()
        if len(fields) != 5:
            raise ValueError(f"{line!r} is not a cron expression with five fields")
        minute, hour, day, month, weekday = fields
        weekdays = frozenset(number % 7 for number in _numbers(weekday, 0, 7, DAYS))
        return cls(
            _numbers(minute, 0, 59),
            _numbers(hour, 0, 23),
            _numbers(day, 1, 31),
            _numbers(month, 1, 12, MONTHS, first=1),
            weekdays,
            either=not day.startswith("*") and not weekday.startswith("*"),
        )

    def is_on(self, day: date) -> bool:
        """Return whether the schedule starts on a day."""
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and ((of_month or of_week) if self.either else (of_month and of_week))

    def ticks(self, start: datetime, timezone: ZoneInfo, *, days: int) -> Iterator[datetime]:
        """Yield the ticks from a time on, for a number of days, in UTC and in order."""
        first = start.astimezone(timezone).date()
        for day in (first + timedelta(days=number) for number in range(days)):
            if self.is_on(day):
                found = {
                    datetime.combine(day, time(hour, minute), timezone).astimezone(UTC)
                    for hour in self.hours
                    for minute in self.minutes
                }
                yield from sorted(tick for tick in found if tick >= start)


def _numbers(field: str, low: int, high: int, names: tuple[str, ...] = (), first: int = 0) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        begin, dash, end = span.partition("-")
        start = low if begin == "*" else _number(begin, names, first)
        stop = high if begin == "*" or (step and not dash) else _number(end, names, first) if dash else start
        if not low <= start <= stop <= high or (step and int(step) < 1):
            raise ValueError(f"{field!r} is not within {low} to {high}")
        found |= set(range(start, stop + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, names: tuple[str, ...], first: int) -> int:
    numbers = dict(zip(names, count(first)))
    return numbers[text] if text in numbers else int(text)
