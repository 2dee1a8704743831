"""Read objects from Canvas and write them to their tables, in steps, report functions and event handlers.

Each call is a separate transaction, unless a connection is passed. The function of a report must pass its own,
`context.connection`; otherwise the two transactions may wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.clocks import believable
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.api_rows import rows_of
from canvas_sync_dagster.sync.object_requests import Answer, ask, path_columns
from canvas_sync_dagster.sync.object_writes import apply_answers
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, load_rows
from canvas_sync_dagster.warehouse.loading.row_statements import read_rows
from canvas_sync_dagster.warehouse.warehouse import Warehouse

Asked = int | str | Mapping[str, Any]
"""An object: its Canvas id, or column → value if the key has several columns or the path needs more."""


def fetch(session: Session, model: str, *asked: Asked, connection: Connection | None = None) -> list[Answer]:
    """Read objects from Canvas, and write their columns, or mark them as deleted.

    Columns that Canvas's answer lacks keep their values, and a row with a newer observation is not overwritten. If the
    path of an object needs more than its key (the course of an assignment), the values are read from its row.

    Args:
        session: `context.session`, or `event.session`.
        model: Name of the model.
        asked: Canvas ids, or columns and their values: `{"canvas_id": 5, "canvas_context_id": 3}`.
        connection: Connection in a transaction that the caller ends.

    Returns:
        Canvas's answers in the order of the objects, with `verdict` and `content`.

    Raises:
        CanvasError: Canvas does not respond, or does not accept the token; nothing was written.
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
    """Return a row of the table; if it is missing, read it from Canvas first.

    Args:
        session: `context.session`, or `event.session`.
        model: Name of the model.
        asked: As for `fetch`.
        connection: Connection in a transaction that the caller ends.

    Returns:
        Column → value; None if Canvas does not have the object, hides it, or has no request for single objects.
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
    """Write objects of Canvas's API to their table, with the loader that reports use.

    Args:
        session: `context.session`, or `event.session`.
        model: Name of the model.
        objects: Objects as Canvas returns them, such as `session.canvas.get_list("/courses/5/assignments")`.
        values: Column → value for columns that the objects lack, such as their course.
        observed_at: Time of the request by Canvas's clock (`session.canvas.now()`). The default, now, is right only if
            this call reads the list.
        connection: Connection in a transaction that the caller ends.

    Returns:
        Numbers of inserted, updated, unchanged and rejected rows.

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
