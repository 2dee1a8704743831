"""Decides what is news for a channel: pure, from what is wrong now and what the channel was notified of before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from canvas_sync_dagster.alerts.conditions import Condition

GROWTH = 10
"""An open condition is sent again at once when its size has grown by this factor."""
BACKOFF = timedelta(minutes=2)
LONGEST_BACKOFF = timedelta(hours=1)


class News(Enum):
    """Why a channel is notified of a condition."""

    OPENED = "opened"
    GREW = "grew"
    REMINDER = "reminder"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Standing:
    """A condition as one channel knows it.

    Attributes:
        condition: The condition as it was last seen.
        opened_at: When it was first seen.
        notified_at: When the channel was last notified; None if it was not.
        notified_size: Its size then.
        resolved: Whether it is over, and the channel is still to be notified of it.
        attempts: How often delivering the news has failed.
        next_attempt_at: When it is tried again; None for at once.
        error: Why it failed.
    """

    condition: Condition
    opened_at: datetime
    notified_at: datetime | None = None
    notified_size: int = 0
    resolved: bool = False
    attempts: int = 0
    next_attempt_at: datetime | None = None
    error: str = ""

    def notified(self, now: datetime) -> Standing | None:
        """Return what it is after the channel was notified; None if it is over."""
        if self.resolved:
            return None
        size = self.condition.size
        return replace(self, notified_at=now, notified_size=size, attempts=0, next_attempt_at=None, error="")

    def failed(self, now: datetime, error: str) -> Standing:
        """Return what it is after a failed delivery."""
        pause = min(BACKOFF * 2 ** min(self.attempts, 10), LONGEST_BACKOFF)
        return replace(self, attempts=self.attempts + 1, next_attempt_at=now + pause, error=error)


@dataclass(frozen=True, slots=True)
class Notice:
    """One piece of news for a channel."""

    news: News
    standing: Standing


def updated(
    known: Mapping[tuple[str, str], Standing], present: Iterable[Condition], now: datetime
) -> dict[tuple[str, str], Standing]:
    """Return what a channel has to know, from what it knew and what is wrong now.

    A condition of which the channel was never notified is forgotten when it ends; one that opens again before the channel
    was notified of its end continues.

    Args:
        known: What the channel knew, by kind and subject.
        present: What is wrong now.
        now: Current time, aware.
    """
    after: dict[tuple[str, str], Standing] = {}
    for each in present:
        before = known.get(each.key)
        after[each.key] = replace(before, condition=each, resolved=False) if before else Standing(each, now)
    for key, before in known.items():
        if key not in after and before.notified_at is not None:
            after[key] = replace(before, resolved=True)
    return after


def due(standings: Iterable[Standing], now: datetime, remind_after: timedelta) -> Sequence[Notice]:
    """Return the news that is due for a channel, without what waits for its next attempt.

    Args:
        standings: What the channel has to know.
        now: Current time, aware.
        remind_after: Time after which an open condition is sent again.
    """
    found = []
    for each in standings:
        news = _news(each, now, remind_after)
        if news is not None and (each.next_attempt_at is None or each.next_attempt_at <= now):
            found.append(Notice(news, each))
    return found


def _news(standing: Standing, now: datetime, remind_after: timedelta) -> News | None:
    if standing.resolved:
        return News.RESOLVED
    if standing.notified_at is None:
        return News.OPENED if now - standing.opened_at >= standing.condition.grace else None
    if standing.condition.size >= GROWTH * standing.notified_size:
        return News.GREW
    return News.REMINDER if now - standing.notified_at >= remind_after else None
