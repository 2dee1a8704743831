"""Calls the functions that users give to `sync.api`. What they raise becomes one error that names function and row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import CanvasSyncError, FunctionError
from canvas_sync_dagster.redaction import message
from canvas_sync_dagster.signatures import name_of, raised_at, required_arguments
from canvas_sync_dagster.sync.extensions import ApiOverride

if TYPE_CHECKING:
    from canvas_sync_dagster.canvas.client import Canvas

Row = Mapping[str, Any]
LONGEST_MESSAGE = 300
"""Characters of a user's exception that an error repeats; the traceback has all of it."""


def fetch(override: ApiOverride, canvas: Canvas, model: Model, row: Row) -> Mapping[str, Any]:
    """Call the user's `fetch`.

    Raises:
        CanvasError: What Canvas answered, as the function lets it through.
        FunctionError: The function raised something else, or did not return an object.
    """
    assert override.fetch is not None  # noqa: S101 (callers have looked)
    body = _called("fetch", override.fetch, model, row, canvas, row)
    if not isinstance(body, Mapping):
        problem = f"returned {type(body).__name__}; it must return an object of Canvas's API"
        raise _error("fetch", override.fetch, model, row, problem)
    return body


def values(override: ApiOverride, model: Model, body: Row, mapped: Mapping[str, object], row: Row) -> dict[str, object]:
    """Return the columns of an object: those of the model, then those of `fields`, then what `apply` makes of them.

    Args:
        override: The user's functions.
        model: Model of the object.
        body: The object, as Canvas's API returned it.
        mapped: Its columns by the model's declaration.
        row: The row of the table, with all its columns.

    Raises:
        FunctionError: A function raised, or returned a column that the table lacks.
    """
    found = dict(mapped)
    for column, source in override.fields.items():
        if callable(source):
            arguments = (body, row) if required_arguments(source) >= 2 else (body,)
            found[column] = _called(f"fields[{column!r}]", source, model, row, *arguments)
        elif (value := _at(body, source)) is not _ABSENT:
            found[column] = value
    if override.apply is None:
        return found
    returned = _called("apply", override.apply, model, row, body, found, row)
    return found if returned is None else _columns("apply", override.apply, model, row, returned)


def deleted_values(override: ApiOverride, model: Model, row: Row) -> Mapping[str, object]:
    """Return what is written to a row that Canvas answers 404 for.

    Raises:
        FunctionError: The function raised, or returned a column that the table lacks.
    """
    given = override.mark_deleted
    if given is None:
        return model.deleted_values
    if isinstance(given, str):
        return {"workflow_state": given}
    if not callable(given):
        return given
    return _columns("mark_deleted", given, model, row, _called("mark_deleted", given, model, row, row) or {})


_ABSENT = object()


def _at(body: Mapping[str, Any], path: str) -> object:
    value: Any = body
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return _ABSENT
        value = value[key]
    return value


def _called(role: str, function: Callable[..., Any], model: Model, row: Row, *arguments: object) -> Any:
    try:
        return function(*arguments)
    except CanvasSyncError:
        # Such as a 404 that the function's own request got: callers know what it means.
        raise
    except Exception as error:
        problem = f"raised {type(error).__name__}: {message(error)[:LONGEST_MESSAGE].rstrip('.')}{raised_at(error)}"
        raise _error(role, function, model, row, problem) from error


def _columns(role: str, function: Callable[..., Any], model: Model, row: Row, returned: object) -> dict[str, object]:
    if not isinstance(returned, Mapping):
        problem = f"returned {type(returned).__name__}; it must return a mapping, column to value"
        raise _error(role, function, model, row, problem)
    known = [column.name for column in model.columns]
    if unknown := [str(name) for name in returned if name not in known]:
        problem = f"returned the column {unknown[0]!r}, which the table lacks; it has {', '.join(known)}"
        raise _error(role, function, model, row, problem)
    return dict(returned)


def _error(role: str, function: Callable[..., Any], model: Model, row: Row, problem: str) -> FunctionError:
    key = ", ".join(f"{column} {row.get(column)}" for column in model.key)
    return FunctionError(f'sync.api("{model.name}")', f"{role} ({name_of(function)})", key, problem)
