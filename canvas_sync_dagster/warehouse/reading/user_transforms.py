"""Sends rows of a report through the user's functions: transforms of single values, and alterations of whole rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from canvas_sync_dagster.catalogue import Column, ColumnType, Model
from canvas_sync_dagster.catalogue.headers import normalize
from canvas_sync_dagster.warehouse.reading.frames import ROW, Layout, Reject, fields, frame_of, valid


def raw(layout: Layout) -> Layout:
    """Return a layout that reads a transform's column as text: its type is that of the result, not of the argument."""
    columns = [
        (replace(column, type=ColumnType.TEXT) if column.transform else column, index)
        for column, index in layout.columns
    ]
    return replace(layout, columns=tuple(columns))


def through_functions(
    frame: pl.DataFrame, records: pl.Series, header: Sequence[str], separator: str, model: Model
) -> tuple[pl.DataFrame, list[Reject], int]:
    """Apply a model's functions to rows; a row for which one raises is rejected with the error.

    So is one whose key they change: what a report lists is compared with the table before any function is called.

    Args:
        frame: Rows, with `_row`; valid but for the columns that have a transform, which are text.
        records: Raw, as bytes; `_row` points into them.
        header: Names of their values.
        separator: Between their values.
        model: Whose functions.

    Returns:
        The rows that are left, the rejects, and how many rows the functions left out.
    """
    columns = [model[name] for name in frame.columns if name != ROW and not name.startswith("_")]
    spelled = _spelled(columns, header)
    kept: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for row in frame.to_dicts():
        number = int(row[ROW])
        try:
            values = fields(records[number], separator)
            # Of two columns with one name the first counts, as everywhere.
            record = dict(zip(reversed(header), reversed(values), strict=True))
            changed = _changed(model, spelled, {c.name: row[c.name] for c in columns}, record)
        except Exception as error:
            failed = f"a function of the mapping failed: {type(error).__name__}"
            rejects.append(Reject(number, "", f"{failed}: {error}", failed))
            continue
        if changed is not None:
            kept.append({**{name: row[name] for name in frame.columns if name not in changed}, **changed})
    altered, unfit = _checked(kept, columns, frame)
    return altered, rejects + unfit, frame.height - len(kept) - len(rejects)


def _changed(
    model: Model, spelled: Mapping[str, str], before: Mapping[str, Any], record: dict[str, str]
) -> dict[str, Any] | None:
    row = dict(before)
    for column in model.columns:
        if column.transform is not None and column.name in spelled:
            row[column.name] = column.transform(record[spelled[column.name]], record)
    key = [str(before[name]) for name in model.key]
    changed: dict[str, Any] | None = row
    for alteration in model.alterations:
        if changed is None:
            return None
        changed = alteration(changed)
    if changed is not None and [str(changed.get(name)) for name in model.key] != key:
        raise ValueError(f"it changed the key ({', '.join(model.key)}); map another column to it instead")
    return changed


def _spelled(columns: Sequence[Column], header: Sequence[str]) -> dict[str, str]:
    """Maps columns to their names in this header, which forgives other spellings than the declared ones."""
    there = {normalize(name): name for name in reversed(header)}
    return {
        column.name: there[normalize(name)]
        for column in columns
        for name in reversed(column.report)
        if normalize(name) in there
    }


def _checked(
    rows: Sequence[dict[str, Any]], columns: Sequence[Column], like: pl.DataFrame
) -> tuple[pl.DataFrame, list[Reject]]:
    """Types what the functions returned; `_row` and the columns that no table has go along."""
    texts = frame_of(rows, columns)
    checked, rejects = valid(texts, columns)
    along = [name for name in like.columns if name not in texts.columns or name == ROW]
    untyped = pl.DataFrame(
        {name: [row[name] for row in rows] for name in along}, schema={n: like.schema[n] for n in along}
    )
    places = checked.get_column(ROW)
    numbers = untyped.get_column(ROW)
    moved = [replace(each, row=int(numbers[each.row])) for each in rejects]
    return pl.concat([untyped[places.to_list()], checked.drop(ROW)], how="horizontal").select(like.columns), moved
