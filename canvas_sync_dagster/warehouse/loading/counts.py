"""What became of the rows of a load, how long each phase took, and when a report is too broken to load."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TypeVar

from canvas_sync_dagster.catalogue import HeaderMatch
from canvas_sync_dagster.warehouse.listed_keys import ListedKeys

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RejectLimits:
    """Threshold above which a report is rejected as a whole: enough rows of a small share, or fewer of more than half.

    Attributes:
        fraction: Share of the rows that may be rejected, however many they are.
        minimum: Rejects from which more than that share is too much.
        few: Rejects from which more than half of the rows is too much.
    """

    fraction: float = 0.05
    minimum: int = 100
    few: int = 2

    def are_exceeded(self, counts: LoadCounts) -> bool:
        """Return whether a load has too many rejects among the rows that it would write."""
        rejected, rows = counts.rejected, counts.rows + counts.rejected
        is_share = rejected >= self.minimum and rejected > self.fraction * rows
        return is_share or (rejected >= self.few and rejected > max(self.fraction, HALF) * rows)


HALF = 0.5
REJECT_LIMITS = RejectLimits()
"""One row in twenty: a renamed or shifted column spoils all of them, a bad record or two none that matters. Of a complete
report, however small, more than half: what would be published is no copy. A single reject is never enough, because Canvas
may write one sentence in place of the rows of an empty report."""
LIMITS_OF_CHANGES = RejectLimits(few=10)
"""An incremental report may consist of one row, which is the one that cannot be loaded; ten of them have one cause."""
LIMITS_OF_OBJECTS = RejectLimits(few=100)
"""Single objects, asked for because something was wrong with them, say nothing about the others."""


def limits_for(*, complete: bool) -> RejectLimits:
    """Return the limits of a report or a list.

    Args:
        complete: Whether it has all rows of its scope, and not only those that have changed.
    """
    return REJECT_LIMITS if complete else LIMITS_OF_CHANGES


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """What became of each row: the first is the sum of the next seven.

    Attributes:
        rows_in_report: Records in the file.
        inserted: Rows that were not in the table.
        updated: Rows whose content changed.
        unchanged: Rows that the table already had.
        superseded: Rows of which the table has a newer observation.
        rejected: Records that cannot be loaded.
        duplicates: Records whose key is decided by another record of the file.
        skipped: Records that a function of the mapping left out, or that are about an erased person.
        header: How the header matched; None for a list.
        listed: The keys of all records, if the caller asked for them; a key may come more than once.
        seconds: Phase → seconds.
    """

    rows_in_report: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    rejected: int = 0
    duplicates: int = 0
    skipped: int = 0
    header: HeaderMatch | None = None
    listed: ListedKeys | None = field(default=None, compare=False, repr=False)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Distinct keys in the report."""
        return self.rows_in_report - self.rejected - self.duplicates - self.skipped

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in COUNTED if name != "skipped" or self.skipped}

    @classmethod
    def total(cls, parts: Sequence[LoadCounts]) -> LoadCounts:
        """Add up the counts of several parts of one load; header, keys and seconds are left out."""
        return cls(**{name: sum(getattr(part, name) for part in parts) for name in COUNTED})


COUNTED = tuple(each.name for each in fields(LoadCounts) if each.name not in {"header", "listed", "seconds"})


class Clock:
    """Adds up the seconds of each phase.

    Attributes:
        seconds: Phase → seconds.
    """

    def __init__(self, *phases: str) -> None:
        self.seconds = dict.fromkeys(phases, 0.0)

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Add the time within the `with` to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - start

    def each(self, phase: str, items: Iterator[T]) -> Iterator[T]:
        """Yield the items, and add the time that is spent waiting for them to a phase."""
        while True:
            with self.during(phase):
                item = next(items, None)
            if item is None:
                return
            yield item
            # The caller may be done with it while the next one is computed.
            del item
