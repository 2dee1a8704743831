"""SQL on `canvas_sync_audits`: how a random sample of each table compared with Canvas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Json

from canvas_sync_dagster.warehouse.warehouse import Warehouse

TABLE = "canvas_sync_audits"


@dataclass(frozen=True, slots=True)
class StoredAudit:
    """A row of the table.

    Attributes:
        model: Name of the model.
        audited_at: When it was audited.
        rows_compared: Rows that were compared.
        rows_that_differ: Rows that differ from Canvas.
        missing_there: Rows whose object Canvas does not have.
        objects_looked_up: Objects of Canvas that were looked up.
        missing_here: Objects that the table lacks.
        undated: Differences that may be lag.
        lagging: Differences that are lag.
        wrong_share: Share of wrong rows, as a fraction of 1; None if no row was compared.
        wrong_low: Lower end of its 95 % interval.
        wrong_high: Upper end.
        missing_share: Share of missing objects; None if none was looked up.
        missing_low: Lower end of its 95 % interval.
        missing_high: Upper end.
        differing_columns: Column → rows that differ in it.
        lag_p50_seconds: Median age of the changes that the table does not have yet; None without such changes.
        lag_p95_seconds: 95 % of them are at most so old.
        reason: Why nothing was compared; None if something was.
    """

    model: str
    audited_at: datetime
    rows_compared: int
    rows_that_differ: int
    missing_there: int
    objects_looked_up: int
    missing_here: int
    undated: int
    lagging: int
    wrong_share: float | None
    wrong_low: float | None
    wrong_high: float | None
    missing_share: float | None
    missing_low: float | None
    missing_high: float | None
    differing_columns: Mapping[str, int]
    lag_p50_seconds: float | None
    lag_p95_seconds: float | None
    reason: str | None

    @property
    def drifted(self) -> int:
        """Differences that are not lag."""
        return self.rows_that_differ + self.missing_there + self.missing_here


@dataclass(frozen=True, slots=True)
class Audits:
    """The audits of a tenant."""

    warehouse: Warehouse

    def write(self, values: Mapping[str, Any]) -> None:
        """Write one audit, in the caller's transaction.

        Args:
            values: Column → value; mappings and lists are written as JSON.
        """
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        holes = sql.SQL(", ").join(sql.Placeholder() for _ in values)
        query = sql.SQL("insert into {} ({}) values ({})").format(self.warehouse.identifier(TABLE), names, holes)
        given = [Json(value) if isinstance(value, (dict, list)) else value for value in values.values()]
        self.warehouse.connection.execute(query, given)

    def latest(self) -> dict[str, StoredAudit]:
        """Read the latest audit of each model; empty without the table, or without the right to read it.

        Returns:
            Name of the model → its latest audit.
        """
        name = self.warehouse.identifier(TABLE).as_string(self.warehouse.connection)
        readable = "select coalesce(has_table_privilege(to_regclass(%s), 'select'), false)"
        if self.warehouse.connection.execute(readable, (name,)).fetchone() != (True,):
            return {}
        columns = sql.SQL(", ").join(sql.Identifier(each.name) for each in fields(StoredAudit))
        query = sql.SQL("select distinct on (model) {} from {} order by model, id desc").format(
            columns, self.warehouse.identifier(TABLE)
        )
        with self.warehouse.connection.cursor(row_factory=class_row(StoredAudit)) as cursor:
            return {audit.model: audit for audit in cursor.execute(query).fetchall()}
