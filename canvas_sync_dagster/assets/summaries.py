"""Summaries of a load and of a drain in Markdown, for the UI: what was read, changed and held back, and how long it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from canvas_sync_dagster.warehouse.state.rejected_rows import TABLE as REJECTED_ROWS

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.outcome import ModelOutcome, SyncOutcome


def load_summary(outcome: SyncOutcome, each: ModelOutcome) -> str:
    """Return the summary of one table's load.

    Args:
        outcome: What the report or list did.
        each: What it did to this table.
    """
    counts = each.counts
    held = "".join(f"\n- **Held back**: {line.removesuffix('.')}." for line in _held_back(each))
    loading = sum(counts.seconds.values())
    return (
        f"**{_number(counts.rows_in_report, 'row')} read** from `{outcome.source}`"
        f"{f', term {outcome.scope}' if outcome.scope else ''}: {_since(outcome)}\n\n"
        f"- **Changed**: {counts.inserted:,} inserted, {counts.updated:,} updated; {counts.unchanged:,} unchanged."
        f"{held}\n"
        f"- **Table**: {_number(each.table_rows, 'row')}, as of {_moment(outcome.observed_at)}.\n"
        f"- **Time**: {outcome.waited + loading:,.1f} s; {outcome.waited:,.1f} s for Canvas, {loading:,.1f} s to load."
    )


def drain_summary(rows: int, events: Mapping[str, int], seconds: float) -> str:
    """Return the summary of a drain for one table.

    Args:
        rows: Rows of the table that were written.
        events: State → events of all tables that ended in it.
        seconds: Duration of the drain.
    """
    ends = ", ".join(f"{count:,} {state}" for state, count in events.items() if count) or "none"
    return (
        f"**{_number(rows, 'row')} written** from live events.\n\n"
        f"- **Events of all tables**: {ends}.\n"
        f"- **Time**: {seconds:,.1f} s."
    )


def _since(outcome: SyncOutcome) -> str:
    decision = outcome.decision
    if decision.updated_after is None:
        return f"everything ({decision.reason})."
    return f"changes since {_moment(decision.updated_after)} ({decision.reason})."


def _held_back(each: ModelOutcome) -> Iterator[str]:
    counts = each.counts
    if counts.rejected:
        yield f"{_number(counts.rejected, 'row')} could not be loaded; see the table `{REJECTED_ROWS}`"
    if counts.superseded:
        yield f"{_number(counts.superseded, 'row')}, of which the table has newer content"
    if each.absence.held:
        yield each.absence.held
    if each.outside:
        yield f"{_number(each.outside, 'course')} in none of the sub-accounts of `split_reports`, which no report updates"
    if each.suspects:
        yield f"{_number(each.suspects, 'suspect')} in the table, missing from a complete source"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
