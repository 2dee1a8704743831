"""Keeps what could not be loaded: line, column, reason and the raw text, so that nothing is lost in silence."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.erasure import names_erased
from canvas_sync_dagster.warehouse.reading.frames import Reject
from canvas_sync_dagster.warehouse.reading.source import Source
from canvas_sync_dagster.warehouse.state.erased_objects import read_erased

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


def write_object_rejects(
    connection: Connection,
    schema: str,
    model: str,
    source: Source,
    rejects: Iterable[tuple[Reject, Mapping[str, object]]],
) -> None:
    """Write rejected rows of a REST list, each with its values as JSON, in the load's transaction."""
    statement = sql.SQL(
        "insert into {} (model, scope, report, column_name, reason, raw, source_observed_at, header) "
        "values (%s, %s, %s, %s, %s, %s, %s, %s)"
    ).format(sql.Identifier(schema, TABLE))
    erased = read_erased(connection, schema)
    for reject, row in rejects:
        if names_erased(json.dumps(row, default=str), erased):
            continue
        raw, reason = json.dumps(row, default=str), reject.reason.replace("\0", "\\x00")
        values = (model, source.scope, source.report, reject.column or None, reason, raw, source.observed_at, OBJECT)
        connection.execute(statement, values)


def write_rejects(
    connection: Connection,
    schema: str,
    *,
    model: str,
    source: Source,
    header: Sequence[str],
    separator: str,
    rejects: Iterable[Rejected],
) -> None:
    """Write rejects in the load's transaction.

    A record that text cannot hold as it is (a NUL byte, or no UTF-8) is kept in an escaped spelling and without its
    header: what was not in the file must never be loaded by a replay.

    Args:
        connection: Of the load.
        schema: The tenant's.
        model: Name of the table of the report.
        source: Where the records come from.
        header: Names of their values.
        separator: Between their values.
        rejects: At least one.
    """
    table = sql.Identifier(schema, TABLE)
    columns, erased = sql.SQL(COLUMNS), read_erased(connection, schema)
    rejects = (each for each in rejects if not names_erased(each.raw.decode(errors="backslashreplace"), erased))
    if _has_row_security(connection, schema):
        # COPY does not go into a table with row-level security, INSERT does.
        connection.execute(sql.SQL("drop table if exists {}").format(TEMPORARY))
        connection.execute(
            sql.SQL("create temporary table canvas_sync_rejects on commit drop as select {} from {} limit 0").format(
                columns, table
            )
        )
        _copy(connection, TEMPORARY, model, source, _head(header, separator), rejects)
        connection.execute(sql.SQL("insert into {} ({}) select {} from {}").format(table, columns, columns, TEMPORARY))
    else:
        _copy(connection, table, model, source, _head(header, separator), rejects)


def _copy(
    connection: Connection,
    table: sql.Composable,
    model: str,
    source: Source,
    head: str,
    rejects: Iterable[Rejected],
) -> None:
    statement = sql.SQL("copy {} ({}) from stdin").format(table, sql.SQL(COLUMNS))
    whence = (model, source.scope, source.report, source.report_id)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for each in rejects:
            text = each.raw.decode("utf-8", errors="backslashreplace").replace("\0", "\\x00")
            reason = each.reason.replace("\0", "\\x00")
            known = head if text.encode() == each.raw else None
            row = (*whence, each.line, each.column or None, reason, text, source.observed_at, known)
            copy.write_row(row)


def _head(header: Sequence[str], separator: str) -> str:
    """Return the header as a line of CSV."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="").writerow(header)
    return text.getvalue().replace("\0", "")


def _has_row_security(connection: Connection, schema: str) -> bool:
    name = sql.Identifier(schema, TABLE).as_string(connection)
    return connection.execute("select row_security_active(%s::regclass)", (name,)).fetchone() == (True,)
