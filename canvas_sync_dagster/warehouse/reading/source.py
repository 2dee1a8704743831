"""Where the rows of a load come from, and how fresh they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from and how fresh they are.

    Attributes:
        scope: Canvas term id as digits, or empty.
        observed_at: Moment of the rows on Canvas's clock: the report's `started_at`.
        report: Canvas's name of the report, or the path of a list.
        report_id: Canvas's id of the report.
        complete: Whether these are all the rows of the scope.
        watermark: Freshness of the newest load of this model and scope. An older source changes nothing,
            because a newer one has decided about the same rows.
        reload: Whether records are compared by value although their digests are equal.
        lines: Line of a record → its line in Canvas's file, for records that were picked from it.
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


def described(table: str, source: Source) -> str:
    """Return the name of a table of a report: `provisioning_csv 17, courses of term 118`."""
    number = f" {source.report_id}" if source.report_id is not None else ""
    return f"{source.report}{number}, {table}{f' of term {source.scope}' if source.scope else ''}"
