"""Compare rows of a table with objects of Canvas, column by column. Pure functions.

The objects are mapped by the model, so that its folds apply (`completed` becomes `concluded`). A difference counts as lag
if Canvas changed the object after the row was last confirmed, and as drift if Canvas changed it before. Not every object
shows when it was changed; such a difference is undated, and may be either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from canvas_sync_dagster.catalogue import Column, ColumnType, Model
from canvas_sync_dagster.warehouse.reading.frames import ROW, frame_of, valid

Row = Mapping[str, Any]


class Kind(StrEnum):
    """How a row and Canvas differ."""

    DIFFERS = "differs"
    MISSING_HERE = "missing here"
    MISSING_THERE = "missing there"


class Cause(StrEnum):
    """Why they differ."""

    DRIFT = "drift"
    LAG = "lag"
    UNDATED = "undated"


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs from Canvas. It names columns, and contains no values but those of the key.

    Attributes:
        key: Column of the key → value.
        kind: How they differ.
        cause: Why.
        columns: Names of the columns that differ.
        changed_at: When Canvas last changed the object; None if Canvas does not show it.
        found: The row as Canvas has it, to read it again; it is not stored.
    """

    key: Mapping[str, Any]
    kind: Kind
    cause: Cause
    columns: tuple[str, ...] = ()
    changed_at: datetime | None = None
    found: Row = field(default_factory=dict, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return what is stored and printed."""
        return {
            "key": dict(self.key),
            "kind": self.kind.value,
            "cause": self.cause.value,
            "columns": list(self.columns),
        }


def compared_columns(model: Model) -> tuple[Column, ...]:
    """Return the columns that REST can be compared in: a function of the user may have changed the others."""
    return tuple(column for column in model.columns if column.transform is None)


def differing_columns(model: Model, row: Row, content: Row) -> tuple[str, ...]:
    """Return the columns in which a row differs from an object of Canvas; columns that the object lacks are left out.

    Args:
        model: Model of both.
        row: The row, column → value as PostgreSQL returns it.
        content: The object, mapped to columns.
    """
    columns = [
        column
        for column in compared_columns(model)
        if column.name in content
        and column.name in row
        # Some kinds of the report lack an optional column, so that the table has no value to compare.
        and not (column.optional and row[column.name] is None)
    ]
    frame, rejects = valid(frame_of([content], columns), columns)
    if rejects:
        # A value that does not fit is in no row, so that the row cannot be equal.
        return tuple(sorted({reject.column for reject in rejects}))
    theirs = frame.drop(ROW).row(0, named=True)
    return tuple(
        column.name for column in columns if _plain(column, row[column.name]) != _plain(column, theirs[column.name])
    )


def cause_of(changed_at: datetime | None, observed_at: datetime | None, *, dated: bool) -> Cause:
    """Return why a row differs.

    Args:
        changed_at: Latest time of a change that the object shows; None if it shows none.
        observed_at: When the row was last confirmed; None if it never was.
        dated: Whether the object shows its latest change; otherwise there may be a later one.
    """
    if changed_at is not None and observed_at is not None and changed_at > observed_at:
        return Cause.LAG
    return Cause.DRIFT if dated else Cause.UNDATED


def is_deleted(model: Model, row: Row) -> bool:
    """Return whether a row is marked as deleted."""
    return bool(model.deleted_values) and all(row.get(name) == value for name, value in model.deleted_values.items())


def latest(times: Iterable[datetime | None]) -> datetime | None:
    """Return the latest of some times; None if there is none."""
    return max((at for at in times if at is not None), default=None)


def _plain(column: Column, value: Any) -> Any:
    """Return a value in the one form of its type; REST has whole seconds, and texts that reports write as null."""
    if value is None or (value == "" and not column.keeps_empty_text):
        return None
    match column.type:
        case ColumnType.TIMESTAMP:
            return _moment(value)
        case ColumnType.NUMERIC:
            return Decimal(str(value)).normalize()
        case ColumnType.JSON:
            return json.loads(value) if isinstance(value, str) else value
        case ColumnType.BIGINT_ARRAY:
            numbers = value.strip("{}").split(",") if isinstance(value, str) else value
            return sorted(int(each) for each in numbers if str(each))
        case _:
            return value


def _moment(value: Any) -> Any:
    moment = value if isinstance(value, datetime) else _parsed(str(value))
    if moment is None:
        return str(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
