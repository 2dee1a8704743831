"""Applies `Model.protected` to rows, frames and raw records: excluded values are left out, hashed texts are replaced."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import polars as pl

from canvas_sync_dagster.catalogue import Model, normalize
from canvas_sync_dagster.catalogue.keyed_hash import KeyedHash
from canvas_sync_dagster.catalogue.model import Protected
from canvas_sync_dagster.warehouse.reading.frames import cells, fields, text_of


def protected_row(model: Model, row: Mapping[str, object]) -> dict[str, object]:
    """Return a row, column → value, without excluded columns and with hashes in place of texts.

    Applied twice, it changes nothing more.
    """
    kept = dict(row)
    for each in model.protected:
        name = each.column.name
        if name not in kept:
            continue
        if each.hash is None:
            del kept[name]
        else:
            kept[name] = hashed(kept[name], each.hash)
    return kept


def hashed(value: object, hash_of: KeyedHash) -> str | None:
    """Return the hash of what a text column would store; None for an empty text, which is stored as null."""
    text = text_of(value)
    return hash_of(text) if text else None


def protected_frame(frame: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Return a frame of valid values, in which hashes replace texts. Excluded columns have no source, and are not in it."""
    columns = [
        pl.Series(each.column.name, [hashed(text, each.hash) for text in frame.get_column(each.column.name)], pl.String)
        for each in model.protected
        if each.hash is not None and each.column.name in frame.columns
    ]
    return frame.with_columns(columns) if columns else frame


def protected_record(
    record: bytes, header: Sequence[str], separator: str, protected: Sequence[Protected]
) -> bytes | None:
    """Return a raw record with empty values and hashes in place of protected values; the rest keeps its spelling.

    Args:
        record: Without its line end.
        header: Names of its values.
        separator: Between its values.
        protected: Columns by whose headers the values are found.

    Returns:
        None if the record cannot be divided into values as the header requires, so that the values cannot be found.
    """
    try:
        values = fields(record, separator)
        places = cells(record, separator)
    except ValueError:
        return None
    if not len(values) == len(places) == len(header):
        return None
    by_header = {normalize(name): each for each in protected for name in each.column.report}
    text, parts, at = record.decode(), list[str](), 0
    for name, value, (start, end) in zip(header, values, places, strict=True):
        found = by_header.get(normalize(name))
        if found is None:
            continue
        new = hashed(value, found.hash) if found.hash is not None else None
        parts += [text[at:start], _cell(new or "", separator)]
        at = end
    return "".join([*parts, text[at:]]).encode()


def _cell(value: str, separator: str) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=separator, lineterminator="").writerow([value, ""])
    return line.getvalue().removesuffix(separator)
