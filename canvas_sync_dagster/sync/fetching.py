"""What users call from a step, a report's processor or an event's handler: Canvas is asked, and the table has the answer.

Each call is a transaction of its own, unless it is given the connection that is open already. A processor of a report
must give its own, `context.connection`, or the two may wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.clocks import believable
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.objects import Answer, apply_answers, ask, path_columns, rows_of
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, load_rows
from canvas_sync_dagster.warehouse.loading.row_statements import read_rows
from canvas_sync_dagster.warehouse.warehouse import Warehouse

Asked = int | str | Mapping[str, Any]
"""What tells an object: its Canvas id, or column → value where the key has several columns or the path needs more."""


def fetch(session: Session, model: str, *asked: Asked, connection: Connection | None = None) -> list[Answer]:
    """Reads objects again from Canvas and writes what it says: their columns, or that they are gone.

    Columns that Canvas does not tell keep their values, and a row that was seen later than now is not overwritten. What
    an object's path needs beside its key (the course of an assignment) is read from its row, if there is one.

    Args:
        session: `context.session`, or `event.session`.
        model: Name of the model.
        asked: Canvas ids, or columns and their values: `{"canvas_id": 5, "canvas_context_id": 3}`.
        connection: In a transaction, which the caller ends.

    Returns:
        What Canvas said of each, in the order of the questions: `answer.verdict` and `answer.content`.

    Raises:
        CanvasError: Canvas does not answer, or does not accept the token; nothing was written.
        FunctionError: A function of `sync.api` raised; nothing was written.
    """
    declared = _declared(session, model)
    rows = [_row(declared, each) for each in asked]
    with _warehouse(session, connection, f"reading {model}") as warehouse:
        known = read_rows(warehouse.table(declared), path_columns(declared), rows)
    held = {_key(declared, row): {name: value for name, value in row.items() if value is not None} for row in known}
    questions = [{**held.get(_key(declared, row), {}), **row} for row in rows]
    answers = ask(session, declared, questions, connection=connection)
    if broken := next((answer.error for answer in answers if answer.error is not None), None):
        raise broken
    with _warehouse(session, connection, f"fetching {model}") as warehouse:
        apply_answers(warehouse.table(declared), answers)
    return answers


def find_or_fetch(
    session: Session, model: str, asked: Asked, *, connection: Connection | None = None
) -> dict[str, Any] | None:
    """Returns a row of the table; if it is not there, Canvas is asked for it first.

    Args:
        session: `context.session`, or `event.session`.
        model: Name of the model.
        asked: As for `fetch`.
        connection: In a transaction, which the caller ends.

    Returns:
        Column → value; None if Canvas does not have the object, hides it, or shows no such objects.
    """
    declared = _declared(session, model)
    found = _read(session, declared, asked, connection)
    if found is None:
        fetch(session, model, asked, connection=connection)
        found = _read(session, declared, asked, connection)
    return found


def load_objects(
    session: Session,
    model: str,
    objects: Iterable[Mapping[str, Any]],
    *,
    values: Mapping[str, object] | None = None,
    observed_at: datetime | None = None,
    connection: Connection | None = None,
) -> LoadCounts:
    """Writes objects that Canvas's API gave, as many as there are, by the same loader as everything else.

    Args:
        session: `context.session`, or `event.session`.
        model: Name of the model.
        objects: As Canvas gave them: `session.canvas.get_list("/courses/5/assignments")`, which is read to its end.
        values: Column → value that the objects do not tell, such as the course they were asked of.
        observed_at: When Canvas was asked, on its own clock (`session.canvas.now()`); now, if not given, which is right
            only if the list is read by this call.
        connection: In a transaction, which the caller ends.

    Returns:
        What became of them.

    Raises:
        ReportContentError: An object lacks its key, or a value does not fit its column; nothing was written.
    """
    declared = _declared(session, model)
    now = session.canvas.now()
    source = Source("", believable(observed_at or now, now), f"objects of {model}", complete=False)
    rows = rows_of(session, declared, ((each, values or {}) for each in objects), connection)
    with _warehouse(session, connection, f"loading {model}") as warehouse:
        return load_rows(warehouse.table(declared), rows, source)


def _declared(session: Session, model: str) -> Model:
    known = session.by_name
    if model not in known:
        problem = f"tenant {session.tenant.slug} does not sync such a model"
        raise SettingError("model", problem, allowed=", ".join(known), value=model)
    return known[model]


def _row(model: Model, asked: Asked) -> dict[str, Any]:
    row = dict(asked) if isinstance(asked, Mapping) else {model.key[0]: asked}
    if lacking := [name for name in model.key if row.get(name) is None]:
        raise SettingError(f"key of {model.name}", f"{', '.join(lacking)} is not given", allowed=", ".join(model.key))
    return row


def _key(model: Model, row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in model.key)


def _read(session: Session, model: Model, asked: Asked, connection: Connection | None) -> dict[str, Any] | None:
    columns = [column.name for column in model.columns]
    with _warehouse(session, connection, f"reading {model.name}") as warehouse:
        rows = read_rows(warehouse.table(model), columns, [_row(model, asked)])
    return rows[0] if rows else None


def _warehouse(session: Session, connection: Connection | None, doing: str) -> AbstractContextManager[Warehouse]:
    return session.warehouse(doing) if connection is None else nullcontext(session.warehouse_on(connection))
