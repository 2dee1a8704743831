"""SQL on `canvas_sync_rejected_rows`: records that could not be loaded, with line, column, reason and raw text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.warehouse.erasure import names_erased
from canvas_sync_dagster.warehouse.reading.frames import Reject
from canvas_sync_dagster.warehouse.reading.protection import protected_record, protected_row
from canvas_sync_dagster.warehouse.reading.source import Source
from canvas_sync_dagster.warehouse.state.erased_objects import read_erased
from canvas_sync_dagster.warehouse.warehouse import Warehouse

OBJECT = "{}"
"""Header of a reject whose raw text is a JSON object of column → value, as a REST list gave it."""
TABLE = "canvas_sync_rejected_rows"
COLUMNS = "model, scope, report, report_id, line, column_name, reason, raw, source_observed_at, header"
WITHHELD = "the record is not kept: it cannot be divided into values, some of which the tenant excludes or hashes"
NEW = sql.SQL("pg_temp.canvas_sync_new_rejects")
"""Rejects of a load, before they are compared with those of earlier loads."""
TAKEN = sql.SQL("pg_temp.canvas_sync_taken_rejects")
"""Rejects that a replay has taken."""
NUMBERED = sql.SQL(
    "(select id, record, row_number() over (partition by record order by id) as nth from "
    "(select id, md5(row(model, scope, report, header, raw)::text) as record from {} {}) r)"
)
"""Rejects, each with what is equal if the same record of the same report is rejected again, and a number: a file may have
several equal records."""
SAME = sql.SQL("(o.record, o.nth) = (n.record, n.nth)")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be loaded.

    Attributes:
        line: Physical line in Canvas's file.
        column: Column that it fails for; empty for the record as a whole.
        reason: For people.
        raw: The bytes of the record; None if they are not kept.
    """

    line: int
    column: str
    reason: str
    raw: bytes | None


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

    def write_objects(
        self, model: Model, source: Source, rejects: Iterable[tuple[Reject, Mapping[str, object]]]
    ) -> None:
        """Write rejected rows of a REST list, each with its values as JSON, in the load's transaction."""

        def rows() -> Iterator[Sequence[object]]:
            for reject, row in rejects:
                raw = json.dumps(protected_row(model, row), default=str)
                reason = (reject.in_messages if model.protected else reject.reason).replace("\0", "\\x00")
                if not names_erased(raw, erased):
                    about = (model.name, source.scope, source.report, None, None, reject.column or None)
                    yield (*about, reason, raw, source.observed_at, OBJECT)

        erased = read_erased(self.warehouse)
        self._write(model.name, source, rows())

    def write(
        self, model: Model, source: Source, *, header: Sequence[str], separator: str, rejects: Iterable[Rejected]
    ) -> None:
        """Write rejected records of a report, in the load's transaction.

        A record that is in the table already is not written again: its row gets the new reason and place, the time of
        this sighting, and their number.

        A record that text cannot hold as it is (a NUL byte, or no UTF-8) is kept in an escaped spelling and without its
        header: what was not in the file must never be loaded by a replay.

        Protected values are left out or hashed. Of a record in which they cannot be found, nothing but its line is kept.

        Args:
            model: Model of the table of the report.
            source: Where the records come from.
            header: Names of their values.
            separator: Between their values.
            rejects: At least one.
        """
        erased = read_erased(self.warehouse)
        kept = (
            each
            for each in rejects
            if each.raw is None or not names_erased(each.raw.decode(errors="backslashreplace"), erased)
        )
        rows = (
            _row(model, source, _csv_line(header, separator), _protected(model, header, separator, each))
            for each in kept
        )
        self._write(model.name, source, rows)

    def drop_unseen(self, model: str, reason: str) -> None:
        """Delete the rejected rows of a model that have a reason and that the load of this transaction has not seen."""
        query = sql.SQL("delete from {} where model = %s and reason = %s and last_seen_at <> now()").format(self._table)
        self.warehouse.connection.execute(query, (model, reason))

    def take(self, model: str) -> list[KeptReject]:
        """Delete and return the rejected rows of a table of a report that can be loaded again, the oldest first."""
        connection = self.warehouse.connection
        self._create(TAKEN)
        statement = sql.SQL(
            "with taken as (delete from {} where model = %s and header is not null returning *) "
            "insert into {} select * from taken"
        ).format(self._table, TAKEN)
        connection.execute(statement, (model,))
        query = sql.SQL(
            "select id, header, scope, coalesce(report, ''), report_id, source_observed_at, coalesce(line, 0), raw "
            "from {} order by source_observed_at, id"
        ).format(TAKEN)
        return [KeptReject(*row) for row in connection.execute(query).fetchall()]

    def restore_sightings(self, model: str) -> None:
        """Give the rows that a replay has taken and rejected again their sightings back."""
        statement = sql.SQL(
            "update {table} r set created_at = t.created_at, last_seen_at = t.last_seen_at, sightings = t.sightings "
            "from {taken} t, {before} o, {written} n where {same} and t.id = o.id and r.id = n.id"
        ).format(
            table=self._table,
            taken=TAKEN,
            before=NUMBERED.format(TAKEN, sql.SQL("")),
            written=NUMBERED.format(self._table, sql.SQL("where model = {} and created_at = now()").format(model)),
            same=SAME,
        )
        connection = self.warehouse.connection
        connection.execute("set local enable_nestloop = off")
        connection.execute(statement)
        connection.execute("set local enable_nestloop = on")

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

    def _write(self, model: str, source: Source, rows: Iterable[Sequence[object]]) -> None:
        """Record one more sighting of the rows that are in the table, and insert the others.

        Args:
            model: Of the rows.
            source: Of the rows.
            rows: Values in the order of `COLUMNS`.
        """
        connection, columns = self.warehouse.connection, sql.SQL(COLUMNS)
        self._create(NEW)
        statement = sql.SQL("copy {} ({}) from stdin").format(NEW, columns)
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
        where = sql.SQL("where model = {} and scope = {}").format(model, source.scope)
        # Without statistics the planner expects one row, and would compare each record with every other one.
        connection.execute("set local enable_nestloop = off")
        connection.execute(
            sql.SQL(
                "with seen as (update {table} r set report_id = s.report_id, line = s.line, column_name = s.column_name, "
                "reason = s.reason, source_observed_at = greatest(r.source_observed_at, s.source_observed_at), "
                "last_seen_at = now(), sightings = r.sightings + 1 "
                "from {earlier} o, {numbered} n, {new} s where {same} and r.id = o.id and s.id = n.id returning s.id) "
                "insert into {table} ({columns}) select {columns} from {new} s "
                "where not exists (select from seen where seen.id = s.id) order by s.id"
            ).format(
                table=self._table,
                earlier=NUMBERED.format(self._table, where),
                numbered=NUMBERED.format(NEW, sql.SQL("")),
                new=NEW,
                same=SAME,
                columns=columns,
            )
        )
        connection.execute("set local enable_nestloop = on")

    def _create(self, name: sql.SQL) -> None:
        """Create an empty temporary table of the shape of the table, with ids of its own."""
        connection = self.warehouse.connection
        connection.execute(sql.SQL("drop table if exists {}").format(name))
        connection.execute(
            sql.SQL("create temporary table {} (like {} including identity including defaults) on commit drop").format(
                name, self._table
            )
        )

    @property
    def _table(self) -> sql.Identifier:
        return self.warehouse.identifier(TABLE)


def _protected(model: Model, header: Sequence[str], separator: str, reject: Rejected) -> Rejected:
    """Return a reject without the values that the tenant does not keep."""
    if not model.protected or reject.raw is None:
        return reject
    raw = protected_record(reject.raw, header, separator, model.protected)
    if raw is None:
        return replace(reject, raw=None, reason=f"{reject.reason} ({WITHHELD})")
    return replace(reject, raw=raw)


def _row(model: Model, source: Source, header: str, reject: Rejected) -> tuple[object, ...]:
    """Return the values of a reject in the order of `COLUMNS`."""
    about = (model.name, source.scope, source.report, source.report_id, reject.line, reject.column or None)
    if reject.raw is None:
        return (*about, reject.reason.replace("\0", "\\x00"), "", source.observed_at, None)
    text = reject.raw.decode("utf-8", errors="backslashreplace").replace("\0", "\\x00")
    reason = reject.reason.replace("\0", "\\x00")
    loadable = text.encode() == reject.raw
    return (*about, reason, text, source.observed_at, header if loadable else None)


def _csv_line(values: Sequence[str], separator: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="").writerow(values)
    return text.getvalue().replace("\0", "")
