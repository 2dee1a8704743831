"""Read terms from their table, whatever its key is called and whatever application filled it."""

from __future__ import annotations

from psycopg import sql

from canvas_sync_dagster.sync.scope import Term
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.loading.target import system_columns
from canvas_sync_dagster.warehouse.warehouse import Table, Warehouse


def is_deleted(warehouse: Warehouse, scope: str) -> bool:
    """Return whether a scope is a term that Canvas has deleted: then it may shrink, because its rows went with it.

    Args:
        warehouse: The tenant's; the terms may not be among its models.
        scope: Canvas term id, or empty.
    """
    if not scope or "terms" not in warehouse.models:
        return False
    return any(term.id == scope and term.deleted for term in read_terms(warehouse.table(warehouse.models["terms"])))


def read_terms(table: Table) -> list[Term]:
    """Read all terms of the table of terms, in the order of Canvas's ids."""
    key = sql.Identifier(table.model.key[0])
    system = system_columns(table)
    query = sql.SQL(
        "select {key}, sis_id, name, start_at, end_at, workflow_state, {missing} from {table} order by {key}"
    ).format(
        key=key,
        missing=sql.SQL("missing_since is not null" if "missing_since" in system else "false"),
        table=table.name,
    )
    return [
        Term(str(number), sis_id, name or "", start, end, deleted=state == "deleted", missing=missing)
        for number, sis_id, name, start, end, state, missing in table.connection.execute(query).fetchall()
    ]


def live_term_ids(session: Session) -> list[str]:
    """Return the ids of the terms that Canvas lists and has not deleted, as partition keys."""
    with session.warehouse("reading terms") as warehouse:
        terms = read_terms(warehouse.table(warehouse.models["terms"]))
    return [term.id for term in terms if not term.deleted and not term.missing]
