"""SQL on `canvas_sync_reports`, the ledger of requested reports: a re-run adopts a report that Canvas still compiles.

Each entry is committed on its own, before and after the step that it records: a process that dies between the request
and the answer leaves an entry without Canvas's id, and the next process knows to look for the report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import sql

from canvas_sync_dagster.catalogue.parameters import Parameters
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.warehouse import Warehouse

TABLE = "canvas_sync_reports"
ALIVE = ("requested", "started", "complete")
"""States of a report that may still be loaded."""


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """One try at one report.

    Attributes:
        id: Of the entry.
        canvas_report_id: Of the report in Canvas; None while the answer to the request is unknown.
        state: requested, started, complete, loaded or failed.
        tries: Which try it is, from 1.
        first_requested_at: When the first of these tries began, on our clock.
        requested_at: When this one began, on our clock.
        canvas_requested_at: The same on Canvas's clock.
        running_since: When it was first seen running, on our clock.
        completed_at: When it was first seen complete, on our clock.
    """

    id: int
    canvas_report_id: int | None
    state: str
    tries: int
    first_requested_at: datetime
    requested_at: datetime
    canvas_requested_at: datetime
    running_since: datetime | None = None
    completed_at: datetime | None = None


class ReportLedger:
    """The table `canvas_sync_reports` of one tenant.

    Args:
        url: The database.
        schema: The tenant's schema.
        account: Canvas account of the reports, as part of a report's identity.
        connections: Connections that are open already.
    """

    def __init__(self, url: str, schema: str, account: str, connections: KeptConnections | None = None) -> None:
        self._connections = connections or KeptConnections(per_database=2)
        self._url = url
        self._schema = schema
        self._account = account
        self._table = sql.Identifier(schema, TABLE)

    def fingerprint(self, report: str, parameters: Parameters) -> str:
        """Return a digest of what makes two requests the same."""
        identity = json.dumps([self._account, report, sorted(parameters.items())], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()

    @contextmanager
    def lock(self, report: str, parameters: Parameters) -> Iterator[None]:
        """Allow one process at a time to find or start a report; the lock ends with its transaction, so with the process."""
        with self._connection("waiting to start a report") as connection:
            Warehouse(connection, self._schema).lock("report", self.fingerprint(report, parameters))
            yield

    def find_alive(self, report: str, parameters: Parameters) -> ReportEntry | None:
        """Return the newest try of a report if it has neither failed nor been loaded."""
        query = sql.SQL(
            "select id, canvas_report_id, state, tries, first_requested_at, requested_at, canvas_requested_at, "
            "running_since, completed_at from {} where fingerprint = %s order by id desc limit 1"
        ).format(self._table)
        with self._connection("reading the ledger of reports") as connection:
            row = connection.execute(query, (self.fingerprint(report, parameters),)).fetchone()
        entry = ReportEntry(*row) if row else None
        return entry if entry and entry.state in ALIVE else None

    def known_canvas_ids(self, report: str) -> set[int]:
        """Return Canvas's ids of all recorded tries at a report."""
        query = sql.SQL("select canvas_report_id from {} where report = %s and canvas_report_id is not null")
        with self._connection("reading the ledger of reports") as connection:
            return {int(row[0]) for row in connection.execute(query.format(self._table), (report,)).fetchall()}

    def open(
        self,
        report: str,
        parameters: Parameters,
        *,
        tries: int,
        first_requested_at: datetime,
        requested_at: datetime,
        canvas_requested_at: datetime,
    ) -> ReportEntry:
        """Record that a report is about to be requested."""
        query = sql.SQL(
            "insert into {} (report, parameters, fingerprint, state, tries, first_requested_at, requested_at, "
            "canvas_requested_at) values (%s, %s, %s, 'requested', %s, %s, %s, %s) returning id"
        ).format(self._table)
        values: tuple[Any, ...] = (
            report,
            json.dumps(dict(parameters)),
            self.fingerprint(report, parameters),
            tries,
            first_requested_at,
            requested_at,
            canvas_requested_at,
        )
        with self._connection("writing the ledger of reports") as connection:
            row = connection.execute(query, values).fetchone()
        assert row is not None  # noqa: S101 (returning always returns)
        return ReportEntry(int(row[0]), None, "requested", tries, first_requested_at, requested_at, canvas_requested_at)

    def started(self, entry: ReportEntry, canvas_report_id: int) -> ReportEntry:
        """Record Canvas's id of a report."""
        return self._change(entry, canvas_report_id=canvas_report_id, state="started")

    def seen_running(self, entry: ReportEntry, at: datetime) -> ReportEntry:
        """Record since when a report is known to be running."""
        return self._change(entry, running_since=at)

    def seen_complete(self, entry: ReportEntry, at: datetime, started_at: datetime | None) -> ReportEntry:
        """Record that a report can be downloaded."""
        changed = self._change(entry, completed_at=at, state="complete")
        self._update(entry.id, canvas_started_at=started_at)
        return changed

    def failed(self, entry: ReportEntry, reason: str) -> None:
        """Record that a try failed."""
        self.reject(entry.id, reason)

    def reject(self, entry: int, reason: str) -> None:
        """Record that the file of a report cannot be loaded, by the id of its entry."""
        self._update(entry, state="failed", failure=reason[:2000].replace("\0", ""))

    def _change(self, entry: ReportEntry, **values: Any) -> ReportEntry:
        self._update(entry.id, **values)
        return replace(entry, **values)

    def _update(self, entry: int, **values: Any) -> None:
        with self._connection("writing the ledger of reports") as connection:
            _update(connection, self._table, entry, values)

    def _connection(self, doing: str) -> AbstractContextManager[Connection]:
        # A separate transaction for each step: polling takes hours, through restarts of the server, and a report that was
        # awaited for hours must not be lost.
        return self._connections.transaction(self._url, doing, patient=True)


def mark_loaded(warehouse: Warehouse, entry: int) -> None:
    """Record that a report's rows are published, in the transaction that publishes them."""
    _update(warehouse.connection, warehouse.identifier(TABLE), entry, {"state": "loaded"})


def _update(connection: Connection, table: sql.Identifier, entry: int, values: Mapping[str, Any]) -> None:
    assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
    query = sql.SQL("update {} set {}, updated_at = clock_timestamp() where id = %s").format(table, assignments)
    connection.execute(query, (*values.values(), entry))
