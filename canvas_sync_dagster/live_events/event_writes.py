"""Write what live events change: rows of the tables, and the states of the events, in the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from psycopg import sql

from canvas_sync_dagster.live_events.canvas_reads import Parents
from canvas_sync_dagster.live_events.event_plan import Change, Outcome
from canvas_sync_dagster.sync.object_lists import list_name
from canvas_sync_dagster.sync.object_writes import apply_answers
from canvas_sync_dagster.warehouse.history import EVENT, PARENT, written_by
from canvas_sync_dagster.warehouse.loading.load import Source, load_rows
from canvas_sync_dagster.warehouse.state.inbox import defer, fail, settle
from canvas_sync_dagster.warehouse.warehouse import Table, Warehouse


def write_rows(warehouse: Warehouse, outcome: Outcome, parents: Parents) -> Counter[str]:
    """Write rows, parents before children.

    Args:
        warehouse: The tenant's, in a transaction.
        outcome: Changes of objects.
        parents: Parents of these objects that the tables lack.

    Returns:
        Model → rows that were written.

    Raises:
        CanvasSyncError: A table does not accept a row.
    """
    written: Counter[str] = Counter()
    for parent, answers in parents.found:
        # A parent that does not fit its table must not fail its children for good.
        counts = apply_answers(warehouse.table(parent), answers, keep_rejects=True).counts
        written[parent.name] += counts.inserted + counts.updated
    by_model = outcome.by_model()
    for model in warehouse.models.values():
        if changes := by_model.get(model.name):
            table = warehouse.table(model)
            written[model.name] += _write_bodies(table, changes)
            written[model.name] += _write_answers(table, changes)
            _update_children(table, changes, written)
    return written


def write_states(warehouse: Warehouse, outcome: Outcome) -> Counter[str]:
    """Store how the events of an outcome ended.

    Returns:
        State → number of events.
    """
    states = {"applied": outcome.applied, "ignored": list(outcome.ignored)}
    settle(warehouse, states)
    defer(
        warehouse,
        (
            (
                read.object.model.name,
                read.object.key,
                list_name(read.object.model.several, read.row),
                read.object.events,
            )
            for read in outcome.deferred
        ),
    )
    ended = Counter({state: len(events) for state, events in states.items()})
    ended.update(fail(warehouse, each.event, each.problem) for each in outcome.failed)
    return ended


def _write_bodies(table: Table, changes: Sequence[Change]) -> int:
    objects = [change.object for change in changes if change.answer is None]
    if not objects:
        return 0
    latest = max(each.latest.time for each in objects)
    source = Source("", latest, f"live events of {table.model.name}", complete=False)
    rows = [{**each.values, "observed_at": each.latest.time} for each in objects]
    with written_by(table, EVENT):
        counts = load_rows(table, rows, source, timed=True)
    return counts.inserted + counts.updated


def _write_answers(table: Table, changes: Sequence[Change]) -> int:
    answers = [change.answer for change in changes if change.answer is not None]
    applied = apply_answers(table, answers)
    return applied.counts.inserted + applied.counts.updated + applied.deleted


def _update_children(table: Table, changes: Sequence[Change], written: Counter[str]) -> None:
    """Copy a column to the children of changed rows: a section that moves takes its enrollments to its new course.

    Events and reads of the children may come late, or never.
    """
    keys = [change.object.key[0] for change in changes]
    for child, column, shared in table.model.carries:
        if child not in table.warehouse.models:
            continue
        statement = sql.SQL(
            "update {child} c set {shared} = p.{shared}, updated_at = now(), row_hash = null from {parent} p "
            "where c.{column} = p.{key} and p.{key} = any(%s::bigint[]) and c.{shared} is distinct from p.{shared}"
        ).format(
            child=table.sibling(child).name,
            parent=table.name,
            shared=sql.Identifier(shared),
            column=sql.Identifier(column),
            key=sql.Identifier(table.model.key[0]),
        )
        with written_by(table.sibling(child), PARENT):
            written[child] += table.connection.execute(statement, (keys,)).rowcount
