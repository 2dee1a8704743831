"""Audits as text: a verdict, one line per table, and the rows that differ. Nothing here reads or prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from canvas_sync_dagster.audit.comparison import Difference
from canvas_sync_dagster.audit.result import ModelAudit
from canvas_sync_dagster.commands.rendering import Column, counted, elapsed, listed, paragraph, table

SHOWN = 20
"""Differences of one model that are printed; all are in `--json` and in `canvas_sync_audits`."""
COLUMNS = (
    Column("model", shrinks=True),
    Column("rows", right=True, drop=3),
    Column("wrong rows (95 %)", right=True),
    Column("objects", right=True, drop=4),
    Column("missing here (95 %)", right=True),
    Column("lag p50 / p95", right=True, drop=2, optional=True),
    Column("differing columns", drop=1, optional=True, shrinks=True),
)


def audit_lines(slug: str, audits: Sequence[ModelAudit], width: int | None) -> list[RenderableType]:
    """Return the audits of a tenant: verdict, table, what differs, what was repaired.

    Args:
        slug: The tenant's.
        audits: One per model.
        width: Columns of the terminal, or None.
    """
    drifted = [each.model for each in audits if each.drifted]
    shown: list[RenderableType] = [
        paragraph(_verdict(slug, audits), width, style="bold yellow" if drifted else "bold green")
    ]
    if rows := [_row(each) for each in audits if not each.reason]:
        shown += ["", table(COLUMNS, rows, width)]
    return [*shown, *(paragraph(line, width, mark="  ") for each in audits for line in _details(each))]


def _verdict(slug: str, audits: Sequence[ModelAudit]) -> str:
    drifted = [each for each in audits if each.drifted]
    compared = sum(each.compared for each in audits)
    looked_up = sum(each.looked_up for each in audits)
    if not compared + looked_up:
        return f"{slug}: nothing was compared"
    read = f"{counted(compared, 'row')} compared and {counted(looked_up, 'object')} of Canvas looked up"
    if drifted:
        number = counted(sum(each.drifted for each in drifted), "difference")
        return f"{slug}: {number} in {listed([each.model for each in drifted])}; {read}"
    return f"{slug}: no drift found; {read}"


def _row(audit: ModelAudit) -> list[str]:
    middle, most = audit.lag(0.5), audit.lag(0.95)
    return [
        audit.model,
        f"{audit.compared:,}" if audit.compared else "",
        str(audit.wrong or ""),
        f"{audit.looked_up:,}" if audit.looked_up else "",
        str(audit.missing or ""),
        "" if middle is None or most is None else f"{elapsed(middle)} / {elapsed(most)}",
        ", ".join(f"{name} {count:,}" for name, count in audit.columns.items()),
    ]


def _details(audit: ModelAudit) -> Iterator[str]:
    for each in audit.differences[:SHOWN]:
        yield f"{audit.model}: {_difference(each)}"
    if len(audit.differences) > SHOWN:
        yield f"{audit.model}: and {len(audit.differences) - SHOWN:,} more, in canvas_sync_audits"
    if audit.repaired is not None:
        yield f"{audit.model}: {counted(audit.repaired, 'row')} read again from Canvas and written"


def _difference(each: Difference) -> str:
    key = ", ".join(f"{name} {value}" for name, value in each.key.items())
    return f"{key}: {each.kind}{' in ' + ', '.join(each.columns) if each.columns else ''} ({each.cause})"
