"""Loads objects that REST gave into a model's table, in the caller's transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from canvas_sync_dagster.catalogue import Column, Model
from canvas_sync_dagster.errors import ReportContentError
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.merge import OBSERVED, Merged, Stage
from canvas_sync_dagster.warehouse.loading.target import inspect_target
from canvas_sync_dagster.warehouse.reading.column_limits import with_room
from canvas_sync_dagster.warehouse.reading.frames import ROW, Reject, frame_of, text_of, valid
from canvas_sync_dagster.warehouse.reading.source import LoadCounts, Source, described

Row = Mapping[str, object]


def load_rows(
    connection: Connection, schema: str, model: Model, rows: Iterable[Row], source: Source, *, timed: bool = False
) -> LoadCounts:
    """Loads objects that REST gave, already under the names of the columns; of several with one key the last counts.

    A column that an object does not tell keeps its value. A row that changes loses its digest: no report wrote it.

    Args:
        connection: In a transaction, which the caller ends.
        schema: The tenant's.
        model: What the rows are.
        rows: Column → value; other names are passed over.
        source: Where they come from. If it is not `complete`, so that no watermark speaks for its rows, the table keeps
            of equal rows, too, how fresh they are known to be.
        timed: Whether each row has a moment of its own, as `observed_at`, in place of the source's.

    Raises:
        ReportContentError: A value does not fit its column.
        SchemaError: The table is not as it should be.
    """
    start = time.perf_counter()
    given = list(rows)
    total = Merged()
    shapes = _by_shape(model, _by_key(model, given, source))
    for shape, alike in shapes.items():
        columns = [model[name] for name in shape] + ([OBSERVED] if timed else [])
        total += _merge(connection, schema, model, columns, alike, source)
    distinct = sum(map(len, shapes.values()))
    return LoadCounts(
        rows_in_report=len(given),
        inserted=total.inserted,
        updated=total.updated,
        unchanged=total.unchanged,
        superseded=total.superseded,
        duplicates=len(given) - distinct,
        seconds={"merge": time.perf_counter() - start},
    )


def _by_key(model: Model, rows: Iterable[Row], source: Source) -> list[Row]:
    """Lays rows of one key over each other, so that what only an earlier one tells is kept."""
    merged: dict[tuple[str | None, ...], Row] = {}
    for row in rows:
        key = tuple(text_of(row.get(name)) for name in model.key)
        if lost := [name for name, value in zip(model.key, key, strict=True) if not value]:
            raise _unfit(model, source, Reject(0, lost[0], "the key is empty"))
        merged[key] = {**merged.get(key, {}), **row}
    return list(merged.values())


def _by_shape(model: Model, rows: Iterable[Row]) -> dict[tuple[str, ...], list[Row]]:
    shapes: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        shapes.setdefault(tuple(column.name for column in model.columns if column.name in row), []).append(row)
    return shapes


def _merge(
    connection: Connection, schema: str, model: Model, columns: Sequence[Column], rows: Sequence[Row], source: Source
) -> Merged:
    timed, content = OBSERVED in columns, [column for column in columns if column is not OBSERVED]
    target = inspect_target(connection, schema, model, {column.name for column in content})
    frame, rejects = valid(frame_of(rows, columns), columns)
    frame, too_large = with_room(frame, target.types)
    if rejects := [*rejects, *too_large]:
        raise _unfit(model, source, rejects[0])
    if source.is_outdated:
        return Merged(superseded=len(rows))
    stage = Stage(connection, target, content, timed=timed)
    stage.add(frame.drop(ROW))
    return stage.merge_rows(source.observed_at, refresh=not source.complete)


def _unfit(model: Model, source: Source, reject: Reject) -> ReportContentError:
    where = described(model.name, source)
    return ReportContentError(f"{where}: {reject.column}: {reject.reason}. Nothing was published.")
