"""SQL on `canvas_sync_rejected_rows`: records that could not be loaded, with line, column, reason and raw text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from canvas_sync_dagster.warehouse.erasure import names_erased
from canvas_sync_dagster.warehouse.reading.frames import Reject
from canvas_sync_dagster.warehouse.reading.source import Source
from canvas_sync_dagster.warehouse.state.erased_objects import read_erased
from canvas_sync_dagster.warehouse.warehouse import Warehouse

OBJECT = "{}"
"""Header of a reject whose raw text is a JSON object of column → value, as a REST list gave it."""
TABLE = "canvas_sync_rejected_rows"
COLUMNS = "model, scope, report, report_id, line, column_name, reason, raw, source_observed_at, header"
TEMPORARY = sql.SQL("pg_temp.canvas_sync_rejects")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be loaded.

    Attributes:
        line: Physical line in Canvas's file.
        column: Column that it fails for; empty for the record as a whole.
        reason: For people.
        raw: The bytes of the record.
    """

    line: int
    column: str
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class KeptReject:
    """A rejected row as the table keeps it.

    Attributes:
        id: Of the row.
        header: Header of the file; `OBJECT` for a row of a REST list.
        scope: Canvas term id, or empty.
        report: Canvas's name of the report; empty if there was none.
        report_id: Of the report in Canvas.
        observed_at: Freshness of the file.
        line: Physical line in the file; 0 if there is none.
        raw: Text of the record.
    """

    id: int
    header: str
    scope: str
    report: str
    report_id: int | None
    observed_at: datetime | None
    line: int
    raw: str


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """The rejected rows of a tenant. What names an erased person is not kept."""

    warehouse: Warehouse

    def write_objects(self, model: str, source: Source, rejects: Iterable[tuple[Reject, Mapping[str, object]]]) -> None:
        """Write rejected rows of a REST list, each with its values as JSON, in the load's transaction."""
        statement = sql.SQL(
            "insert into {} (model, scope, report, column_name, reason, raw, source_observed_at, header) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s)"
        ).format(self._table)
        erased = read_erased(self.warehouse)
        for reject, row in rejects:
            raw, reason = json.dumps(row, default=str), reject.reason.replace("\0", "\\x00")
            if names_erased(raw, erased):
                continue
            values = (model, source.scope, source.report, reject.column or None, reason, raw, source.observed_at)
            self.warehouse.connection.execute(statement, (*values, OBJECT))

    def write(
        self, model: str, source: Source, *, header: Sequence[str], separator: str, rejects: Iterable[Rejected]
    ) -> None:
        """Write rejected records of a report, in the load's transaction.

        A record that text cannot hold as it is (a NUL byte, or no UTF-8) is kept in an escaped spelling and without its
        header: what was not in the file must never be loaded by a replay.

        Args:
            model: Name of the table of the report.
            source: Where the records come from.
            header: Names of their values.
            separator: Between their values.
            rejects: At least one.
        """
        erased = read_erased(self.warehouse)
        kept = (each for each in rejects if not names_erased(each.raw.decode(errors="backslashreplace"), erased))
        rows = (_row(model, source, _csv_line(header, separator), each) for each in kept)
        if not self._has_row_security():
            self._copy(self._table, rows)
            return
        # COPY into a table with row-level security is an error, INSERT is not.
        connection, columns = self.warehouse.connection, sql.SQL(COLUMNS)
        connection.execute(sql.SQL("drop table if exists {}").format(TEMPORARY))
        connection.execute(
            sql.SQL("create temporary table canvas_sync_rejects on commit drop as select {} from {} limit 0").format(
                columns, self._table
            )
        )
        self._copy(TEMPORARY, rows)
        connection.execute(
            sql.SQL("insert into {} ({}) select {} from {}").format(self._table, columns, columns, TEMPORARY)
        )

    def drop(self, model: str, reason: str) -> None:
        """Delete the rejected rows of a model that have a reason, which a complete report lists again."""
        query = sql.SQL("delete from {} where model = %s and reason = %s").format(self._table)
        self.warehouse.connection.execute(query, (model, reason))

    def take(self, model: str) -> list[KeptReject]:
        """Delete and return the rejected rows of a table of a report that can be loaded again, the oldest first."""
        query = sql.SQL(
            "with taken as (delete from {} where model = %s and header is not null returning *) "
            "select id, header, scope, coalesce(report, ''), report_id, source_observed_at, coalesce(line, 0), raw "
            "from taken order by source_observed_at, id"
        ).format(self._table)
        return [KeptReject(*row) for row in self.warehouse.connection.execute(query, (model,)).fetchall()]

    def count_by_model(self) -> dict[str, int]:
        """Count the rejected rows of each table of a report."""
        query = sql.SQL("select model, count(*) from {} group by model").format(self._table)
        return {str(model): int(count) for model, count in self.warehouse.connection.execute(query).fetchall()}

    def erase(self, names_person: Callable[[str], bool]) -> int:
        """Delete the rows whose text or reason names an erased person; return how many there were.

        Args:
            names_person: Returns whether a text names the person.
        """
        query = sql.SQL("select id, coalesce(raw, '') || ' ' || reason from {}").format(self._table)
        rows = self.warehouse.connection.execute(query).fetchall()
        ids = [int(number) for number, text in rows if names_person(text)]
        statement = sql.SQL("delete from {} where id = any(%s)").format(self._table)
        return self.warehouse.connection.execute(statement, (ids,)).rowcount

    def _copy(self, table: sql.Composable, rows: Iterable[Sequence[object]]) -> None:
        statement = sql.SQL("copy {} ({}) from stdin").format(table, sql.SQL(COLUMNS))
        with self.warehouse.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    def _has_row_security(self) -> bool:
        name = self._table.as_string(self.warehouse.connection)
        query = "select row_security_active(%s::regclass)"
        return self.warehouse.connection.execute(query, (name,)).fetchone() == (True,)

    @property
    def _table(self) -> sql.Identifier:
        return self.warehouse.identifier(TABLE)


def _row(model: str, source: Source, header: str, reject: Rejected) -> tuple[object, ...]:
    """Return the values of a reject in the order of `COLUMNS`."""
    text = reject.raw.decode("utf-8", errors="backslashreplace").replace("\0", "\\x00")
    reason = reject.reason.replace("\0", "\\x00")
    loadable = text.encode() == reject.raw
    about = (model, source.scope, source.report, source.report_id, reject.line, reject.column or None)
    return (*about, reason, text, source.observed_at, header if loadable else None)


def _csv_line(values: Sequence[str], separator: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="").writerow(values)
    return text.getvalue().replace("\0", "")
