"""How long an inbox usually goes without an event; what is longer means that the receiver, or Canvas's sending, was down."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.state.remembered import remember, remembered
from canvas_sync_dagster.warehouse.warehouse import Warehouse

NAME = "live_events_pauses"
DAYS = 14
"""Days whose longest pause is kept; as many as the inbox keeps events."""
FEWEST_DAYS = 3
"""Days that make a rhythm; before, a whole day counts as long."""
TIMES = 3
"""How often the usual pause a silence must be to be unusual: weekends are longer than nights."""
SHORTEST = timedelta(hours=1)
WITHOUT_RHYTHM = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which no event was received."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When events come.

    Attributes:
        latest: When the latest one was received.
        pauses: The longest pause of each of the last days, by the day on which it ended.
    """

    latest: datetime | None = None
    pauses: tuple[Pause, ...] = ()

    @property
    def unusual(self) -> timedelta:
        """How long a silence is when something is wrong: the median of the days, so that one outage does not hide the next.

        >>> Rhythm().unusual
        datetime.timedelta(days=1)
        """
        if len(self.pauses) < FEWEST_DAYS:
            return WITHOUT_RHYTHM
        return max(SHORTEST, TIMES * statistics.median_low([pause.length for pause in self.pauses]))

    @property
    def gaps(self) -> list[Pause]:
        """The pauses that were unusually long, the oldest first."""
        return [pause for pause in self.pauses if pause.length > self.unusual]


def heard(rhythm: Rhythm, moments: Sequence[datetime]) -> Rhythm:
    """Adds the moments at which events were received; what is older than the latest is known already."""
    latest = rhythm.latest
    longest: dict[date, Pause] = {pause.until.date(): pause for pause in rhythm.pauses}
    for moment in sorted(moments):
        if latest is not None and moment > latest:
            pause = Pause(latest, moment)
            day = moment.date()
            longest[day] = max(longest.get(day, pause), pause, key=lambda each: each.length)
        latest = moment if latest is None else max(latest, moment)
    kept = [longest[day] for day in sorted(longest)[-DAYS:]]
    return replace(rhythm, latest=latest, pauses=tuple(kept))


def listen(connection: Connection, schema: str, moments: Sequence[datetime]) -> None:
    """Notes when events were received, in the caller's transaction."""
    known = read_rhythm(connection, schema)
    rhythm = heard(known, moments)
    if rhythm != known:
        told = {
            "latest": rhythm.latest.isoformat() if rhythm.latest else None,
            "pauses": [[pause.since.isoformat(), pause.until.isoformat()] for pause in rhythm.pauses],
        }
        remember(Warehouse(connection, schema), NAME, json.dumps(told))


def read_rhythm(connection: Connection, schema: str) -> Rhythm:
    """Reads what was noted."""
    text = remembered(Warehouse(connection, schema), NAME)
    if text is None:
        return Rhythm()
    told = json.loads(text)
    pauses = (Pause(datetime.fromisoformat(since), datetime.fromisoformat(until)) for since, until in told["pauses"])
    return Rhythm(datetime.fromisoformat(told["latest"]) if told["latest"] else None, tuple(pauses))
