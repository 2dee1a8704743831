"""Objects of Canvas's API and bodies of its events become rows of our tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from canvas_sync_dagster.catalogue import Column, ColumnType, Model

SHARD = 10**13
"""Canvas's global ids are the number of a shard times this, plus the id on it."""
WHOLE_TEXT = 8_000
"""Bytes. Canvas cuts the texts of events at 8,192; what is longer than this may not be the whole, and is not believed."""
LARGEST_NUMBER = 2**63 - 1
"""What a bigint holds."""
MOST_DIGITS = len(str(LARGEST_NUMBER))


def local_id(value: object, shard: int | None) -> object:
    """Reduces a global id of the tenant's own shard to the local one; one of another shard is never reduced.

    >>> local_id("70000000000012", 7), local_id(90000000000012, 7), local_id(12, 7)
    (12, 90000000000012, 12)

    Args:
        value: What Canvas told, a number or its digits; anything else is returned as it is.
        shard: Number of the tenant's shard; None if it is not known.
    """
    if isinstance(value, str) and _is_id(value):
        number = int(value)
    elif type(value) is int:
        number = value
    else:
        return value
    return number % SHARD if shard is not None and number // SHARD == shard else number


def shard_of(global_id: object, known: int | None = None) -> int | None:
    """Read the shard's number from a global id; `known` if it is a local id or none.

    >>> shard_of("70000000000001"), shard_of(1), shard_of(None, 7)
    (7, None, 7)
    """
    text = str(global_id)
    return (int(text) // SHARD or known) if _is_id(text) else known


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS


def as_row(model: Model, body: Mapping[str, Any], shard: int | None = None) -> dict[str, object]:
    """Maps an object of Canvas's API to columns; what it does not tell is left out, so that it keeps its value.

    >>> from canvas_sync_dagster.catalogue.built_in import terms
    >>> as_row(terms, {"id": 7, "name": None})
    {'canvas_id': 7, 'name': None}
    """
    row: dict[str, object] = {}
    for column in model.api_columns():
        value: Any = body
        for key in (column.api or "").split("."):
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
        else:
            row[column.name] = folded(column, value, shard)
    return row


def event_row(model: Model, body: Mapping[str, Any], shard: int | None = None) -> dict[str, object]:
    """Maps the body of a live event to columns; what it does not tell, or not to the end, is left out.

    >>> from canvas_sync_dagster.catalogue.built_in import courses
    >>> event_row(courses, {"course_id": "70000000000005", "workflow_state": "available"}, 7)
    {'canvas_id': 5, 'workflow_state': 'active'}
    """
    row: dict[str, object] = {}
    for column in model.event_columns():
        for key in column.event:
            if key in body and not _may_be_cut(body[key]):
                row[column.name] = folded(column, body[key], shard)
                break
    return row


def no_number(model: Model, row: Mapping[str, object]) -> str | None:
    """Names the first column that should hold a whole number and does not; None if all is well.

    >>> from canvas_sync_dagster.catalogue.built_in import courses
    >>> no_number(courses, {"canvas_id": "12 or so"}), no_number(courses, {"canvas_id": 12})
    ('canvas_id', None)
    """
    for column in model.columns:
        value = row.get(column.name)
        if column.type is not ColumnType.BIGINT or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST_NUMBER:
            return column.name
    return None


def _may_be_cut(value: object) -> bool:
    return isinstance(value, str) and len(value) * 4 > WHOLE_TEXT and len(value.encode()) > WHOLE_TEXT


def folded(column: Column, value: object, shard: int | None) -> object:
    """Spells a value as reports do."""
    if isinstance(value, str) and value in column.folds:
        return column.folds[value]
    return local_id(value, shard) if column.type is ColumnType.BIGINT else value
