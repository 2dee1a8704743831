"""`column(…)`: declare one column of a built-in model and its name in each source."""

from __future__ import annotations

from collections.abc import Mapping

from canvas_sync_dagster.catalogue.model import NOTHING, Column, ColumnType

BIGINT = ColumnType.BIGINT
BIGINT_ARRAY = ColumnType.BIGINT_ARRAY
BOOLEAN = ColumnType.BOOLEAN
JSON = ColumnType.JSON
NUMERIC = ColumnType.NUMERIC
TEXT = ColumnType.TEXT
TIMESTAMP = ColumnType.TIMESTAMP

Names = str | tuple[str, ...]
"""One name, or several that are tried in order."""


def column(
    name: str,
    type: ColumnType,
    *,
    report: Names = (),
    api: str | None = None,
    event: Names = (),
    folds: Mapping[str, str] = NOTHING,
    comment: str = "",
    indexed: bool = False,
    optional: bool = False,
    user: bool = False,
    identifies: bool = False,
    event_copies: Names = (),
) -> Column:
    """Return the declaration of a column.

    Args:
        name: Column in the table.
        type: PostgreSQL type.
        report: Header in the report. Empty if no report has the column.
        api: Key in the REST object, dotted for a nested one (`account.id`). None if REST does not return it.
        event: Key in the body of live events. Empty if no event carries the column.
        folds: Value in REST and events → value in reports, where the two differ.
        comment: Meaning of the column; it becomes the comment in PostgreSQL and the description in Dagster.
        indexed: Whether the table gets a secondary index on the column.
        optional: Whether some kinds of the report omit the header, so that its absence is no schema drift.
        user: Whether it holds the Canvas id of a user, or an array of them.
        identifies: Whether its value identifies a person by itself (a name, a login, an address).
        event_copies: Keys under which other events have the same value.

    >>> column("canvas_course_id", BIGINT, report="canvas_course_id", api="course_id").report
    ('canvas_course_id',)
    """
    return Column(
        name,
        type,
        _tuple(report),
        api,
        _tuple(event),
        folds,
        comment,
        indexed,
        optional=optional,
        user=user,
        identifies=identifies,
        event_copies=_tuple(event_copies),
    )


def _tuple(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names
