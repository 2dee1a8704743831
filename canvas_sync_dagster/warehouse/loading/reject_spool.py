"""Holds the rejects of a load until its end, in a temporary file: there may be millions, if a report is broken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import polars as pl

from canvas_sync_dagster.warehouse.loading.target import Target
from canvas_sync_dagster.warehouse.reading.key_ranges import Spill
from canvas_sync_dagster.warehouse.reading.keyed_blocks import LINE, RECORD
from canvas_sync_dagster.warehouse.reading.parser import COLUMN, MESSAGE, REASON
from canvas_sync_dagster.warehouse.reading.report_csv import ReportCsv
from canvas_sync_dagster.warehouse.reading.source import Source
from canvas_sync_dagster.warehouse.state.rejected_rows import Rejected, RejectedRows


class RejectSpool:
    """Rejects of one load.

    Args:
        scratch: Directory for the temporary file; None for the system's.

    Attributes:
        first: The first reject, for a message: line, column, and reason without any value.
    """

    def __init__(self, scratch: Path | None = None) -> None:
        self._scratch = scratch
        self._spill: Spill | None = None
        self.first = ""

    def __enter__(self) -> RejectSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()

    def take(self, rejects: pl.DataFrame) -> None:
        """Add rejects.

        Args:
            rejects: Rows as `Parsed.rejects` has them.
        """
        if rejects.is_empty():
            return
        self._spill = self._spill or Spill(self._scratch)
        self._spill.add(0, rejects)
        if not self.first:
            each = rejects.row(0, named=True)
            self.first = f"line {each[LINE]}, {each[COLUMN] or 'the record'}: {each[MESSAGE]}"

    def discard(self) -> None:
        """Forget everything that was taken."""
        if self._spill is not None:
            self._spill.close()
        self._spill, self.first = None, ""

    def write(self, target: Target, file: ReportCsv, source: Source) -> None:
        """Write the rejects to their table, in the load's transaction.

        Args:
            target: The table that they could not be loaded into.
            file: The report that they are from.
            source: Where it comes from.
        """
        if self._spill is not None:
            RejectedRows(target.table.warehouse).write(
                file.model,
                source,
                header=file.match.header,
                separator=file.layout.separator,
                rejects=self._rejected(self._spill, source),
            )

    @staticmethod
    def _rejected(spill: Spill, source: Source) -> Iterator[Rejected]:
        for frame in spill.frames(0):
            for line, column, reason, record in frame.select(LINE, COLUMN, REASON, RECORD).iter_rows():
                yield Rejected(source.lines.get(line, line), column, reason, record)
