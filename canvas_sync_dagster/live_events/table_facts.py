"""Read what the tables contain about the objects of a batch of live events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.live_events.decisions import Facts, ObjectEvents, TableFacts, key_of
from canvas_sync_dagster.sync.objects import path_columns
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.row_statements import read_rows


def read_facts(session: Session, objects: Iterable[ObjectEvents]) -> Facts:
    """Read the rows of objects, the watermarks of their models, and the courses of the assignments that they name.

    Raises:
        CanvasSyncError: The database does not answer, or refuses a value.
    """
    by_model: dict[str, list[ObjectEvents]] = defaultdict(list)
    for each in objects:
        by_model[each.model.name].append(each)
    if not by_model:
        return Facts()
    with session.transaction("reading what the tables contain about live events") as connection:
        tables = {name: _table_facts(connection, session.schema, group) for name, group in by_model.items()}
        courses = _courses(connection, session, [each for group in by_model.values() for each in group])
    return Facts(tables, courses)


def existing_ids(session: Session, model: Model, ids: Iterable[int]) -> set[int]:
    """Return those of the ids that the table of a model contains."""
    name = model.key[0]
    with session.transaction(f"looking for {model.name}") as connection:
        rows = read_rows(connection, session.schema, model, (), [{name: number} for number in ids])
    return {int(row[name]) for row in rows}


def _table_facts(connection: Connection, schema: str, objects: Sequence[ObjectEvents]) -> TableFacts:
    model = objects[0].model
    columns = sorted(path_columns(model)) + [column.name for column in model.event_columns()]
    rows = read_rows(connection, schema, model, columns, [each.values for each in objects])
    return TableFacts({key_of(model, row): row for row in rows}, _watermark(connection, schema, model))


def _watermark(connection: Connection, schema: str, model: Model) -> datetime | None:
    query = sql.SQL("select max(observed_at) from {} where model = %s and observed_at <= %s").format(
        sql.Identifier(schema, "canvas_sync_watermarks")
    )
    row = connection.execute(query, (model.name, horizon())).fetchone()
    return row[0] if row else None


def _courses(connection: Connection, session: Session, objects: Sequence[ObjectEvents]) -> dict[object, object]:
    """Read the courses of assignments: many events of submissions and overrides contain no course."""
    assignments = session.by_name.get("assignments")
    ids = {
        each.values.get("canvas_assignment_id") for each in objects if "canvas_course_id" in path_columns(each.model)
    } - {None}
    if assignments is None or not ids:
        return {}
    keys = [{"canvas_id": number} for number in ids]
    rows = read_rows(connection, session.schema, assignments, ("canvas_context_id",), keys)
    return {row["canvas_id"]: row["canvas_context_id"] for row in rows}
