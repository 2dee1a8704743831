"""Decide which times of Canvas's clock are used. Pure functions.

The order of all writes depends on times by Canvas's clock. A time in the future would make all later rows look outdated
until it has passed. Times that are later than this host's clock plus `SLACK` are therefore replaced by this host's own
reading, which is never later than the true time.

Either clock may be wrong. If Canvas's is ahead, this host's clock orders everything. If this host's is ahead, Canvas's
times lie in its past and are used as they are. If this host's is behind, it orders everything new, and rows that were
observed before it went wrong count as observed in the future, so they are replaced.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

SLACK = timedelta(minutes=2)
"""Maximum lead of Canvas's clock over this host's. Synchronized clocks differ by less than a second; Canvas's responses
contain whole seconds, and arrive late by the duration of a request, which is under a minute."""


def horizon(now: datetime | None = None) -> datetime:
    """Return the latest time that an observation can have.

    Args:
        now: Time by this host's clock, with time zone; the present by default.
    """
    return (now or datetime.now(UTC)) + SLACK


def believable(theirs: datetime, ours: datetime) -> datetime:
    """Return a time of Canvas's clock, or this host's reading if Canvas's lies in the future.

    Args:
        theirs: Time by Canvas's clock.
        ours: The same moment by this host's clock.

    >>> believable(datetime(2027, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)).year
    2026
    """
    return theirs if theirs <= horizon(ours) else ours


def report_began(started: datetime | None, *, asked: datetime, asked_on_ours: datetime, now: datetime) -> datetime:
    """Return the observation of a report's rows.

    Args:
        started: Start of the report by Canvas's clock; None if Canvas does not return it.
        asked: Time of the request by Canvas's clock.
        asked_on_ours: Time of the request by this host's clock.
        now: The present by this host's clock.

    Returns:
        `started`, unless it lies in the future or before the request; then the time of the request, because a report
        cannot be older.
    """
    earliest = believable(asked, asked_on_ours)
    if started is None or not earliest - SLACK <= started <= horizon(now):
        return earliest
    return started
