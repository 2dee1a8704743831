"""What a user's function gets to process a custom report."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from canvas_sync_dagster.canvas.archive import open_tables
from canvas_sync_dagster.sync.flow import Log
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.reading.records import read_blocks, read_header


@dataclass(frozen=True, slots=True)
class DownloadedReport:
    """A report on disk.

    Attributes:
        path: The file that Canvas made, a CSV or a ZIP of several; it is removed when the function returns.
        name: Canvas's name of the report.
        id: Canvas's id of it.
        scope: Canvas term id, or empty for the whole account.
        started_at: How fresh its rows are, on Canvas's clock.
        parameters: All parameters of the request.
        updated_after: Since when it lists changes; None if it is complete.
    """

    path: Path
    name: str
    id: int
    scope: str
    started_at: datetime
    parameters: Mapping[str, Any]
    updated_after: datetime | None

    def frames(self, table: str | None = None, *, rows: int = 100_000) -> Iterator[pl.DataFrame]:
        """Yield the rows as text, block by block; for an empty report one frame without rows.

        Args:
            table: Name of the CSV in a ZIP; not needed if there is one only.
            rows: Maximum number of rows per frame.

        Raises:
            ReportContentError: The file is not a CSV.
        """
        name, where = table or self.name, f"{self.name} {self.id}"
        with open_tables(self.path, [name], where=where)[name]() as file:
            header, lines = read_header(file, where=where)
            head = io.StringIO(newline="")
            csv.writer(head, delimiter=header.separator, lineterminator="\n").writerow(header.names)
            first = head.getvalue().encode()
            parse = partial(pl.read_csv, infer_schema=False, separator=header.separator)
            is_empty = True
            for block in read_blocks(file, first_line=lines + 1, separator=header.separator, where=where):
                if len(block.records):
                    is_empty = False
                    yield from parse(first + b"\n".join(block.records)).iter_slices(rows)
            if is_empty:
                yield parse(first)


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Arguments of a processor, other than its report.

    Attributes:
        tenant: Slug of the tenant.
        schema: PostgreSQL schema of the tenant's tables.
        connection: In the transaction that is committed when the function returns.
        session: The tenant's Canvas and database.
        log: Takes a line for the log.
    """

    tenant: str
    schema: str
    connection: Connection
    session: Session
    log: Log
