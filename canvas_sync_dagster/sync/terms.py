"""The terms that the table has, whoever filled it and whatever its key is called."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.sync.scope import Term
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.target import system_columns


def is_deleted(connection: Connection, schema: str, models: Mapping[str, Model], scope: str) -> bool:
    """Return whether a scope is a term that Canvas has deleted: then it may shrink, because its rows went with it.

    Args:
        connection: In a transaction.
        schema: The tenant's.
        models: The tenant's, by name; the terms may not be among them.
        scope: Canvas term id, or empty.
    """
    if not scope or "terms" not in models:
        return False
    return any(term.id == scope and term.deleted for term in read_terms(connection, schema, models["terms"]))


def read_terms(connection: Connection, schema: str, model: Model) -> list[Term]:
    """Reads all terms, in the order of Canvas's ids.

    Args:
        connection: In a transaction.
        schema: The tenant's.
        model: Declaration of the terms, which names their key.
    """
    key = sql.Identifier(model.key[0])
    system = system_columns(connection, schema, model)
    query = sql.SQL(
        "select {key}, sis_id, name, start_at, end_at, workflow_state, {missing} from {table} order by {key}"
    ).format(
        key=key,
        missing=sql.SQL("missing_since is not null" if "missing_since" in system else "false"),
        table=sql.Identifier(schema, model.table),
    )
    return [
        Term(str(number), sis_id, name or "", start, end, deleted=state == "deleted", missing=missing)
        for number, sis_id, name, start, end, state, missing in connection.execute(query).fetchall()
    ]


def live_term_ids(session: Session) -> list[str]:
    """Return the ids of the terms that Canvas lists and has not deleted, as partition keys."""
    with session.transaction("reading terms") as connection:
        terms = read_terms(connection, session.schema, session.by_name["terms"])
    return [term.id for term in terms if not term.deleted and not term.missing]
