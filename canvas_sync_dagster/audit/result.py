"""The result of the audit of one model. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canvas_sync_dagster.audit.comparison import Cause, Difference, Kind
from canvas_sync_dagster.audit.estimate import Share, quantile


@dataclass(frozen=True, slots=True)
class ModelAudit:
    """How a model's table compares with Canvas.

    Attributes:
        model: Name of the model.
        audited_at: When the audit of it began, on Canvas's clock.
        sample: Maximum number of rows, and of lists, that were drawn.
        seed: Decided which.
        rows: Rows of the table that could be drawn.
        compared: Rows that were compared with the object of Canvas.
        unread: Rows that were drawn, but that Canvas does not answer for or hides from the token.
        lists: Lists of Canvas that were read.
        looked_up: Objects of these lists, each of which should be in the table.
        wrong: Share of the table's rows that differ from Canvas or are missing there, lag excluded.
        missing: Share of Canvas's objects that the table lacks, lag excluded.
        differences: The rows and objects that differ.
        requests: Requests to Canvas.
        seconds: Duration.
        rows_reason: Why no rows were compared; empty if some were.
        objects_reason: Why no objects were looked up; empty if some were.
        failed: Whether one of the reasons is an answer of Canvas that a person should look into.
        repaired: Differences that were read again and written; None if that was not wanted.
    """

    model: str
    audited_at: datetime
    sample: int
    seed: int
    rows: int = 0
    compared: int = 0
    unread: int = 0
    lists: int = 0
    looked_up: int = 0
    wrong: Share | None = None
    missing: Share | None = None
    differences: Sequence[Difference] = field(default=(), repr=False)
    requests: int = 0
    seconds: float = 0.0
    rows_reason: str = ""
    objects_reason: str = ""
    failed: bool = False
    repaired: int | None = None

    @property
    def reason(self) -> str:
        """Why nothing was compared; empty if something was."""
        return self.rows_reason if self.rows_reason and self.objects_reason else ""

    def count(self, kind: Kind | None = None, *causes: Cause) -> int:
        """Return the number of differences of a kind and of some causes; of all kinds or causes if not given."""
        return sum(
            (kind is None or each.kind is kind) and (not causes or each.cause in causes) for each in self.differences
        )

    @property
    def drifted(self) -> int:
        """Differences that are not lag; undated ones may be."""
        return self.count(None, Cause.DRIFT, Cause.UNDATED)

    @property
    def columns(self) -> Mapping[str, int]:
        """Name of a column → number of rows that differ in it, lag excluded."""
        found = Counter(
            name for each in self.differences if each.cause is not Cause.LAG for name in sorted(each.columns)
        )
        return dict(found.most_common())

    def lag(self, part: float) -> float | None:
        """Return a quantile of the seconds since the changes that the table does not have yet; None without such changes."""
        waits = [
            (self.audited_at - each.changed_at).total_seconds()
            for each in self.differences
            if each.cause is Cause.LAG and each.changed_at is not None
        ]
        return quantile(waits, part)

    def as_json(self) -> dict[str, Any]:
        """Return the audit for `--json`: no values of rows but those of keys."""
        return {
            "model": self.model,
            "audited_at": self.audited_at,
            "sample": self.sample,
            "seed": self.seed,
            "rows": self.rows,
            "rows_compared": self.compared,
            "rows_unread": self.unread,
            "rows_that_differ": self.count(Kind.DIFFERS, Cause.DRIFT, Cause.UNDATED),
            "missing_there": self.count(Kind.MISSING_THERE, Cause.DRIFT, Cause.UNDATED),
            "wrong_share": _share(self.wrong),
            "lists": self.lists,
            "objects_looked_up": self.looked_up,
            "missing_here": self.count(Kind.MISSING_HERE, Cause.DRIFT, Cause.UNDATED),
            "missing_share": _share(self.missing),
            "undated": self.count(None, Cause.UNDATED),
            "differing_columns": dict(self.columns),
            "lagging": self.count(None, Cause.LAG),
            "lag_p50_seconds": self.lag(0.5),
            "lag_p95_seconds": self.lag(0.95),
            "differences": [each.as_json() for each in self.differences],
            "requests": self.requests,
            "seconds": round(self.seconds, 1),
            "rows_not_compared_because": self.rows_reason or None,
            "objects_not_looked_up_because": self.objects_reason or None,
            "repaired": self.repaired,
        }


def _share(share: Share | None) -> dict[str, float] | None:
    return None if share is None else {"value": share.value, "low": share.low, "high": share.high}
