"""Unusually long times without a live event: the receiver, or Canvas's sending, was down. `status` reports them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from canvas_sync_dagster.warehouse.state.remembered import remember, remembered
from canvas_sync_dagster.warehouse.warehouse import Warehouse

NAME = "live_events_pauses"
"""Name in `canvas_sync_remembered`."""
DAYS = 14
"""Days whose longest gap is kept; as many as the inbox keeps events."""
FEWEST_DAYS = 3
"""Days without which a gap counts as long after `DEFAULT_LIMIT`."""
FACTOR = 3
"""How many times the median gap is unusual: weekends are longer than nights."""
SHORTEST_LIMIT = timedelta(hours=1)
DEFAULT_LIMIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which no event was received."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        """Return how long it took."""
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class EventGaps:
    """When events were received.

    Attributes:
        latest: When the latest event was received; None before the first one.
        daily: The longest gap of each of the last `DAYS` days with events, by the day on which it ended.
    """

    latest: datetime | None = None
    daily: tuple[Gap, ...] = ()

    @property
    def limit(self) -> timedelta:
        """Return the length above which a gap is unusual; by the median, so that one outage does not hide the next.

        >>> EventGaps().limit
        datetime.timedelta(days=1)
        """
        if len(self.daily) < FEWEST_DAYS:
            return DEFAULT_LIMIT
        return max(SHORTEST_LIMIT, FACTOR * statistics.median_low([gap.length for gap in self.daily]))

    @property
    def unusual(self) -> list[Gap]:
        """Return the unusually long gaps, the oldest first."""
        return [gap for gap in self.daily if gap.length > self.limit]


def with_events(known: EventGaps, moments: Sequence[datetime]) -> EventGaps:
    """Add the moments at which events were received; moments before the latest known one add nothing."""
    longest = {gap.until.date(): gap for gap in known.daily}
    latest = known.latest
    for moment in sorted(moments):
        if latest is not None and moment > latest:
            _add(longest, Gap(latest, moment))
        latest = moment if latest is None else max(latest, moment)
    return EventGaps(latest, tuple(longest[day] for day in sorted(longest)[-DAYS:]))


def _add(longest: dict[date, Gap], gap: Gap) -> None:
    day = gap.until.date()
    longest[day] = max(longest.get(day, gap), gap, key=lambda each: each.length)


def record_events(warehouse: Warehouse, moments: Sequence[datetime]) -> None:
    """Store when events were received, in the caller's transaction."""
    known = read_event_gaps(warehouse)
    gaps = with_events(known, moments)
    if gaps != known and gaps.latest is not None:
        pauses = [[gap.since.isoformat(), gap.until.isoformat()] for gap in gaps.daily]
        remember(warehouse, NAME, json.dumps({"latest": gaps.latest.isoformat(), "pauses": pauses}))


def read_event_gaps(warehouse: Warehouse) -> EventGaps:
    """Read what `record_events` has stored."""
    text = remembered(warehouse, NAME)
    if text is None:
        return EventGaps()
    stored = json.loads(text)
    daily = (Gap(datetime.fromisoformat(since), datetime.fromisoformat(until)) for since, until in stored["pauses"])
    return EventGaps(datetime.fromisoformat(stored["latest"]), tuple(daily))
