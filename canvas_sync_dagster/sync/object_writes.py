"""Answers about single objects, written to their table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from canvas_sync_dagster.sync.object_requests import Answer, Verdict
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, load_rows
from canvas_sync_dagster.warehouse.loading.row_statements import mark_deleted
from canvas_sync_dagster.warehouse.warehouse import Table


@dataclass(frozen=True, slots=True)
class Applied:
    """Effect of answers on the table.

    Attributes:
        counts: Counts of the objects that were found.
        deleted: Number of rows that were marked as deleted.
        forbidden: Number of objects that the token may not see; their rows are unchanged.
    """

    counts: LoadCounts
    deleted: int
    forbidden: int


def apply_answers(table: Table, answers: Iterable[Answer], *, keep_rejects: bool = False) -> Applied:
    """Write answers to the table in the caller's transaction; a row with a newer observation is unchanged.

    Args:
        table: Table of the objects' model.
        answers: Answers of Canvas.
        keep_rejects: Whether objects that do not fit the table go to `canvas_sync_rejected_rows`; otherwise one fails all.
    """
    model, given = table.model, list(answers)
    found = [(answer.observed_at, answer) for answer in given if answer.verdict is Verdict.FOUND and answer.observed_at]
    counts = LoadCounts()
    if found:
        source = Source("", max(at for at, _ in found), model.single or model.name, complete=False)
        rows = [{**answer.content, "observed_at": at} for at, answer in found]
        counts = load_rows(table, rows, source, timed=True, keep_rejects=keep_rejects)
    deleted = 0
    for answer in given:
        if answer.verdict is Verdict.GONE and answer.observed_at is not None:
            values = model.deleted_values if answer.gone is None else answer.gone
            deleted += mark_deleted(table, answer.row, values, answer.observed_at)
    return Applied(counts, deleted, sum(answer.verdict is Verdict.FORBIDDEN for answer in given))
