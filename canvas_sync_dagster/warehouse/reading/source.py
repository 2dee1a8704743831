"""Where rows come from, when they are too broken to load, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from canvas_sync_dagster.catalogue import HeaderMatch


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from and how fresh they are.

    Attributes:
        scope: Canvas term id as digits, or empty.
        observed_at: Moment of the rows on Canvas's clock: the report's `started_at`.
        report: Canvas's name of the report, or the path of a list.
        report_id: Canvas's id of the report.
        complete: Whether these are all the rows of the scope.
        watermark: Freshness of the newest load of this model and scope. An older source changes nothing: whatever it
            says differently has been said anew since.
        reload: Whether records are compared by value although their digests are equal.
        lines: Line where a record stands → line where it stood in Canvas's file, for records that were picked from it.
    """

    scope: str
    observed_at: datetime
    report: str
    report_id: int | None = None
    complete: bool = True
    watermark: datetime | None = None
    reload: bool = False
    lines: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_outdated(self) -> bool:
        return self.watermark is not None and self.observed_at < self.watermark


@dataclass(frozen=True, slots=True)
class RejectLimits:
    """From when on a report counts as broken instead of having broken rows.

    Attributes:
        fraction: Of the report's rows.
        minimum: Rows.
    """

    fraction: float = 0.05
    minimum: int = 100


REJECT_LIMITS = RejectLimits()
"""One row in twenty: a renamed or shifted column spoils all of them, a bad record or two none that matters."""


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """What became of each row: the first is the sum of the next seven.

    Attributes:
        rows_in_report: Records in the file.
        inserted: Rows that were not there.
        updated: Rows whose content changed.
        unchanged: Rows that were there already.
        superseded: Rows that are known fresher from elsewhere.
        rejected: Records that cannot be loaded.
        duplicates: Records whose key another record of the file speaks for.
        skipped: Records that a function of the mapping left out, or that are about an erased person.
        header: How the header matched; None for a list.
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
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Keys that the report speaks of."""
        return self.rows_in_report - self.rejected - self.duplicates - self.skipped

    def as_dict(self) -> dict[str, int]:
        """Returns the counts by name."""
        named = (
            "rows_in_report",
            "inserted",
            "updated",
            "unchanged",
            "superseded",
            "rejected",
            "duplicates",
            "skipped",
        )
        return {name: getattr(self, name) for name in named if name != "skipped" or self.skipped}


def described(table: str, source: Source) -> str:
    """Names a table of a report: `provisioning_csv 17, courses of term 118`."""
    number = f" {source.report_id}" if source.report_id is not None else ""
    return f"{source.report}{number}, {table}{f' of term {source.scope}' if source.scope else ''}"
