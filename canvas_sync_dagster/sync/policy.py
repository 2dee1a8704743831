"""Full or incremental: decided from the warehouse's state and the policy, never from the clock of a process.

Pure: the settings, the options of the run and the watermarks go in; a decision with its reason comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from canvas_sync_dagster.canvas.lifecycle import Limits
from canvas_sync_dagster.catalogue.parameters import Parameters, digest
from canvas_sync_dagster.full_sync_policy import FullSyncEvery

if TYPE_CHECKING:
    from canvas_sync_dagster.warehouse.state.watermarks import Watermark

Mode = Literal["auto", "full", "incremental"]

OVERLAP = timedelta(hours=1)
"""How far an incremental report reaches back past the last one. Canvas compiles from a replica that may lag by minutes,
and reads tables one after another; an hour is far beyond both and costs only rows that turn out unchanged."""

SHOWN = 5
"""Maximum number of columns that a reason names."""
AHEAD = "the time of the last sync lay in the future, because a clock was wrong"


@dataclass(frozen=True, slots=True)
class Decision:
    """Full or incremental, and why.

    Attributes:
        updated_after: Since when an incremental report is asked; None means full.
        reason: One sentence for people.
    """

    updated_after: datetime | None
    reason: str

    @property
    def mode(self) -> Literal["full", "incremental"]:
        return "full" if self.updated_after is None else "incremental"


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """How one run syncs: the settings of its tenant and genre, replaced by the options of the run where it has any.

    Attributes:
        limits: How long and how often a report is tried.
        timezone: Calendar in which full syncs are counted.
        mode: Full, incremental, or as the settings decide.
        updated_after: True is since the last success, False is always full, a date is at the latest since then.
        full_sync_every: How often a scope is read in full; None is never for this reason.
        provisioning_report: Canvas's name of the provisioning report, or `auto`.
        reports_ahead: Number of reports that are ordered while another one is compiled.
        split_reports: Ids of the sub-accounts that split the reports of a term, or `all`; empty if they are not split.
        named_models: Models that the settings name, so that it is an error if Canvas cannot feed one.
        params: Model → parameters of its report.
        legacy_support: Models whose rows go to the user's functions; None is all that have one.
        accept_shrinkage: Whether a scope may shrink suddenly, because a person has checked the report.
        reload: Whether rows are compared by value although their digests are equal.
        batch_id: The batch that the run belongs to; the run itself if it belongs to none.
        started_at: When the batch or the run started, on our own clock.
        run_id: The run, for the journal.
    """

    limits: Limits
    timezone: ZoneInfo
    mode: Mode
    updated_after: datetime | bool
    full_sync_every: FullSyncEvery | None
    provisioning_report: str
    reports_ahead: int
    split_reports: Sequence[str]
    named_models: Sequence[str]
    params: Mapping[str, Parameters]
    legacy_support: frozenset[str] | None
    accept_shrinkage: bool
    reload: bool
    batch_id: str
    started_at: datetime
    run_id: str

    def decide(
        self, watermarks: Iterable[Watermark | None], parameters: Parameters, *, takes_updated_after: bool
    ) -> Decision:
        """Decide whether a report is requested in full or since a time.

        Args:
            watermarks: Those of the models that the report feeds in this scope; None for one that was never loaded.
            parameters: Parameters of the report other than its term and `updated_after`. What was loaded with other
                parameters is no base for an incremental report with these.
            takes_updated_after: Whether the report can be limited to what changed.
        """
        same = digest(parameters)
        return decide(
            now=self.started_at,
            watermarks=[mark if mark is not None and mark.parameters == same else None for mark in watermarks],
            takes_updated_after=takes_updated_after,
            mode=self.mode,
            updated_after=self.updated_after,
            full_sync_every=self.full_sync_every,
            timezone=self.timezone,
            batch_id=self.batch_id,
        )


def decide(
    *,
    now: datetime,
    watermarks: Iterable[Watermark | None],
    takes_updated_after: bool,
    mode: Mode = "auto",
    updated_after: datetime | bool = True,
    full_sync_every: FullSyncEvery | None = None,
    timezone: ZoneInfo | None = None,
    batch_id: str = "",
) -> Decision:
    """Decide whether a report is requested in full or since a time.

    Args:
        now: Start of the batch, or of a run that belongs to no batch: all scopes of a batch are decided alike. On our own
            clock, aware.
        watermarks: Those of all models that the report feeds in this scope; None for one that was never loaded.
        takes_updated_after: Whether the report can be limited to what changed.
        mode: Full, incremental, or as the other arguments decide.
        updated_after: True is since the last success, False is always full; a date is as given, unless the last success
            is earlier: what changed in between would be missed permanently.
        full_sync_every: How often a scope is read in full; None is never for this reason.
        timezone: Calendar in which full syncs are counted; UTC if not given.
        batch_id: Seed of a percentage, which makes it reproducible.
    """
    known = list(watermarks)
    if reason := _reason_for_full(known, takes_updated_after, mode, updated_after):
        return Decision(None, reason)
    last_full = min(mark.full_started_at or mark.full_observed_at for mark in known if mark and mark.full_observed_at)
    due = full_sync_every is not None and full_sync_every.is_due(
        now=now, last_full=last_full, timezone=timezone or ZoneInfo("UTC"), batch_id=batch_id
    )
    if due and mode == "auto":
        return Decision(None, f"a full sync is due: the last one was of {last_full:%Y-%m-%d}")
    since = (min(mark.observed_at for mark in known if mark and mark.observed_at) - OVERLAP).astimezone(UTC)
    if isinstance(updated_after, datetime) and updated_after <= since:
        return Decision(updated_after, "updated_after was given")
    late = ", which is earlier than the date that was given" if isinstance(updated_after, datetime) else ""
    return Decision(since, f"since the last success, less an hour of overlap{late}")


def _reason_for_full(
    marks: list[Watermark | None], takes_updated_after: bool, mode: Mode, updated_after: datetime | bool
) -> str | None:
    if mode == "full":
        return "a full sync was asked for"
    if not takes_updated_after:
        return "this report cannot be limited to what changed"
    if updated_after is False and mode != "incremental":
        return "updated_after is false: every sync is full"
    if any(mark is not None and mark.observed_at is None for mark in marks):
        return AHEAD
    if not marks or any(mark is None or not (mark.observed_at and mark.full_observed_at) for mark in marks):
        return "no earlier full sync of this scope"
    unfilled = sorted({name for mark in marks if mark is not None for name in mark.unfilled})
    if unfilled and mode != "incremental":
        more = f" and {len(unfilled) - SHOWN} more" if len(unfilled) > SHOWN else ""
        return f"columns that the last full sync did not fill: {', '.join(unfilled[:SHOWN])}{more}"
    return None
