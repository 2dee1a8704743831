"""Load a report into a table that requires a `canvas_id` which the report does not have: only rows that exist are updated.

Tables of the gem's have a NOT NULL `canvas_id` where the key here is a pair, because Canvas's stock report has no id
(`group_memberships`, `user_observers`). The other rows become rejects with a reason, and do not count towards the
threshold above which a report is rejected: users and groups, which share the report, must not fail with them.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from psycopg import sql

from canvas_sync_dagster.catalogue import Column, ColumnType, match_header
from canvas_sync_dagster.warehouse.reading.report_csv import Opener
from canvas_sync_dagster.warehouse.reading.source import Source, described
from canvas_sync_dagster.warehouse.schema.existing import read_tables, required_elsewhere
from canvas_sync_dagster.warehouse.state.rejected_rows import Rejected, RejectedRows
from canvas_sync_dagster.warehouse.warehouse import Table

REASON = "the table requires a canvas_id, which this report does not have"

Key = tuple[str, ...]


@contextmanager
def keep_known(table: Table, open_file: Opener, source: Source) -> Iterator[tuple[Table, Opener, int]]:
    """Reject the records that the table cannot take for want of a `canvas_id`, and give the others the one they have.

    PostgreSQL checks NOT NULL before it looks for a row of the same key, so that even an update needs the value.

    Args:
        table: Table of the model that the records are of.
        open_file: Opens the CSV.
        source: Where it comes from.

    Yields:
        The table with the model that the remaining records are of, what opens them as a CSV, and the number of rejects.
    """
    model = table.model
    existing = read_tables(table.connection, table.warehouse.schema, [model.table]).get(model.table)
    column = required_elsewhere(model, existing) if existing else None
    if column is None:
        yield table, open_file, 0
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "known.csv"
        with open_file() as given, _as_text(given) as text:
            header, unknown = _divided(table, column, text=text, path=path, source=source)
        if header is None:
            yield table, open_file, 0
            return
        _write_rejects(table, column, header=header, unknown=unknown, source=source)
        held = next((each for each in model.columns if each.name == column), Column(column, ColumnType.BIGINT))
        yield (
            table.warehouse.table(model.with_columns(replace(held, report=(column,)))),
            lambda: path.open("rb"),
            len(unknown),
        )


def _divided(
    table: Table,
    column: str,
    *,
    text: io.TextIOWrapper,
    path: Path,
    source: Source,
) -> tuple[list[str] | None, list[tuple[int, list[str]]]]:
    """Writes the records whose key the table has to a file; returns the header and the others with their lines.

    The header is None if the report has the column, so that nothing needs to be done.
    """
    model, records = table.model, csv.reader(text)
    header = next(records, [])
    wanted = {each.name: each.report for each in model.report_columns()}
    match = match_header(header, wanted, required=model.key, where=described(model.name, source))
    if column in match.positions:
        return None, []
    known, at = _known_keys(table, column), [match.positions[name] for name in model.key]
    unknown = []
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as kept:
        writer = csv.writer(kept)
        writer.writerow([*header, column])
        line = records.line_num + 1
        for record in records:
            key = tuple(record[place].strip() for place in at) if len(record) > max(at) else ()
            if held := known.get(key):
                writer.writerow([*record, held])
            elif not key:
                writer.writerow(record)
            else:
                unknown.append((source.lines.get(line, line), record))
            line = records.line_num + 1
    return header, unknown


def _known_keys(table: Table, column: str) -> dict[Key, str]:
    names = (*table.model.key, column)
    columns = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in names)
    query = sql.SQL("select {} from {}").format(columns, table.name)
    return {tuple(key): held for *key, held in table.connection.execute(query).fetchall()}


def _write_rejects(
    table: Table,
    column: str,
    *,
    header: Sequence[str],
    unknown: Sequence[tuple[int, list[str]]],
    source: Source,
) -> None:
    model, rejected_rows = table.model, RejectedRows(table.warehouse)
    if unknown:
        rejects = (Rejected(line, column, REASON, _as_csv(record)) for line, record in unknown)
        rejected_rows.write(model, source, header=header, separator=",", rejects=rejects)
    if source.complete:
        # This report lists again what an earlier one was rejected for.
        rejected_rows.drop_unseen(model.name, REASON)


def _as_csv(values: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue().encode("utf-8", "surrogateescape")


def _as_text(file: BinaryIO) -> io.TextIOWrapper:
    # Bytes that are no UTF-8 pass as they are, for the loader to reject.
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
