"""What a sync did, as people and metadata want to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from canvas_sync_dagster.catalogue import HeaderMatch, Model
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.sync.walk_cost import WalkCost
from canvas_sync_dagster.warehouse.absence import Absence
from canvas_sync_dagster.warehouse.loading.load import LoadCounts


@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """What one model's table gained.

    Attributes:
        model: Which model.
        counts: What became of each row of the report or list.
        table_rows: Rows in the table after the load.
        header: How the report's header matched; None for a REST list.
        enriched: Enriching table → rows that it changed.
        absence: What a complete source no longer lists.
        suspects: Rows in the table that are suspected to be gone.
        orphans: Parent model → rows whose parent the table of the parents lacks.
        outside: Courses of the term that are in none of the sub-accounts of a split report.
    """

    model: Model
    counts: LoadCounts
    table_rows: int
    header: HeaderMatch | None = None
    enriched: Mapping[str, int] = field(default_factory=dict)
    absence: Absence = field(default_factory=Absence)
    suspects: int = 0
    orphans: Mapping[str, int] = field(default_factory=dict)
    outside: int = 0


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """What one report or list did.

    Attributes:
        source: Canvas's name of the report, or the path of the list.
        scope: Canvas term id, or empty.
        observed_at: How fresh the rows are, on Canvas's clock.
        decision: Full or incremental, and why.
        waited: Seconds until the rows were here: compiling, polling, downloading.
        models: One outcome per table.
        skipped: Model → why this Canvas cannot feed it.
        report_id: Canvas's id of the report; None for a list.
        adopted: Whether the report was started before: by an earlier run, or ahead by this one.
        feed: `report` or `rest`.
        feed_reason: Why this feed; empty for a report.
        walked: Requests and seconds of a walk over REST, and what was estimated; None for a report.
        parts: Sub-account → Canvas's id of its report, for a report that is split; else empty.
    """

    source: str
    scope: str
    observed_at: datetime
    decision: Decision
    waited: float
    models: tuple[ModelOutcome, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    report_id: int | None = None
    adopted: bool = False
    feed: str = "report"
    feed_reason: str = ""
    walked: WalkCost | None = None
    parts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def nothing(cls, source: str, scope: str, observed_at: datetime, skipped: Mapping[str, str]) -> SyncOutcome:
        """Returns the outcome of a report that this Canvas does not have."""
        return cls(source, scope, observed_at, Decision(None, "nothing was asked"), 0.0, (), skipped)

    def summary(self) -> dict[str, object]:
        """Returns what the journal keeps."""
        return {
            "source": self.source,
            "report_id": self.report_id,
            **({"parts": dict(self.parts)} if self.parts else {}),
            "scope": self.scope,
            "observed_at": self.observed_at.isoformat(),
            "mode": self.decision.mode,
            "mode_reason": self.decision.reason,
            "models": {each.model.name: each.counts.as_dict() for each in self.models},
            "skipped": dict(self.skipped),
            "feed": self.feed,
            "feed_reason": self.feed_reason,
            **(self.walked.as_dict() if self.walked else {}),
        }
