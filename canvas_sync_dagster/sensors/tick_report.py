"""The text of a tick: what happened to which tenant, bounded in length however many tenants there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import dagster as dg

MOST_TENANTS = 20
"""Tenants that a text names; the others are counted."""
MOST_CHARACTERS = 300
"""Characters about one tenant."""


@dataclass(slots=True)
class TickReport:
    """Collects what a tick did.

    Attributes:
        idle: What the text says if nothing happened.
        skipped: Slug of a tenant that the sensor does not look at → reason.
        problems: Tenant or database → why it failed, or what it waits for.
        done: Tenant → what was done.
        requests: Runs to launch.
        events: Asset events to report.
    """

    idle: str
    skipped: Mapping[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    requests: list[dg.RunRequest] = field(default_factory=list)
    events: list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation] = field(default_factory=list)

    def text(self) -> str:
        """Return one line: problems first, then what was done, then the tenants that are skipped.

        >>> TickReport("no events are waiting", {"old": "old is paused"}, {"b": "no route to host"}).text()
        'b: no route to host; old is paused'
        """
        lines = [*_lines(self.problems), *_lines(self.done), *self.skipped.values()]
        return "; ".join(_bounded(lines)) or self.idle

    def result(self, cursor: str | None = None) -> dg.SensorResult:
        """Return the result of the tick.

        The page of the sensor shows the cursor next to each tick, and keeps the last one of a tick that did something.

        Args:
            cursor: Cursor of the tick before.
        """
        text = self.text()
        cursor = text if self.done or self.problems else cursor
        if self.requests or self.events:
            return dg.SensorResult(run_requests=self.requests, asset_events=self.events, cursor=cursor)
        return dg.SensorResult(skip_reason=text, cursor=cursor)


def _lines(texts: Mapping[str, str]) -> Iterable[str]:
    return (f"{name}: {text}" for name, text in sorted(texts.items()))


def _bounded(lines: list[str]) -> list[str]:
    shown = [line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…" for line in lines]
    more = len(shown) - MOST_TENANTS
    return [*shown[:MOST_TENANTS], f"and {more} more"] if more > 0 else shown
