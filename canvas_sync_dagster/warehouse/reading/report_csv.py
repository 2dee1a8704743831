"""A report's CSV whose header is understood: its layout, and its records as blocks with digests and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from canvas_sync_dagster.catalogue import Column, ColumnType, HeaderMatch, Model, match_header
from canvas_sync_dagster.warehouse.reading.digest import salt
from canvas_sync_dagster.warehouse.reading.frames import Layout
from canvas_sync_dagster.warehouse.reading.keyed_blocks import (
    PREFER,
    DigestedBlock,
    KeyedBlock,
    digested,
    keyed,
)
from canvas_sync_dagster.warehouse.reading.records import Block, read_blocks, read_header
from canvas_sync_dagster.warehouse.reading.source import Source, described

Opener = Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class ReportCsv:
    """A CSV whose header is understood.

    Attributes:
        open_file: Opens it; may be called again.
        model: What its records are.
        match: How its header matched.
        layout: Where it holds what.
        seed: Of its digests.
        first_line: Physical line of the first record behind the header.
        batch_rows: Records per block, at most.
        where: What file it is, for messages.
    """

    open_file: Opener
    model: Model
    match: HeaderMatch
    layout: Layout
    seed: int
    first_line: int
    batch_rows: int | None = None
    where: str = "the file"

    @classmethod
    def open(
        cls, open_file: Opener, model: Model, source: Source, prefer: str | None = None, batch_rows: int | None = None
    ) -> ReportCsv:
        """Read the header.

        Args:
            open_file: Opens the CSV; may be called again.
            model: What its records are.
            source: Where it comes from, for messages.
            prefer: Header that decides between records of one key.
            batch_rows: Records per block, at most.

        Raises:
            HeaderContractError: The key's column is missing.
            ReportContentError: There is no header.
        """
        where = described(model.name, source)
        with open_file() as file:
            head, lines = read_header(file, where=where)
        wanted = {column.name: column.report for column in model.report_columns()}
        optional = {column.name for column in model.columns if column.optional}
        match = match_header(
            head.names, wanted, required=model.key, ignored=model.ignored, optional=optional, where=where
        )
        columns = [(column, match.positions[column.name]) for column in model.columns if column.name in match.positions]
        preferred = match_header(head.names, {PREFER: (prefer or "",)}, required=(), where=where).positions
        columns += [(Column(PREFER, ColumnType.TEXT), index) for index in preferred.values() if prefer]
        layout = Layout(len(head.names), head.separator, tuple(columns))
        return cls(open_file, model, match, layout, salt(model, match, prefer), lines + 1, batch_rows, where)

    @property
    def loaded(self) -> list[Column]:
        """Columns of the table that the file fills."""
        return [column for column, _ in self.layout.columns if column.name != PREFER]

    @property
    def prefers(self) -> bool:
        """Whether a column decides between records of one key."""
        return any(column.name == PREFER for column, _ in self.layout.columns)

    def keyed(self, found: DigestedBlock) -> KeyedBlock:
        """Read the keys of a block."""
        return keyed(found, self.layout, [self.model[name] for name in self.model.key])

    def blocks(self) -> Iterator[DigestedBlock]:
        """Yield all records, digested; no key is read."""
        with self.open_file() as file:
            read_header(file, where=self.where)
            blocks = read_blocks(
                file,
                first_line=self.first_line,
                separator=self.layout.separator,
                width=self.layout.width,
                where=self.where,
            )
            for block in _limited(blocks, self.batch_rows):
                yield digested(block, self.seed)


def _limited(blocks: Iterator[Block], rows: int | None) -> Iterator[Block]:
    """Cut blocks to at most so many records."""
    for block in blocks:
        if rows is None or len(block.records) <= rows:
            yield block
        else:
            for start in range(0, len(block.records), rows):
                yield Block(block.records[start : start + rows], block.lines[start : start + rows], None)
