"""Group rows whose objects Canvas returns in one list. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from string import Formatter
from typing import Any

from canvas_sync_dagster.catalogue.model import ObjectList

Row = Mapping[str, Any]


def list_name(several: ObjectList | None, row: Row) -> str | None:
    """Return a name that rows share whose objects one list contains; None if there is none, or if the row lacks a value.

    >>> submissions = ObjectList("/courses/{course}/students/submissions", {"student_ids[]": "user", "assignment_ids[]": "task"})
    >>> list_name(submissions, {"course": 5, "task": 7, "user": 9}), list_name(submissions, {"task": 7}), list_name(None, {})
    ('5 7', None, None)
    """
    if several is None:
        return None
    varying, *_ = several.ids.values()
    values = [row.get(name) for name in _shared(several, varying)]
    return None if None in values else " ".join(map(str, values))


def lists_of(several: ObjectList, rows: Iterable[Row]) -> list[list[Row]]:
    """Group rows into lists in which one column differs and the others are equal; single rows are left out.

    Lists in which several columns differ would contain each combination of their values, most of them unwanted.

    Args:
        several: The path.
        rows: Column → value, all with the columns of the path and of the ids.
    """
    found: list[list[Row]] = []
    rest = list(rows)
    for varying in several.ids.values():
        groups = defaultdict[tuple[Any, ...], list[Row]](list)
        for row in rest:
            groups[tuple(row[name] for name in _shared(several, varying))].append(row)
        rest = [row for group in groups.values() if len(group) == 1 for row in group]
        for group in groups.values():
            if len(group) > 1:
                found += [group[start : start + several.most] for start in range(0, len(group), several.most)]
    return found


def parameters_of(several: ObjectList, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the query parameters of a list, each value once."""
    return [
        (name, str(value))
        for name, column in several.ids.items()
        for value in dict.fromkeys(row[column] for row in rows)
    ]


def _shared(several: ObjectList, varying: str) -> list[str]:
    """Return the columns that are equal in a list."""
    named = [name for _, name, _, _ in Formatter().parse(several.path) if name]
    return [*named, *(column for column in several.ids.values() if column != varying)]
