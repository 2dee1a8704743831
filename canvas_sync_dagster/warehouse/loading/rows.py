"""Load objects from Canvas's REST API into a model's table, in the caller's transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from canvas_sync_dagster.catalogue import Column, Model
from canvas_sync_dagster.errors import RejectThresholdError, ReportContentError
from canvas_sync_dagster.warehouse.erasure import without_erased
from canvas_sync_dagster.warehouse.history import REST, written_by
from canvas_sync_dagster.warehouse.loading.counts import LIMITS_OF_OBJECTS, LoadCounts, RejectLimits
from canvas_sync_dagster.warehouse.loading.merge import OBSERVED, Merged, Stage
from canvas_sync_dagster.warehouse.loading.target import inspect_target
from canvas_sync_dagster.warehouse.reading.column_limits import within_limits
from canvas_sync_dagster.warehouse.reading.frames import ROW, Reject, frame_of, text_of, valid
from canvas_sync_dagster.warehouse.reading.protection import protected_row
from canvas_sync_dagster.warehouse.reading.source import Source, described
from canvas_sync_dagster.warehouse.state.erased_objects import Erased, read_erased, remember_erased
from canvas_sync_dagster.warehouse.state.rejected_rows import RejectedRows
from canvas_sync_dagster.warehouse.warehouse import Table

Row = Mapping[str, object]
Unfit = tuple[Reject, Row]
"""A row that does not fit, and why."""
MANY_REJECTS = 10_000
"""Number of rejects from which a load is refused before its end, so that it does not hold millions of them."""


def load_rows(
    table: Table,
    rows: Iterable[Row],
    source: Source,
    *,
    timed: bool = False,
    keep_rejects: bool = False,
    limits: RejectLimits = LIMITS_OF_OBJECTS,
) -> LoadCounts:
    """Load objects, with the names of the columns as keys; of several objects with one key the last counts.

    A column that an object lacks keeps its value. A row that changes loses its digest, because no report wrote it.

    Args:
        table: Table of the model that the rows are of.
        rows: Column → value; other names are ignored.
        source: Where they come from. If it is not `complete`, so that no watermark covers its rows, `observed_at` of
            equal rows is updated as well.
        timed: Whether each row has its own `observed_at`, in place of the source's.
        keep_rejects: Whether rows that do not fit go to `canvas_sync_rejected_rows`, instead of failing the load.
        limits: Above which number of rejects the source is rejected as a whole.

    Raises:
        ReportContentError: A value does not fit its column, and rejects are not kept.
        RejectThresholdError: Too many rows do not fit.
        SchemaError: The table is not as it should be.
    """
    return load_parts(table, [list(rows)], source, timed=timed, keep_rejects=keep_rejects, limits=limits)


def load_parts(
    table: Table,
    parts: Iterable[Sequence[Row]],
    source: Source,
    *,
    timed: bool = False,
    keep_rejects: bool = False,
    limits: RejectLimits = LIMITS_OF_OBJECTS,
) -> LoadCounts:
    """Load objects in parts, of which only one is in memory at a time; else as `load_rows`.

    A key that comes in several parts is written once per part, and counted as often.
    """
    start = time.perf_counter()
    erased = read_erased(table.warehouse)
    counts, rejects = LoadCounts(), list[Unfit]()
    for part in parts:
        rows = [protected_row(table.model, row) for row in part] if table.model.protected else part
        counted, unfit = _load_part(table, rows, source, timed=timed, erased=erased)
        rejects += unfit
        counts = LoadCounts.total([counts, counted])
        if len(rejects) > MANY_REJECTS:
            _refuse_many(table, source, rejects, limits, counts)
    _settle(table, source, rejects, keep=keep_rejects, limits=limits, counts=counts)
    return replace(counts, seconds={"merge": time.perf_counter() - start})


def _load_part(
    table: Table, rows: Sequence[Row], source: Source, *, timed: bool, erased: Erased
) -> tuple[LoadCounts, list[Unfit]]:
    model, total = table.model, Merged()
    distinct, rejects = _by_key(model, rows)
    keyless, skipped = len(rejects), 0
    for shape, alike in _by_shape(model, distinct).items():
        columns = [model[name] for name in shape] + ([OBSERVED] if timed else [])
        merged, unfit, left_out = _merge(table, columns, alike, source, erased=erased)
        total += merged
        rejects += unfit
        skipped += left_out
    counts = LoadCounts(
        rows_in_report=len(rows),
        inserted=total.inserted,
        updated=total.updated,
        unchanged=total.unchanged,
        superseded=total.superseded,
        rejected=len(rejects),
        duplicates=len(rows) - keyless - len(distinct),
        skipped=skipped,
    )
    return counts, rejects


def _settle(
    table: Table,
    source: Source,
    rejects: Sequence[Unfit],
    *,
    keep: bool,
    limits: RejectLimits,
    counts: LoadCounts,
) -> None:
    """Write the rejects, or refuse the source because of them."""
    if not rejects:
        return
    if not keep:
        where, (first, _) = described(table.model.name, source), rejects[0]
        raise ReportContentError(f"{where}: {first.column}: {first.in_messages}. Nothing was published.")
    _refuse_many(table, source, rejects, limits, counts)
    RejectedRows(table.warehouse).write_objects(table.model, source, rejects)


def _refuse_many(
    table: Table, source: Source, rejects: Sequence[Unfit], limits: RejectLimits, counts: LoadCounts
) -> None:
    if limits.are_exceeded(counts):
        where, (first, _) = described(table.model.name, source), rejects[0]
        raise RejectThresholdError(
            f"{where}: {counts.rejected} of {counts.rows_in_report} rows are unreadable; the first: {first.column}: {first.in_messages}. "
            "Nothing was published. Look at the list in Canvas; if its fields have changed, map them anew."
        )


def _by_key(model: Model, rows: Iterable[Row]) -> tuple[list[Row], list[Unfit]]:
    """Merge rows of one key, so that a column which only an earlier one has is kept; return also rows without a key."""
    merged: dict[tuple[str | None, ...], Row] = {}
    rejects: list[Unfit] = []
    for row in rows:
        key = tuple(text_of(row.get(name)) for name in model.key)
        if lost := [name for name, value in zip(model.key, key, strict=True) if not value]:
            rejects.append((Reject(0, lost[0], "the key is empty", "the key is empty"), row))
        else:
            merged[key] = {**merged.get(key, {}), **row}
    return list(merged.values()), rejects


def _by_shape(model: Model, rows: Iterable[Row]) -> dict[tuple[str, ...], list[Row]]:
    shapes: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        shapes.setdefault(tuple(column.name for column in model.columns if column.name in row), []).append(row)
    return shapes


def _merge(
    table: Table,
    columns: Sequence[Column],
    rows: Sequence[Row],
    source: Source,
    *,
    erased: Erased,
) -> tuple[Merged, list[Unfit], int]:
    timed, content = OBSERVED in columns, [column for column in columns if column is not OBSERVED]
    target = inspect_target(table, {column.name for column in content})
    frame, rejects = valid(frame_of(rows, columns), columns)
    frame, too_large = within_limits(frame, target.types, target.required)
    unfit = [(reject, rows[reject.row]) for reject in (*rejects, *too_large)]
    kept, ids = without_erased(frame, table.model, erased)
    remember_erased(table.warehouse, table.model.name, ids)
    left_out, frame = frame.height - kept.height, kept
    if source.is_outdated:
        return Merged(superseded=frame.height), unfit, left_out
    stage = Stage(target, content, timed=timed)
    stage.add(frame.drop(ROW))
    with written_by(table, REST):
        merged = stage.merge_rows(source.observed_at, refresh=not source.complete)
    return merged, unfit, left_out
