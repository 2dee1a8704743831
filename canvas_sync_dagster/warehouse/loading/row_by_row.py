"""Row by row, as the gem's legacy support: the user's function processes each row of a report, in the load's transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from canvas_sync_dagster.errors import RejectThresholdError
from canvas_sync_dagster.signatures import required_arguments
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.erasure import owners
from canvas_sync_dagster.warehouse.loading.counts import REJECT_LIMITS, LoadCounts
from canvas_sync_dagster.warehouse.reading.frames import fields
from canvas_sync_dagster.warehouse.reading.keyed_blocks import Ahead
from canvas_sync_dagster.warehouse.reading.report_csv import Opener, ReportCsv
from canvas_sync_dagster.warehouse.reading.source import Source, described
from canvas_sync_dagster.warehouse.state.erased_objects import read_erased
from canvas_sync_dagster.warehouse.state.rejected_rows import Rejected, RejectedRows
from canvas_sync_dagster.warehouse.warehouse import Table


def load_row_by_row(
    table: Table,
    open_file: Opener,
    source: Source,
    function: Callable[..., object],
) -> LoadCounts:
    """Pass each row, header → text, to a function; a row for which it raises is rejected.

    A function that takes a second argument gets the connection; what it writes by it for a row that it raises for is
    undone, and the rest is committed with the load. Rows count as updated, or as skipped where it returned False.

    Args:
        table: Table of the model that the rows are of; nothing is written to it but by the function.
        open_file: Opens the CSV; may be called again.
        source: Where it comes from.
        function: The user's: takes a row, and the connection if it has a second parameter.

    Raises:
        RejectThresholdError: The function raised for too many rows.
    """
    start = time.perf_counter()
    process = _within(function, table.connection)
    file = ReportCsv.open(open_file, table.model, source)
    counts = LoadCounts(header=file.match)
    erased = _erased_values(table, file)
    for block in (found.block for found in Ahead(file.blocks())):
        rejects: list[Rejected] = []
        done = skipped = 0
        for line, record in zip(block.lines, block.records, strict=True):
            try:
                values = fields(record, file.layout.separator)
                row = dict(zip(file.match.header, values, strict=True))
                if any(values[at] in ids for at, ids in erased.items()):
                    done, skipped = done + 1, skipped + 1
                    continue
                skipped += process(row) is False
                done += 1
            except Exception as error:
                rejects.append(Rejected(line, "", f"{type(error).__name__}: {error}", record))
        if rejects:
            header, separator = file.match.header, file.layout.separator
            RejectedRows(table.warehouse).write(
                table.model.name, source, header=header, separator=separator, rejects=rejects
            )
        counts = replace(
            counts,
            rows_in_report=counts.rows_in_report + len(block.records),
            updated=counts.updated + done - skipped,
            skipped=counts.skipped + skipped,
            rejected=counts.rejected + len(rejects),
        )
    if REJECT_LIMITS.are_exceeded(counts.rejected, counts.rows_in_report):
        raise RejectThresholdError(
            f"{described(table.model.name, source)}: the function failed for {counts.rejected} of {counts.rows_in_report} rows. "
            "Nothing was published."
        )
    return replace(counts, seconds={"rows": time.perf_counter() - start})


def _within(function: Callable[..., object], connection: Connection) -> Callable[[Mapping[str, Any]], object]:
    """Return the function of a row. One that requires the connection gets it, with a savepoint for each row."""
    if required_arguments(function) < 2:
        return function

    def within(row: Mapping[str, Any]) -> object:
        with connection.transaction():
            return function(row, connection)

    return within


def _erased_values(table: Table, file: ReportCsv) -> dict[int, set[str]]:
    """Return the positions in a record of ids that it belongs to, each with the ids that were erased."""
    erased, positions = read_erased(table.warehouse), file.match.positions
    return {
        positions[name]: set(map(str, erased[parent]))
        for name, parent in owners(table.model).items()
        if parent in erased and name in positions
    }
