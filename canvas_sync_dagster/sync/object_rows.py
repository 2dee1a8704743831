"""Objects of Canvas's API and bodies of its events as rows, mapped by the declaration. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from canvas_sync_dagster.catalogue import Column, ColumnType, Model
from canvas_sync_dagster.catalogue.identity_cache import once_per_model

SHARD = 10**13
"""A global id of Canvas is the number of a shard times this, plus the local id."""
WHOLE_TEXT = 8_000
"""Bytes. Canvas cuts texts in events at 8,192; a text longer than this may be incomplete and is not used."""
LARGEST_NUMBER = 2**63 - 1
"""Maximum value of a bigint."""
MOST_DIGITS = len(str(LARGEST_NUMBER))

CHANGED = ("updated_at", "graded_at")
"""Fields with the time of an object's latest change; a submission has no `updated_at`."""
HAPPENED = (*CHANGED, "created_at", "submitted_at", "posted_at")
"""Fields with times at which an object certainly changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an object shows about its latest change.

    Attributes:
        at: Latest time of a change; None if the object shows none.
        is_latest: Whether there was no later change.
    """

    at: datetime | None = None
    is_latest: bool = False


def local_id(value: object, shard: int | None) -> object:
    """Return the local id for a global id of the tenant's shard; ids of other shards are returned unchanged.

    >>> local_id("70000000000012", 7), local_id(90000000000012, 7), local_id(12, 7)
    (12, 90000000000012, 12)

    Args:
        value: Number or digits; other values are returned unchanged.
        shard: Number of the tenant's shard; None if it is not known.
    """
    if type(value) is int:
        number = value
    elif isinstance(value, str) and _is_id(value):
        number = int(value)
    else:
        return value
    if shard is None or number < SHARD:
        return number
    prefix, local = divmod(number, SHARD)
    return local if prefix == shard else number


def shard_of(global_id: object, known: int | None = None) -> int | None:
    """Return the number of the shard in a global id; `known` if it is a local id or not an id.

    >>> shard_of("70000000000001"), shard_of(1), shard_of(None, 7)
    (7, None, 7)
    """
    text = str(global_id)
    return (int(text) // SHARD or known) if _is_id(text) else known


def _is_id(text: str) -> bool:
    return len(text) <= MOST_DIGITS and text.isascii() and text.isdigit()


def as_row(model: Model, body: Mapping[str, Any], shard: int | None = None) -> dict[str, object]:
    """Map an object of Canvas's API to columns; columns that it does not contain are omitted, and keep their values.

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
    """Map the body of a live event to columns; columns that it does not contain completely are omitted.

    >>> from canvas_sync_dagster.catalogue.built_in import courses
    >>> event_row(courses, {"course_id": "70000000000005", "workflow_state": "available"}, 7)
    {'canvas_id': 5, 'workflow_state': 'active'}
    """
    row: dict[str, object] = {}
    for name, key, column in _event_fields(model):
        if key in body and name not in row:
            value = body[key]
            if not (isinstance(value, str) and len(value) * 4 > WHOLE_TEXT and len(value.encode()) > WHOLE_TEXT):
                row[name] = folded(column, value, shard)
    return row


@once_per_model
def _event_fields(model: Model) -> tuple[tuple[str, str, Column], ...]:
    """Return column, key and declaration of each key that an event may have; the first key of a column comes first."""
    return tuple((column.name, key, column) for column in model.event_columns() for key in column.event)


def change_of(body: Mapping[str, Any]) -> Change:
    """Return what an object of Canvas's API shows about its latest change.

    >>> change_of({"created_at": "2026-01-01T00:00:00Z"})
    Change(at=datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc), is_latest=False)
    """
    times = {name: at for name in HAPPENED if (at := _moment(body.get(name))) is not None}
    return Change(max(times.values(), default=None), any(name in times for name in CHANGED))


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def no_number(model: Model, row: Mapping[str, object]) -> str | None:
    """Return the first column of type bigint whose value is not an integer; None if there is none.

    >>> from canvas_sync_dagster.catalogue.built_in import courses
    >>> no_number(courses, {"canvas_id": "12 or so"}), no_number(courses, {"canvas_id": 12})
    ('canvas_id', None)
    """
    for name in _numbers(model):
        value = row.get(name)
        if value is None or (type(value) is int and abs(value) <= LARGEST_NUMBER):
            continue
        return name
    return None


@once_per_model
def _numbers(model: Model) -> tuple[str, ...]:
    return tuple(column.name for column in model.columns if column.type is ColumnType.BIGINT)


def folded(column: Column, value: object, shard: int | None) -> object:
    """Return a value as reports spell it, with local ids."""
    if column.folds and isinstance(value, str) and value in column.folds:
        return column.folds[value]
    return local_id(value, shard) if column.type is ColumnType.BIGINT else value
