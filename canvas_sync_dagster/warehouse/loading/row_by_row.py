"""Row by row, as the gem's legacy support: the user's function processes each row of a report, in the load's transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from canvas_sync_dagster.errors import RejectThresholdError
from canvas_sync_dagster.signatures import raised_at, required_arguments
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.erasure import owners
from canvas_sync_dagster.warehouse.loading.counts import LoadCounts, limits_for
from canvas_sync_dagster.warehouse.reading.frames import fields
from canvas_sync_dagster.warehouse.reading.keyed_blocks import Ahead
from canvas_sync_dagster.warehouse.reading.report_csv import Opener, ReportCsv
from canvas_sync_dagster.warehouse.reading.source import Source, described
from canvas_sync_dagster.warehouse.state.erased_objects import read_erased
from canvas_sync_dagster.warehouse.state.rejected_rows import Rejected, RejectedRows
from canvas_sync_dagster.warehouse.warehouse import Table

GROUP = 200
"""Rows per savepoint. A savepoint costs 220 µs and, if the function writes, one of PostgreSQL's subtransactions: with one
per row, 3 million of them slow down every reader of the cluster. After a failure, at most so many rows are repeated."""


def load_row_by_row(
    table: Table,
    open_file: Opener,
    source: Source,
    function: Callable[..., object],
) -> LoadCounts:
    """Pass each row, header → text, to a function; a row for which it raises is rejected.

    A function that takes a second argument gets the connection; what it writes by it for a row that it raises for is
    undone, and the rest is committed with the load: a group of rows has one savepoint, and if the function raises for one
    of them, all rows of the group are undone and passed to it again, each with a savepoint of its own. Rows count as
    updated, or as skipped where it returned False.

    Args:
        table: Table of the model that the rows are of; nothing is written to it but by the function.
        open_file: Opens the CSV; may be called again.
        source: Where it comes from.
        function: The user's: takes a row, and the connection if it has a second parameter.

    Raises:
        RejectThresholdError: The function raised for too many rows.
    """
    start = time.perf_counter()
    file = ReportCsv.open(open_file, table.model, source)
    counts = LoadCounts(header=file.match)
    process = _in_groups(function, table.connection)
    erased = _erased_values(table, file)
    for block in (found.block for found in Ahead(file.blocks())):
        outcome = _Outcome(without_values=bool(table.model.protected))
        rows = []
        for line, record in zip(block.lines, block.records, strict=True):
            try:
                values = fields(record, file.layout.separator)
                row = dict(zip(file.match.header, values, strict=True))
            except Exception as error:
                outcome.reject(line, record, error)
                continue
            if any(values[at] in ids for at, ids in erased.items()):
                outcome.done, outcome.skipped = outcome.done + 1, outcome.skipped + 1
            else:
                rows.append(_Row(line, record, row))
        process(rows, outcome)
        if outcome.rejects:
            header, separator = file.match.header, file.layout.separator
            rejects = sorted(outcome.rejects, key=lambda rejected: rejected.line)
            RejectedRows(table.warehouse).write(
                table.model, source, header=header, separator=separator, rejects=rejects
            )
        counts = replace(
            counts,
            rows_in_report=counts.rows_in_report + len(block.records),
            updated=counts.updated + outcome.done - outcome.skipped,
            skipped=counts.skipped + outcome.skipped,
            rejected=counts.rejected + len(outcome.rejects),
        )
    if limits_for(complete=source.complete).are_exceeded(counts):
        raise RejectThresholdError(
            f"{described(table.model.name, source)}: the function failed for {counts.rejected} of {counts.rows_in_report} rows. "
            "Nothing was published."
        )
    return replace(counts, seconds={"rows": time.perf_counter() - start})


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    record: bytes
    values: dict[str, str]


@dataclass(slots=True)
class _Outcome:
    """What became of the rows of a block.

    Attributes:
        without_values: Whether reasons must not quote values, because the model has protected columns.
        done: Rows that the function has processed.
        skipped: Of those, rows for which it returned False.
        rejects: Rows for which it raised.
    """

    without_values: bool = False
    done: int = 0
    skipped: int = 0
    rejects: list[Rejected] = field(default_factory=list)

    def reject(self, line: int, record: bytes, error: Exception) -> None:
        name = f"{type(error).__name__}{raised_at(error)}"
        reason = name if self.without_values else f"{name}: {error}"
        self.rejects.append(Rejected(line, "", reason, record))


Process = Callable[[Sequence[_Row], _Outcome], None]


def _in_groups(function: Callable[..., object], connection: Connection) -> Process:
    """Return what passes rows to the function. One that requires the connection gets it, in savepoints."""
    if required_arguments(function) < 2:
        return partial(_one_by_one, function)

    def within(row: Mapping[str, str]) -> object:
        with connection.transaction():
            return function(row, connection)

    def process(rows: Sequence[_Row], outcome: _Outcome) -> None:
        for start in range(0, len(rows), GROUP):
            group = rows[start : start + GROUP]
            try:
                with connection.transaction():
                    skipped = sum(function(dict(row.values), connection) is False for row in group)
            except Exception:
                if connection.closed:
                    raise
                _one_by_one(within, group, outcome)
            else:
                outcome.done, outcome.skipped = outcome.done + len(group), outcome.skipped + skipped

    return process


def _one_by_one(function: Callable[[dict[str, str]], object], rows: Sequence[_Row], outcome: _Outcome) -> None:
    for row in rows:
        try:
            outcome.skipped += function(row.values) is False
            outcome.done += 1
        except Exception as error:
            outcome.reject(row.line, row.record, error)


def _erased_values(table: Table, file: ReportCsv) -> dict[int, set[str]]:
    """Return the positions in a record of ids that it belongs to, each with the ids that were erased."""
    erased, positions = read_erased(table.warehouse), file.match.positions
    return {
        positions[name]: set(map(str, erased[parent]))
        for name, parent in owners(table.model).items()
        if parent in erased and name in positions
    }
