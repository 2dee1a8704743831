"""What a sync did: collected from its progress, as a document for programs and as a summary for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import RenderableType

from canvas_sync_dagster.commands.rendering import (
    MARK,
    Column,
    counted,
    elapsed,
    listed,
    paragraph,
    skipped_lines,
    table,
    unique,
)
from canvas_sync_dagster.orchestration.run_listener import Progress

COUNTS = ("rows_in_report", "inserted", "updated", "unchanged", "superseded", "rejected", "duplicates")
"""Counts of the metadata of a table that was loaded; `rows_in_report` is the sum of the others."""
HEADINGS = ("rows", *COUNTS[1:])


@dataclass(frozen=True, slots=True)
class TableLoad:
    """A table that was loaded, of one term or of the whole account.

    Attributes:
        model: Name of the model.
        term: Canvas term id; None outside term runs.
        counts: Number of rows by what happened to them; see `COUNTS`.
        mode: `full` or `incremental`; empty if a function of the user loaded the table.
        mode_reason: Why.
        seconds: How long the load took, without waiting for Canvas.
    """

    model: str
    term: str | None
    counts: Mapping[str, int]
    mode: str = ""
    mode_reason: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, model: str, term: str | None, metadata: Mapping[str, Any]) -> TableLoad:
        """Return the load that the metadata of a materialization describes."""
        counts = {name: int(metadata.get(name) or 0) for name in COUNTS}
        mode, reason = str(metadata.get("mode", "")), str(metadata.get("mode_reason", ""))
        return cls(model, term, counts, mode, reason, float(metadata.get("seconds") or 0.0))


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync of one tenant did.

    Attributes:
        tenant: Slug of the tenant.
        seconds: How long it took.
        loads: Tables that were loaded, in the order of their end.
        skipped: Model → why this Canvas cannot feed it.
        messages: Why runs failed; each message once.
        failed: What failed.
        blocked: What was not started because something before it failed.
    """

    tenant: str
    seconds: float
    loads: Sequence[TableLoad] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    messages: Sequence[str] = ()
    failed: Sequence[str] = ()
    blocked: Sequence[str] = ()

    @property
    def status(self) -> str:
        """`failed` if anything failed, otherwise `completed`."""
        return "failed" if self.failed else "completed"

    def total(self, name: str) -> int:
        """Return the sum of a count over all tables."""
        return sum(load.counts[name] for load in self.loads)

    @property
    def models(self) -> list[str]:
        """Names of the models that were loaded."""
        return list(dict.fromkeys(load.model for load in self.loads))

    @property
    def terms(self) -> list[str]:
        """Ids of the terms that were loaded."""
        return list(dict.fromkeys(load.term for load in self.loads if load.term))

    def document(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "tenant": self.tenant,
            "status": self.status,
            "seconds": round(self.seconds, 2),
            **{name: self.total(name) for name in COUNTS},
            "failed": list(self.failed),
            "blocked": list(self.blocked),
            "messages": list(self.messages),
            "skipped": dict(self.skipped),
            "tables": [
                {
                    "model": load.model,
                    "term": load.term,
                    **load.counts,
                    "mode": load.mode,
                    "mode_reason": load.mode_reason,
                    "seconds": round(load.seconds, 3),
                }
                for load in self.loads
            ],
        }


@dataclass
class Recorder:
    """Passes on the progress of a sync, and keeps what its report needs.

    Attributes:
        shown: Receives the progress.
    """

    shown: Progress
    loads: list[TableLoad] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def expect(self, tables: int) -> None:
        """Receive how many more tables will be loaded."""
        self.shown.expect(tables)

    def begin(self, title: str, number: int) -> None:
        """Receive that a run begins."""
        self.shown.begin(title, number)

    def log(self, line: str) -> None:
        """Receive a line of the run's log."""
        self.shown.log(line)

    def table_done(self, model: str, term: str | None, metadata: Mapping[str, Any]) -> None:
        """Receive the metadata of a table that was loaded."""
        self.loads.append(TableLoad.of(model, term, metadata))
        self.shown.table_done(model, term, metadata)

    def skipped(self, reasons: Mapping[str, str]) -> None:
        """Receive what is skipped."""
        self.reasons |= reasons
        self.shown.skipped(reasons)

    def failed(self, title: str, models: Sequence[str], message: str) -> None:
        """Receive what failed."""
        self.messages.append(f"{title}: {message}")
        self.shown.failed(title, models, message)

    def report(self, tenant: str, seconds: float, failed: Sequence[str], blocked: Sequence[str]) -> SyncReport:
        """Return the report of a sync that has ended."""
        return SyncReport(tenant, seconds, tuple(self.loads), dict(self.reasons), tuple(self.messages), failed, blocked)


