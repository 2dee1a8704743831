"""Keeps what could not be loaded: line, column, reason and the raw text, so that nothing is lost in silence."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.erasure import names_erased, read_erased
from canvas_sync_dagster.warehouse.reading.frames import Reject
from canvas_sync_dagster.warehouse.reading.source import Source

OBJECT = "{}"
"""Header of a reject whose raw text is a JSON object of column → value, as a REST list gave it."""


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
    ).format(sql.Identifier(schema, "canvas_sync_rejected_rows"))
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
    scope: str,
    report: str,
    report_id: int | None,
    observed_at: datetime,
    header: Sequence[str],
    separator: str,
    rejects: Iterable[tuple[Reject, int, bytes]],
) -> None:
    """Writes rejects, each with its line and raw record, in the load's transaction.

    A record that text cannot hold as it is (a NUL byte, or no UTF-8) is kept in an escaped spelling and without its
    header: what was not in the file must never be loaded by a replay.
    """
    statement = sql.SQL(
        "copy {} (model, scope, report, report_id, line, column_name, reason, raw, source_observed_at, header) from stdin"
    ).format(sql.Identifier(schema, "canvas_sync_rejected_rows"))
    line_of_names = io.StringIO()
    csv.writer(line_of_names, delimiter=separator, lineterminator="").writerow(header)
    head = line_of_names.getvalue().replace("\0", "")
    erased = read_erased(connection, schema)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for reject, line, raw in rejects:
            text = raw.decode("utf-8", errors="backslashreplace").replace("\0", "\\x00")
            if names_erased(text, erased):
                continue
            reason = reject.reason.replace("\0", "\\x00")
            known = head if text.encode() == raw else None
            copy.write_row(
                (model, scope, report, report_id, line, reject.column or None, reason, text, observed_at, known)
            )
