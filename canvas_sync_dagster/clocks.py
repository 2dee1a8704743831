"""What is believed of other clocks: pure decisions about the moments that Canvas gives.

The order of everything that is written rests on moments of Canvas's clock. One that lies in the future would make all
later truth look outdated until that moment comes. So no moment counts that is later than our own clock plus a slack:
our own reading, which is never later than the truth, stands in for it.

Both clocks may be the wrong one. Where Canvas's is ahead, everything is ordered by our clock. Where ours is ahead,
Canvas's moments are in our past and are taken as they are. Where ours is behind, everything new is ordered by our clock
too, and rows that were observed before ours went wrong count as observed in the future, so they are replaced.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

SLACK = timedelta(minutes=2)
"""How far Canvas's clock may be ahead of ours. Synchronized clocks differ by less than a second; Canvas's answers give
whole seconds, and are read late by as long as a request takes, which is under a minute."""


def horizon(now: datetime | None = None) -> datetime:
    """Return the moment after which nothing can have been observed yet.

    Args:
        now: On our clock, aware; the present if not given.
    """
    return (now or datetime.now(UTC)) + SLACK


def believable(told: datetime, ours: datetime) -> datetime:
    """Return a moment as Canvas gave it, or our own reading where Canvas's lies in our future.

    >>> believable(datetime(2027, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)).year
    2026
    """
    return told if told <= horizon(ours) else ours


def report_began(started: datetime | None, *, asked: datetime, asked_on_ours: datetime, now: datetime) -> datetime:
    """Return how fresh a report's rows are.

    Args:
        started: When Canvas began the report, as Canvas gives it; None if it does not.
        asked: When it was asked for, on Canvas's clock.
        asked_on_ours: The same moment on our clock.
        now: The present on our clock.

    Returns:
        `started`, unless it lies in our future or before the question; then the moment of the question, because a
        report cannot be older than that.
    """
    earliest = believable(asked, asked_on_ours)
    if started is None or not earliest - SLACK <= started <= horizon(now):
        return earliest
    return started
