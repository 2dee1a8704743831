"""Read what the tables contain about the objects of a batch of live events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.live_events.event_plan import Facts, ObjectEvents, TableFacts, Values, key_of
from canvas_sync_dagster.sync.object_requests import path_columns
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.loading.row_statements import read_existing_ids, read_rows
from canvas_sync_dagster.warehouse.loading.target import system_columns
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Warehouse


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
    with session.warehouse("reading what the tables contain about live events") as warehouse:
        tables = {name: _table_facts(warehouse, group) for name, group in by_model.items()}
        courses = _courses(warehouse, [each for group in by_model.values() for each in group])
    return Facts(tables, courses)


def existing_ids(session: Session, model: Model, ids: Iterable[int]) -> set[int]:
    """Return those of the ids that the table of a model contains."""
    with session.warehouse(f"looking for {model.name}") as warehouse:
        return read_existing_ids(warehouse.table(model), set(ids))


def _table_facts(warehouse: Warehouse, objects: Sequence[ObjectEvents]) -> TableFacts:
    model = objects[0].model
    table = warehouse.table(model)
    observation = sorted(system_columns(table) & {"observed_at", "row_hash"})
    omitted = [each.column for each in model.omissions()]
    carried = [column.name for column in model.event_columns()]
    columns = [*sorted(path_columns(model)), *carried, *omitted, *observation]
    rows = read_rows(table, columns, [each.values for each in objects])
    believed = {key_of(model, row): _believed(row) for row in rows}
    return TableFacts(believed, Watermarks(warehouse).newest(model.name))


def _believed(row: Values) -> Values:
    """Return a row without an observation in the future, which a wrong clock has written."""
    observed_at = row.get("observed_at")
    return {**row, "observed_at": None} if observed_at is not None and observed_at > horizon() else row


def _courses(warehouse: Warehouse, objects: Sequence[ObjectEvents]) -> dict[object, object]:
    """Read the courses of assignments: many events of submissions and overrides contain no course."""
    assignments = warehouse.models.get("assignments")
    ids = {
        each.values.get("canvas_assignment_id") for each in objects if "canvas_course_id" in path_columns(each.model)
    } - {None}
    if assignments is None or not ids:
        return {}
    keys = [{"canvas_id": number} for number in ids]
    rows = read_rows(warehouse.table(assignments), ("canvas_context_id",), keys)
    return {row["canvas_id"]: row["canvas_context_id"] for row in rows}
