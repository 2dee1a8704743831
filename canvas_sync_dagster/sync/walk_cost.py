"""What a walk over REST costs: requests and minutes, estimated before it begins and counted at its end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from canvas_sync_dagster.canvas.client import PAGE_SIZE
from canvas_sync_dagster.catalogue import RestFeed
from canvas_sync_dagster.sync.rest_lists import AT_ONCE, Parent
from canvas_sync_dagster.warehouse.warehouse import Warehouse

SECONDS_PER_REQUEST = 0.5
"""Seconds that Canvas takes for a page of 100 objects. Its rate limit, 10 seconds of work per second and token, allows
more than eight requests at the same time."""


@dataclass(frozen=True, slots=True)
class WalkCost:
    """Cost of a walk.

    Attributes:
        estimated_requests: Number of requests, estimated from the lists to read and the rows in the tables.
        requests: Number of requests that were sent; 0 before the walk.
        seconds: Seconds that they took.
    """

    estimated_requests: int
    requests: int = 0
    seconds: float = 0.0

    @property
    def estimated_minutes(self) -> float:
        """Minutes that the estimated requests take, at the rate at which Canvas usually answers."""
        return round(self.estimated_requests * SECONDS_PER_REQUEST / AT_ONCE / 60, 1)

    def __str__(self) -> str:
        minutes = "less than a minute" if self.estimated_minutes < 1 else f"{self.estimated_minutes:,.0f} minutes"
        return f"about {self.estimated_requests:,} requests, {minutes}"

    def as_dict(self) -> dict[str, int | float]:
        """Return the numbers by the names that metadata and the journal use."""
        return {
            "requests": self.requests,
            "seconds_walking": round(self.seconds, 1),
            "estimated_requests": self.estimated_requests,
            "estimated_minutes": self.estimated_minutes,
        }


def estimate(warehouse: Warehouse, feed: RestFeed, parents: Sequence[Parent]) -> WalkCost:
    """Estimate a walk from the rows in the tables; a list of unknown length has one page.

    Args:
        warehouse: The tenant's tables.
        feed: The lists.
        parents: Their parents.
    """
    whole = [parent.id for parent in parents if parent.since is None]
    lengths = _lengths(warehouse, feed, whole)
    pages = sum(max(1, math.ceil(lengths[parent] / PAGE_SIZE)) for parent in whole)
    changes = (len(parents) - len(whole)) * len(feed.since)
    listing = math.ceil(len(parents) / PAGE_SIZE) if feed.parents_path else 0
    return WalkCost(pages + changes + listing)


def _lengths(warehouse: Warehouse, feed: RestFeed, parents: Sequence[int]) -> Counter[int]:
    """Return parent → expected number of objects in its list."""
    found: Counter[int] | None = None
    for name, column in feed.size:
        if name not in warehouse.models or not warehouse.has(warehouse.models[name].table):
            continue
        query = sql.SQL("select {0}, count(*) from {1} where {0} = any(%s) group by 1").format(
            sql.Identifier(column), warehouse.table(warehouse.models[name]).name
        )
        rows = Counter({int(of): int(number) for of, number in warehouse.connection.execute(query, (list(parents),))})
        found = rows if found is None else Counter({of: number * rows[of] for of, number in found.items()})
    return found or Counter()
