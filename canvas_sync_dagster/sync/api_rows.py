"""Objects of Canvas's API as rows, mapped by the declaration and by the user's functions (`sync.api`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.sync import api_functions
from canvas_sync_dagster.sync.extensions import ApiOverride
from canvas_sync_dagster.sync.object_rows import as_row
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.row_statements import read_rows
from canvas_sync_dagster.warehouse.reading.protection import protected_row

Row = Mapping[str, Any]


def row_of(session: Session, model: Model, body: Mapping[str, Any], row: Row) -> dict[str, object]:
    """Map an object of Canvas's API to columns, by the declaration and by what the user registered with `sync.api`.

    Args:
        session: The tenant's Canvas.
        model: Model of the object.
        body: The object.
        row: Its row in the table; read only by the user's functions.

    Raises:
        FunctionError: A function of the user's raised.
    """
    override = session.extensions.api.get(model.name, ApiOverride())
    values = api_functions.values(override, model, body, as_row(model, body, session.shard), row)
    return protected_row(model, values) if model.protected else values


def rows_of(
    session: Session,
    model: Model,
    bodies: Iterable[tuple[Mapping[str, Any], Row]],
    connection: Connection | None = None,
) -> list[dict[str, object]]:
    """Map a list of objects to columns.

    Args:
        session: The tenant's Canvas and database.
        model: Model of the objects.
        bodies: Each with the values that it does not contain, such as the course it was requested from.
        connection: In a transaction, by which the rows are read for the user's functions; a new one if not given.

    Raises:
        FunctionError: A function of the user's raised.
    """
    given = list(bodies)
    known: Sequence[Row] = [values for _, values in given]
    if session.extensions.api.get(model.name, ApiOverride()).maps_by_function:
        mapped = [{**values, **as_row(model, body, session.shard)} for body, values in given]
        keys = [{name: row.get(name) for name in model.key} for row in mapped]
        known = completed(
            session, model, [{**values, **key} for (_, values), key in zip(given, keys, strict=True)], connection
        )
    return [{**values, **row_of(session, model, body, row)} for (body, values), row in zip(given, known, strict=True)]


def completed(
    session: Session, model: Model, rows: Sequence[Row], connection: Connection | None = None
) -> list[dict[str, Any]]:
    """Return rows with all columns of the table, as the user's functions get them.

    Given values that are not None replace those of the table. If the table lacks the row, the other columns are None.

    Args:
        session: The tenant's database.
        model: Model of the rows.
        rows: Column → value; rows without a complete key are not looked up.
        connection: In a transaction; a new one if not given.
    """
    blank = dict.fromkeys(column.name for column in model.columns)
    complete = [row for row in rows if all(row.get(name) is not None for name in model.key)]
    with session.transaction(f"reading {model.name}") if connection is None else nullcontext(connection) as opened:
        held = {_key(model, row): row for row in read_rows(session.warehouse_on(opened).table(model), None, complete)}
    return [_merged(model, blank, held.get(_key(model, row), {}), row) for row in rows]


def _merged(model: Model, blank: Row, held: Row, given: Row) -> dict[str, Any]:
    """Merge a given row with the one of the table, whose key has the right type."""
    values = {name: value for name, value in given.items() if value is not None}
    return {**blank, **held, **values, **{name: held[name] for name in model.key if name in held}}


def _key(model: Model, row: Row) -> tuple[str, ...]:
    return tuple(str(row.get(name)) for name in model.key)
