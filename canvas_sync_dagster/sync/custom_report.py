"""Reports of the user's own: asked of Canvas like any other, and given to the user's function in one transaction."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from canvas_sync_dagster.canvas.archive import open_tables
from canvas_sync_dagster.canvas.reports import ReportDriver, ReportFile
from canvas_sync_dagster.catalogue.parameters import digest
from canvas_sync_dagster.sync.downloads import download_directory
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.own import CustomReport
from canvas_sync_dagster.sync.policy import Decision, decide
from canvas_sync_dagster.sync.report_sync import Tell, limits, marks_of
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.reading.records import read_blocks, read_header
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.ledger import ReportLedger, mark_loaded
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks


@dataclass(frozen=True, slots=True)
class DownloadedReport:
    """A report on disk.

    Attributes:
        path: The file as Canvas gave it, a CSV or a ZIP of several; gone when the function returns.
        name: Canvas's name of the report.
        id: Canvas's id of it.
        scope: Canvas term id, or empty.
        started_at: How fresh its rows are, on Canvas's clock.
        parameters: What was asked.
        updated_after: Since when; None if it is complete.
    """

    path: Path
    name: str
    id: int
    scope: str
    started_at: datetime
    parameters: Mapping[str, Any]
    updated_after: datetime | None

    def frames(self, table: str | None = None, *, rows: int = 100_000) -> Iterator[pl.DataFrame]:
        """Yields the rows as text, reading the file as it goes; of an empty report one frame without rows.

        Args:
            table: Which CSV of a ZIP; the only one if not given.
            rows: At most, per frame.

        Raises:
            ReportContentError: The file is no CSV.
        """
        name, where = table or self.name, f"{self.name} {self.id}"
        with open_tables(self.path, [name], where=where)[name]() as file:
            header, lines = read_header(file, where=where)
            head = io.StringIO(newline="")
            csv.writer(head, delimiter=header.separator, lineterminator="\n").writerow(header.names)
            first = head.getvalue().encode()
            parse = partial(pl.read_csv, infer_schema=False, separator=header.separator)
            nothing = True
            for block in read_blocks(file, first_line=lines + 1, separator=header.separator, where=where):
                if len(block.records):
                    nothing = False
                    yield from parse(first + b"\n".join(block.records)).iter_slices(rows)
            if nothing:
                yield parse(first)


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a processor works with.

    Attributes:
        tenant: Whose report it is.
        schema: Where the tenant's tables are.
        connection: In the transaction that is committed when the function returns.
        session: The tenant's Canvas and database.
        tell: Takes a line for the log.
    """

    tenant: str
    schema: str
    connection: Connection
    session: Session
    tell: Tell


@dataclass(frozen=True, slots=True)
class CustomOutcome:
    """What a custom report did."""

    report_id: int
    observed_at: datetime
    decision: Decision
    waited: float
    seconds: float
    returned: object


def sync_custom_report(
    session: Session, report: CustomReport, scope: str, options: SyncOptions, *, tell: Tell
) -> CustomOutcome:
    """Runs a report and has the user's function process it; its changes and the watermark are committed together.

    Raises:
        CanvasSyncError: Canvas or the database failed.
        Exception: Whatever the function raised; nothing was committed.
    """
    prepare_schema(session.database_url, session.schema, session.models, ())
    tenant, url, schema = options.over(session.tenant), session.database_url, session.schema
    mark_name = f"report:{report.asset or report.name}"
    with session.warehouse("reading watermarks") as warehouse:
        known = Watermarks(warehouse).read([mark_name], scope).get(mark_name)
    decision = decide(
        now=options.started_at,
        marks=marks_of([known], digest(report.parameters)),
        takes_updated_after=report.takes_updated_after,
        mode=options.mode,
        updated_after=tenant.updated_after,
        full_sync_every=tenant.rhythm,
        timezone=tenant.time_zone,
        batch_id=options.batch_id,
    )
    parameters = _parameters(report, scope, decision)
    with (
        journaled(session, report.name, {"scope": scope, "mode": decision.mode}, options.run_id) as job,
        download_directory(session.home, session.tenant.slug) as directory,
    ):
        start = time.perf_counter()
        driver = ReportDriver(
            session.canvas, ReportLedger(url, schema, session.canvas.account_id), limits(tenant), tell=tell
        )
        file = driver.obtain(report.name, parameters, directory)
        waited = time.perf_counter() - start
        with session.warehouse(f"processing {report.name}") as warehouse:
            watermarks = Watermarks(warehouse)
            watermarks.lock([mark_name], scope)
            context = ReportContext(session.tenant.slug, schema, warehouse.connection, session, tell)
            returned = report.processor(_downloaded(report, file, scope, parameters, decision), context)
            watermarks.advance(
                mark_name,
                scope,
                observed_at=file.observed_at,
                complete=decision.updated_after is None,
                report_id=file.status.id,
                started_at=options.started_at,
                parameters=digest(report.parameters),
            )
            mark_loaded(warehouse, file.entry)
            job.succeed(
                warehouse, {"report_id": file.status.id, "mode": decision.mode, "returned": repr(returned)[:500]}
            )
    seconds = time.perf_counter() - start - waited
    return CustomOutcome(file.status.id, file.observed_at, decision, waited, seconds, returned)


def _parameters(report: CustomReport, scope: str, decision: Decision) -> dict[str, Any]:
    parameters = dict(report.parameters)
    if scope:
        parameters["enrollment_term_id"] = scope
    if decision.updated_after is not None:
        parameters["updated_after"] = decision.updated_after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return parameters


def _downloaded(
    report: CustomReport, file: ReportFile, scope: str, parameters: Mapping[str, Any], decision: Decision
) -> DownloadedReport:
    return DownloadedReport(
        file.path, report.name, file.status.id, scope, file.observed_at, parameters, decision.updated_after
    )
