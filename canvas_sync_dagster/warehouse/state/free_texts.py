"""SQL on the texts of state tables that the user's functions may have written, such as messages of their errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence

from psycopg import sql

from canvas_sync_dagster.warehouse.warehouse import Warehouse

TABLES = ("canvas_sync_job_logs", "canvas_sync_sync_batches", "canvas_sync_reports", "canvas_sync_audits")
"""Tables with such texts; the last is one of the gem's."""
COLUMNS = frozenset(("exception", "backtrace", "metadata", "job_arguments", "failure", "error"))


def replace_names(
    warehouse: Warehouse, table: str, columns: Collection[str], names: Sequence[str], replace: Callable[[str], str]
) -> int:
    """Replace names in the texts of a state table.

    Args:
        warehouse: The tenant's.
        table: One of `TABLES`.
        columns: All columns that it has.
        names: Names to look for.
        replace: Returns a text without the names.

    Returns:
        Number of changed rows.
    """
    changed: set[int] = set()
    for column in COLUMNS & set(columns) if names and "id" in columns else ():
        changed |= _replaced(warehouse, warehouse.identifier(table), sql.Identifier(column), names, replace)
    return len(changed)


def _replaced(
    warehouse: Warehouse,
    table: sql.Identifier,
    column: sql.Identifier,
    names: Sequence[str],
    replace: Callable[[str], str],
) -> set[int]:
    # Escaped as well: a column of type json holds the text that was written.
    searched = [*names, *(json.dumps(name)[1:-1] for name in names)]
    query = sql.SQL(
        "select id, {c}::text from {} where exists (select from unnest(%s::text[]) n where position(n in {c}::text) > 0)"
    ).format(table, c=column)
    update = sql.SQL("update {} set {} = %s where id = %s").format(table, column)
    changed = set()
    for number, text in warehouse.connection.execute(query, (searched,)).fetchall():
        clean = replace(text)
        if clean != text:
            warehouse.connection.execute(update, (clean, number))
            changed.add(int(number))
    return changed