def summary(report: SyncReport, width: int | None, *, by_term: bool = False) -> list[RenderableType]:
    """Return the summary of a sync: verdict, what needs attention, then a table.

    Args:
        report: What the sync did.
        width: Columns of the terminal, or None.
        by_term: Whether the table has a row per model and term instead of one per model.
    """
    bad = bool(report.failed)
    shown: list[RenderableType] = [
        paragraph(verdict(report), width, style="bold red" if bad else "bold green"),
        *(paragraph(message, width, mark=MARK, style="red") for message in report.messages),
    ]
    if report.blocked:
        shown.append(paragraph(f"not started, because of that: {listed(report.blocked)}", width, mark=MARK))
    if rejected := report.total("rejected"):
        tables = listed(list(dict.fromkeys(load.model for load in report.loads if load.counts["rejected"])))
        warning = (
            f"warning: {counted(rejected, 'row')} could not be loaded ({tables}); `canvas_sync_rejected_rows` has each with "
            "its reason, and `canvas-sync replay rejects` loads them after a fix"
        )
        shown.append(paragraph(warning, width, mark=MARK, style="yellow"))
    shown += [paragraph(f"skipped: {line}", width, mark="  ") for line in skipped_lines(report.skipped)]
    if report.loads:
        shown += ["", loads_table(report.loads, width, by_term=by_term)]
    return shown


def verdict(report: SyncReport) -> str:
    """Return how a sync ended, in one sentence."""
    if report.failed:
        return f"{report.tenant}: the sync failed after {elapsed(report.seconds)}: {listed(report.failed)}"
    of = f" of {counted(len(report.terms), 'term')}" if report.terms else ""
    changes = [f"{report.total(name):,} {name}" for name in COUNTS[1:] if report.total(name)]
    rows = counted(report.total("rows_in_report"), "row")
    return (
        f"{report.tenant}: the sync was completed in {elapsed(report.seconds)}: "
        f"{counted(len(report.models), 'model')}{of}, {', '.join([rows, *changes])}"
    )


def loads_table(loads: Sequence[TableLoad], width: int | None, *, by_term: bool = False) -> RenderableType:
    """Return the table of what was loaded: a row per model with the terms summed, or per model and term."""
    columns = [
        Column("model", shrinks=True),
        Column("term" if by_term else "terms", right=True, drop=0 if by_term else 6, optional=True),
        Column("rows", right=True),
        Column("inserted", right=True),
        Column("updated", right=True, drop=1),
        Column("unchanged", right=True, drop=7),
        Column("superseded", right=True, drop=5, optional=True),
        Column("rejected", right=True, drop=2, optional=True),
        Column("duplicates", right=True, drop=9, optional=True),
        Column("mode", drop=8),
        Column("seconds", right=True, drop=10),
    ]
    if by_term:
        return table(columns, [_row([load], load.term or "") for load in loads], width)
    models: dict[str, list[TableLoad]] = {}
    for load in loads:
        models.setdefault(load.model, []).append(load)
    return table(columns, [_row(each, _terms(each)) for each in models.values()], width)


def _terms(loads: Sequence[TableLoad]) -> str:
    return f"{len(loads):,}" if loads[0].term else ""


def _row(loads: Sequence[TableLoad], term: str) -> list[str]:
    counts = [f"{sum(load.counts[name] for load in loads):,}" for name in COUNTS]
    mode = unique((load.mode for load in loads), lambda _: "both")
    return [loads[0].model, term, *counts, mode, f"{sum(load.seconds for load in loads):.2f}"]
