"""Read terms from their table, whatever its key is called and whatever application filled it; or from Canvas."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from psycopg import errors, sql

from canvas_sync_dagster.catalogue import RestFeed
from canvas_sync_dagster.catalogue.built_in.organisation import terms
from canvas_sync_dagster.sync.object_rows import as_row
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


def courses_by_term(warehouse: Warehouse) -> dict[str, int]:
    """Count the courses of each term; empty if the tenant does not sync courses, or their table lacks the term."""
    model = warehouse.models.get("courses")
    if model is None or not warehouse.has(model.table):
        return {}
    query = sql.SQL("select {0}, count(*) from {1} where {0} is not null group by {0}").format(
        sql.Identifier(model.term_by[0]), warehouse.table(model).name
    )
    try:
        with warehouse.connection.transaction():
            return {str(term): int(count) for term, count in warehouse.connection.execute(query).fetchall()}
    except errors.UndefinedColumn:
        return {}


def list_terms(session: Session) -> list[Term]:
    """Read all terms from Canvas, in the order of their ids; no table is read or written.

    Raises:
        CanvasSyncError: The list cannot be read.
    """
    feed = terms.feed
    assert isinstance(feed, RestFeed)  # noqa: S101 (declared so)
    listed = session.canvas.get_list(feed.path, feed.parameters, envelope=feed.envelope)
    rows = (as_row(terms, body, session.shard) for body in listed)
    return sorted((_term(row) for row in rows if isinstance(row.get("canvas_id"), int)), key=lambda term: int(term.id))


def _term(row: Mapping[str, object]) -> Term:
    sis_id = row.get("sis_id")
    return Term(
        id=str(row["canvas_id"]),
        sis_id=None if sis_id is None else str(sis_id),
        name=str(row.get("name") or ""),
        start_at=_moment(row.get("start_at")),
        end_at=_moment(row.get("end_at")),
        deleted=row.get("workflow_state") == "deleted",
    )


def _moment(value: object) -> datetime | None:
    """Return a time as Canvas spells it; None for one that Python's calendar does not have."""
    try:
        at = datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)
