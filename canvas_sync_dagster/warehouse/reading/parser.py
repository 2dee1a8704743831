"""Parses the records of a block into a frame of typed values and rejects; pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import polars as pl

from canvas_sync_dagster.warehouse.erasure import without_erased
from canvas_sync_dagster.warehouse.reading.column_limits import within_limits
from canvas_sync_dagster.warehouse.reading.frames import ROW, Reject, nothing, parse
from canvas_sync_dagster.warehouse.reading.keyed_blocks import DIGEST, LINE, RECORD, KeyedBlock, winners
from canvas_sync_dagster.warehouse.reading.protection import protected_frame
from canvas_sync_dagster.warehouse.reading.report_csv import ReportCsv
from canvas_sync_dagster.warehouse.reading.user_transforms import raw, through_functions
from canvas_sync_dagster.warehouse.state.erased_objects import Erased

COLUMN, REASON, MESSAGE = "_column", "_reason", "_message"
"""Columns of rejects in addition to line and record: the column that a record fails for, why, and why without any value."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the records of a block became.

    Attributes:
        frame: One row per key: typed columns and `row_hash`.
        rejects: One row per rejected record: `_line`, `_column` (empty for the whole record), `_reason`,
            `_message` (the reason without any value), `_record`.
        duplicates: Valid records whose key another record speaks for.
        skipped: Records that a function of the mapping left out, or that are about an erased person.
        erased: Canvas ids of the rows that are about an erased person.
    """

    frame: pl.DataFrame
    rejects: pl.DataFrame
    duplicates: int
    skipped: int
    erased: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Parser:
    """Parses blocks of one report for one table.

    Attributes:
        file: The report, whose model and layout decide what a record becomes.
        types: Column of the table → its real type, as PostgreSQL spells it.
        required: Columns of the table that take no null.
        erased: Ids of erased people, whose rows are left out.
    """

    file: ReportCsv
    types: Mapping[str, str]
    required: Set[str] = frozenset()
    erased: Erased = field(default_factory=dict)

    def parsed(self, block: KeyedBlock) -> Parsed:
        """Parse a block that holds all records of its keys.

        Args:
            block: May be empty.
        """
        layout, model = self.file.layout, self.file.model
        frame, rejects = parse(block.records, raw(layout), block.data) if len(block) else (nothing(raw(layout)), [])
        frame, rejects = self._without_empty_keys(frame, rejects)
        skipped = 0
        if model.functions:
            frame, failed, skipped = through_functions(
                frame, block.records, self.file.match.header, layout.separator, model
            )
            frame, rejects = self._without_empty_keys(frame, rejects + failed)
        frame = protected_frame(frame, model)
        frame, beyond = within_limits(frame, self.types, self.required)
        kept, ids = without_erased(frame, model, self.erased) if self.erased else (frame, [])
        skipped, frame = skipped + frame.height - kept.height, kept
        digests = block.frame.get_column(DIGEST).gather(frame.get_column(ROW))
        valid = frame.drop(ROW).with_columns(digests)
        chosen = winners(valid, model.key, self.file.seed)
        located = _located(rejects + beyond, block, without_values=bool(model.protected))
        return Parsed(chosen, located, valid.height - chosen.height, skipped, tuple(ids))

    def _without_empty_keys(self, frame: pl.DataFrame, rejects: list[Reject]) -> tuple[pl.DataFrame, list[Reject]]:
        for name in self.file.model.key:
            empty = frame.filter(pl.col(name).is_null()).get_column(ROW)
            if len(empty):
                rejects = rejects + [Reject(int(row), name, "the key is empty", "the key is empty") for row in empty]
                frame = frame.filter(pl.col(name).is_not_null())
        return frame, rejects


def _located(rejects: list[Reject], block: KeyedBlock, *, without_values: bool) -> pl.DataFrame:
    """Return rejects with the line and the bytes of their records.

    Args:
        rejects: Of the block.
        block: With their records.
        without_values: Whether reasons must not quote values, because the model has protected columns.
    """
    places = block.frame.select(LINE, RECORD)[[reject.row for reject in rejects]]
    return places.with_columns(
        pl.Series(COLUMN, [reject.column for reject in rejects], dtype=pl.String),
        pl.Series(
            REASON, [reject.in_messages if without_values else reject.reason for reject in rejects], dtype=pl.String
        ),
        pl.Series(MESSAGE, [reject.in_messages for reject in rejects], dtype=pl.String),
    )
