"""Keeps what could not be loaded: line, column, reason and the raw text, so that nothing is lost in silence."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.reading.frames import Reject


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
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for reject, line, raw in rejects:
            text = raw.decode("utf-8", errors="backslashreplace").replace("\0", "\\x00")
            reason = reject.reason.replace("\0", "\\x00")
            known = head if text.encode() == raw else None
            copy.write_row(
                (model, scope, report, report_id, line, reject.column or None, reason, text, observed_at, known)
            )
