"""Applies the user's functions to the rows of a report: transforms of single values, then alterations of whole rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from canvas_sync_dagster.catalogue import Column, ColumnType, Model
from canvas_sync_dagster.signatures import accepts_arguments, raised_at
from canvas_sync_dagster.warehouse.reading.frames import ROW, Layout, Reject, fields, text_of, valid


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

    A row whose key they change is rejected, too: what a report lists is compared with the table before any function is
    called. Values are converted and checked only in the columns that functions changed.

    Args:
        frame: Rows, with `_row`; valid but for the columns that have a transform, which are text.
        records: Raw, as bytes; `_row` points into them.
        header: Names of their values.
        separator: Between their values.
        model: Whose functions.

    Returns:
        The rows that are left, the rejects, and how many rows the functions left out.
    """
    calls = _Calls(frame.get_column(ROW).to_list())
    columns = [model[name] for name in frame.columns if not name.startswith("_")]
    lines = records.gather(calls.rows).to_list() if _need_record(columns) else []
    lazy = [Record(line, header, separator) for line in lines]
    results = {
        column.name: _transformed(
            column.transform, frame.get_column(column.name), lazy, calls, own=bool(model.alterations)
        )
        for column in columns
        if column.transform is not None
    }
    left_out: set[int] = set()
    if model.alterations:
        results, left_out = _altered(model, frame.select(c.name for c in columns), results, calls)
    changed = [column for column in columns if column.name in results]
    texts = [pl.Series(c.name, _texts(results[c.name], c.type, calls), dtype=pl.String) for c in changed]
    gone = left_out | calls.failed.keys()
    left = frame.with_columns(texts)
    left = left[[at for at in range(frame.height) if at not in gone]] if gone else left
    checked, unfit = valid(left, changed)
    return checked, [*calls.failed.values(), *unfit], len(left_out)


class Record(Mapping[str, str]):
    """The whole record, header → text, parsed when a function first reads from it.

    Most transforms never do: to parse a record takes 5 µs, ten times as long as a call.
    """

    __slots__ = ("_header", "_line", "_separator", "_values")

    def __init__(self, line: bytes, header: Sequence[str], separator: str) -> None:
        self._line, self._header, self._separator = line, header, separator
        self._values: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._parsed()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())

    def __repr__(self) -> str:
        return f"<record of {len(self._header)} columns>"

    def _parsed(self) -> dict[str, str]:
        if self._values is None:
            values = fields(self._line, self._separator)
            # Of two columns with one name the first counts, as everywhere.
            self._values = dict(zip(reversed(self._header), reversed(values), strict=True))
        return self._values


@dataclass(slots=True)
class _Calls:
    """Calls of the user's functions for the rows of a frame; each row is rejected for its first exception.

    Attributes:
        rows: Index of each row's record.
        failed: Position in the frame → reject.
    """

    rows: Sequence[int]
    failed: dict[int, Reject] = field(default_factory=dict)

    def fail(self, at: int, error: Exception) -> None:
        failed = f"a function of the mapping failed{raised_at(error)}: {type(error).__name__}"
        self.failed.setdefault(at, Reject(self.rows[at], "", f"{failed}: {error}", failed))


def _need_record(columns: Sequence[Column]) -> bool:
    return any(column.transform is not None and accepts_arguments(column.transform, 2) for column in columns)


def _texts(results: Sequence[object], kind: ColumnType, calls: _Calls) -> list[str | None]:
    """Return results as text; one that rows share is converted once."""
    texts: dict[int, str | None] = {}
    for at, value in enumerate(results):
        if id(value) not in texts:
            try:
                texts[id(value)] = text_of(value, kind)
            except Exception as error:
                calls.fail(at, error)
    return [texts.get(id(value)) for value in results]


def _transformed(
    transform: Callable[..., object], texts: pl.Series, records: Sequence[Record], calls: _Calls, *, own: bool
) -> list[object]:
    """Return the result of a transform for each row; None for rows that fail.

    A function of the value alone is called once per distinct value.

    Args:
        transform: The user's function.
        texts: Its arguments.
        records: Of the same rows; unused by a function of the value alone.
        calls: Which collects the exceptions.
        own: Whether rows must not share a result, because an alteration may change it in place.
    """
    arguments = texts.fill_null("").to_list()
    results: list[object] = [None] * len(arguments)
    if accepts_arguments(transform, 2):
        for at, (value, record) in enumerate(zip(arguments, records, strict=True)):
            try:
                results[at] = transform(value, record)
            except Exception as error:
                calls.fail(at, error)
        return results
    found: dict[str, object] = {}
    raised: dict[str, Exception] = {}
    for value in dict.fromkeys(arguments):
        try:
            found[value] = transform(value)
        except Exception as error:
            raised[value] = error
    for at, value in enumerate(arguments):
        if value in raised:
            calls.fail(at, raised[value])
        else:
            results[at] = deepcopy(found[value]) if own else found[value]
    return results


def _altered(
    model: Model, frame: pl.DataFrame, results: Mapping[str, Sequence[object]], calls: _Calls
) -> tuple[dict[str, list[Any]], set[int]]:
    """Return the columns that alterations or transforms changed, and the positions of the rows that are left out."""
    before = frame.to_dicts()
    after: list[dict[str, Any]] = []
    left_out: set[int] = set()
    for at, row in enumerate(before):
        row.update((name, values[at]) for name, values in results.items())
        changed: dict[str, Any] | None = row
        if at not in calls.failed:
            try:
                changed = _through(model, row)
            except Exception as error:
                calls.fail(at, error)
        if changed is None:
            left_out.add(at)
        after.append(row if changed is None else changed)
    columns = {name: [row.get(name) for row in after] for name in frame.columns}
    touched = {
        name: values
        for name, values in columns.items()
        if name in results or any(new is not old[name] for new, old in zip(values, before, strict=True))
    }
    return touched, left_out


def _through(model: Model, row: Mapping[str, Any]) -> dict[str, Any] | None:
    changed: dict[str, Any] | None = dict(row)
    for alteration in model.alterations:
        if changed is None:
            return None
        changed = alteration(changed)
    if changed is not None and any(str(changed.get(name)) != str(row[name]) for name in model.key):
        raise ValueError(f"it changed the key ({', '.join(model.key)}); map another column to it instead")
    return changed
