"""Values that an existing table does not take: ids beyond its `integer`, texts beyond its `varchar(50)`, nulls."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

import polars as pl

from canvas_sync_dagster.warehouse.reading.frames import ROW, Reject

LARGEST = {"integer": 2**31 - 1, "smallint": 2**15 - 1}
"""Type → its largest value. Ids of another shard have fourteen digits."""
LONGEST = re.compile(r"character(?: varying)?\((\d+)\)")


def within_limits(
    frame: pl.DataFrame, types: Mapping[str, str], required: Set[str] = frozenset()
) -> tuple[pl.DataFrame, list[Reject]]:
    """Separate the rows that have a value which its column does not take.

    Args:
        frame: Valid by the types of the model, with `_row`.
        types: Column → its real type, as PostgreSQL spells it.
        required: Columns that are NOT NULL.

    Returns:
        The other rows, and the rejects.
    """
    rejects: list[Reject] = []
    for name, kind in types.items():
        if name in required and name in frame.columns and frame.get_column(name).null_count():
            reason = (
                f"it is empty, but the column is NOT NULL; drop that, or map a column that is always filled to {name}"
            )
            rejects += [
                Reject(int(row), name, reason, reason) for row in frame.filter(pl.col(name).is_null()).get_column(ROW)
            ]
            frame = frame.filter(pl.col(name).is_not_null())
        if (fits := _fits(frame, name, kind)) is None:
            continue
        for row, value in frame.filter(~fits).select(ROW, name).iter_rows():
            advice = f"the column is {kind}; alter it to {'text' if 'char' in kind else 'bigint'}"
            rejects.append(
                Reject(row, name, f"{str(value)[:100]!r} does not fit: {advice}", f"the value does not fit: {advice}")
            )
        frame = frame.filter(fits.fill_null(value=True))
    return frame, rejects


def _fits(frame: pl.DataFrame, name: str, kind: str) -> pl.Expr | None:
    """Return which values fit; None: all."""
    stored = frame.schema.get(name)
    if stored == pl.Int64 and kind in LARGEST:
        return pl.col(name).is_between(-LARGEST[kind] - 1, LARGEST[kind])
    if stored == pl.String and (limit := LONGEST.fullmatch(kind)):
        return pl.col(name).str.len_chars() <= int(limit[1])
    return None
