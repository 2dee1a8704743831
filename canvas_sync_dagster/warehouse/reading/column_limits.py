"""Values that a table which was there before has no room for: ids beyond its `integer`, texts beyond its `varchar(50)`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from canvas_sync_dagster.warehouse.reading.frames import ROW, Reject

LARGEST = {"integer": 2**31 - 1, "smallint": 2**15 - 1}
"""Type → its largest value. Ids of another shard have fourteen digits."""
LONGEST = re.compile(r"character(?: varying)?\((\d+)\)")


def with_room(frame: pl.DataFrame, types: Mapping[str, str]) -> tuple[pl.DataFrame, list[Reject]]:
    """Parts the rows whose table has no room for one of their values.

    Args:
        frame: Valid by the types of the model, with `_row`.
        types: Column → its real type.
    """
    rejects: list[Reject] = []
    for name, kind in types.items():
        if (roomy := _has_room(frame, name, kind)) is None:
            continue
        for row, value in frame.filter(~roomy).select(ROW, name).iter_rows():
            advice = f"the column is {kind}; alter it to {'text' if 'char' in kind else 'bigint'}"
            rejects.append(
                Reject(row, name, f"{str(value)[:100]!r} does not fit: {advice}", f"the value does not fit: {advice}")
            )
        frame = frame.filter(roomy.fill_null(value=True))
    return frame, rejects


def _has_room(frame: pl.DataFrame, name: str, kind: str) -> pl.Expr | None:
    """Says which values there is room for; None: for all."""
    stored = frame.schema.get(name)
    if stored == pl.Int64 and kind in LARGEST:
        return pl.col(name).is_between(-LARGEST[kind] - 1, LARGEST[kind])
    if stored == pl.String and (limit := LONGEST.fullmatch(kind)):
        return pl.col(name).str.len_chars() <= int(limit[1])
    return None
