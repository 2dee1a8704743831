"""Loads the rows of a report, or of a REST list, into a model's table, in the caller's transaction.

Records are compared by digest before they are parsed; only what differs is typed, copied and merged. A file in the
order of its key, as reports are, streams through in blocks. One that is not is read twice: once to learn which records
belong to one key, once to load them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import polars as pl

from canvas_sync_dagster.catalogue import Column, ColumnType, Enrichment, Model
from canvas_sync_dagster.errors import RejectThresholdError
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.erasure import read_erased, remember_erased, without_erased
from canvas_sync_dagster.warehouse.loading.digest_lookup import KEYS_AT_ONCE, is_known, known_digests, known_keys
from canvas_sync_dagster.warehouse.loading.load_targets import Sink, open_sink
from canvas_sync_dagster.warehouse.loading.merge import Merged, Stage
from canvas_sync_dagster.warehouse.loading.rows import load_rows
from canvas_sync_dagster.warehouse.loading.target import Target, inspect_target
from canvas_sync_dagster.warehouse.reading.column_limits import with_room
from canvas_sync_dagster.warehouse.reading.frames import ROW, Reject, nothing, parse
from canvas_sync_dagster.warehouse.reading.keyed_blocks import (
    DIGEST,
    DigestedBlock,
    KeyedBlock,
    OutOfOrderError,
    edges,
    gathered,
    in_key_order,
    only,
    whole_keys,
    winners,
)
from canvas_sync_dagster.warehouse.reading.report_csv import Opener, ReportCsv
from canvas_sync_dagster.warehouse.reading.source import REJECT_LIMITS, LoadCounts, RejectLimits, Source, described
from canvas_sync_dagster.warehouse.reading.user_transforms import raw, through_functions
from canvas_sync_dagster.warehouse.rejects import write_rejects

__all__ = ["LoadCounts", "Opener", "RejectLimits", "Source", "enrich_csv", "load_csv", "load_rows"]

B = TypeVar("B", DigestedBlock | KeyedBlock, KeyedBlock)


def load_csv(
    connection: Connection,
    schema: str,
    model: Model,
    open_file: Opener,
    source: Source,
    *,
    prefer: str | None = None,
    limits: RejectLimits = REJECT_LIMITS,
    batch_rows: int | None = None,
    listed: list[pl.DataFrame] | None = None,
) -> LoadCounts:
    """Loads one table of a report.

    Of several records with one key the first that fills the column `prefer` counts, else the last one.

    Args:
        connection: In a transaction, which the caller ends.
        schema: The tenant's.
        model: What the records are.
        open_file: Opens the CSV; may be called again.
        source: Where it comes from.
        prefer: Header that decides between records of one key.
        limits: From when on the report counts as broken.
        batch_rows: Records per frame, at most.
        listed: Takes the keys of the report, where the caller wants to know what it lists.

    Raises:
        HeaderContractError: The key's column is missing.
        RejectThresholdError: Too many records are unreadable.
        SchemaError: The table is not as it should be.
    """
    file = ReportCsv.open(open_file, model, source, prefer, batch_rows)
    target = inspect_target(connection, schema, model, {column.name for column in file.loaded})
    loading = _Loading(connection, schema, model, source, file, target, lists=listed is not None)
    try:
        with connection.transaction():
            loading.in_order()
    except OutOfOrderError:
        loading = _Loading(connection, schema, model, source, file, target, lists=listed is not None)
        loading.in_any_order()
    loading.refuse_broken(limits)
    if listed is not None:
        listed += loading.listed or []
    return loading.counts()


class _Loading:
    """One load under way: what was counted, and where rows go."""

    def __init__(
        self,
        connection: Connection,
        schema: str,
        model: Model,
        source: Source,
        file: ReportCsv,
        target: Target,
        *,
        lists: bool,
    ) -> None:
        self._connection, self._schema, self._model = connection, schema, model
        self._source, self._file, self._target = source, file, target
        self._key = list(model.key)
        self._erased = read_erased(connection, schema)
        self._records = self._rejected = self._duplicates = self._unchanged = self._skipped = 0
        self._first_reject: tuple[Reject, int] | None = None
        self._merged = Merged()
        self._was_known = True
        self._compares = target.has_digests and not source.reload
        """Whether records are passed over whose digest the table has."""
        self._passing = self._compares and not file.prefers
        """Whether blocks are compared as they are: of a file whose beginning the table knows no key is read."""
        self.listed: list[pl.DataFrame] | None = [] if lists else None
        self._seconds = dict.fromkeys(("read", "compare", "parse", "copy", "merge"), 0.0)

    def in_order(self) -> None:
        """Streams a file that is in the order of its key.

        Raises:
            OutOfOrderError: It is not.
        """
        if len(self._key) > 1 or self._model[self._key[0]].type is not ColumnType.BIGINT:
            raise OutOfOrderError
        with self._sink() as (sink, empty):
            self._passing = self._passing and not empty
            blocks = self._timed_blocks(self._file.digested(lambda: self._passing))
            ordered = in_key_order(self._not_passed(blocks), self._key[0])
            for block in gathered(self._differing(ordered, empty=empty)):
                self._add(sink, self._parsed(sink, block))
            self._finish(sink, sorted_by_key=True)

    def _differing(self, blocks: Iterator[KeyedBlock], *, empty: bool) -> Iterator[KeyedBlock]:
        """Leaves out the records that the table knows."""
        for block in blocks:
            keys = whole_keys(block.frame, self._key, self._file.seed)
            self._list(keys)
            changed = keys if empty else self._changed(keys)
            self._count_unchanged(keys, changed)
            if changed.height or int(keys.get_column("len").sum()) < len(block.records):
                yield block if changed.height == keys.height else only(block, changed, self._key)

    def _not_passed(self, blocks: Iterator[DigestedBlock | KeyedBlock]) -> Iterator[KeyedBlock]:
        """Passes over the blocks that the table knows as they are, up to the first that it does not.

        Raises:
            OutOfOrderError: A block begins with a key that was passed over, or with an earlier one.
        """
        last: int | None = None
        for found in blocks:
            if isinstance(found, DigestedBlock) and self._passing and len(found.records):
                passed = self._passed(found, last)
                self._passing = passed is not None
                if passed is not None:
                    last = passed
                    continue
            block = self._file.keyed(found)
            first = block.frame.get_column(self._key[0]).min()
            if last is not None and isinstance(first, int) and first <= last:
                raise OutOfOrderError
            yield block

    def _passed(self, found: DigestedBlock, last: int | None) -> int | None:
        """Returns the last key of a block whose records are the table's rows behind a key, and counts it; else None."""
        key = self._model[self._key[0]]
        ends = edges(found.block, self._file.layout, key)
        if ends is None or (last is not None and ends[0] <= last):
            return None
        with self._timed("compare"):
            keys = known_keys(self._connection, self._target, key, ends, found.digests, wanted=self.listed is not None)
        if keys is None:
            return None
        self._unchanged += len(found.records)
        self._list(keys)
        return ends[1]

    def in_any_order(self) -> None:
        """Reads the file twice: first all keys and digests, then what changed."""
        frames = [block.frame.drop(ROW) for block in self._timed_blocks(self._file.blocks())]
        if not frames:
            return
        keys = whole_keys(pl.concat(frames), self._key, self._file.seed).sort(self._key[0])
        self._list(keys)
        del frames
        with self._sink() as (sink, empty):
            changed = keys if empty else self._changed(keys)
            self._count_unchanged(keys, changed)
            repeated = changed.filter(pl.col("len") > 1).select(self._key)
            some = None if changed.height == keys.height else changed.select(self._key)
            del keys, changed
            waiting = []
            for block in self._timed_blocks(self._file.blocks()):
                frame = self._parsed(sink, block if some is None else only(block, some, self._key))
                if repeated.height:
                    waiting.append(frame.join(repeated, on=self._key, how="semi", maintain_order="left"))
                    frame = frame.join(repeated, on=self._key, how="anti", maintain_order="left")
                self._add(sink, frame)
            if waiting:
                self._add(sink, pl.concat(waiting))
            self._finish(sink, sorted_by_key=False)

    def enrich(self) -> None:
        """Merges a small table into rows that are there."""
        frames = [self._parsed(None, block) for block in self._timed_blocks(self._file.blocks())]
        if not frames:
            return
        chosen = winners(pl.concat(frames), self._key, self._file.seed)
        self._duplicates += sum(frame.height for frame in frames) - chosen.height
        if self._source.is_outdated:
            self._merged = Merged(superseded=chosen.height)
            return
        self._list(chosen)
        stage = Stage(self._connection, self._target, self._file.loaded)
        stage.add(chosen.drop(DIGEST))
        with self._timed("merge"):
            self._merged = stage.update_existing(self._source.observed_at)

    def _list(self, keys: pl.DataFrame) -> None:
        if self.listed is not None:
            self.listed.append(keys.select(self._key))

    def _finish(self, sink: Sink, *, sorted_by_key: bool) -> None:
        with self._timed("merge"):
            self._merged = sink.finish(sorted_by_key=sorted_by_key)

    def refuse_broken(self, limits: RejectLimits) -> None:
        """Refuses a report that is broken as a whole."""
        if self._rejected < limits.minimum or self._rejected <= limits.fraction * self._records:
            return
        sample = ""
        if self._first_reject:
            reject, line = self._first_reject
            sample = f"; the first: line {line}, {reject.column or 'the record'}: {reject.in_messages}"
        raise RejectThresholdError(
            f"{described(self._model.name, self._source)}: {self._rejected} of {self._records} rows are unreadable{sample}. "
            "Nothing was published. Look at the report in Canvas; if its columns have changed, map them anew."
        )

    def counts(self) -> LoadCounts:
        merged = self._merged
        return LoadCounts(
            rows_in_report=self._records,
            inserted=merged.inserted,
            updated=merged.updated,
            unchanged=merged.unchanged + self._unchanged,
            superseded=merged.superseded,
            rejected=self._rejected,
            duplicates=self._duplicates,
            skipped=self._skipped,
            header=self._file.match,
            seconds=self._seconds,
        )

    @contextmanager
    def _sink(self) -> Iterator[tuple[Sink, bool]]:
        with open_sink(self._connection, self._target, self._file.loaded, self._source) as opened:
            yield opened

    def _changed(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Leaves out the keys whose digest in the table is that of the file."""
        if not self._compares or keys.is_empty():
            return keys
        columns = [self._model[name] for name in self._key]
        with self._timed("compare"):
            return pl.concat(self._compared(some, columns) for some in keys.iter_slices(KEYS_AT_ONCE))

    def _compared(self, keys: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
        # Changes come in clusters: where there was none, there is likely none, and one sum tells it.
        if self._was_known and is_known(self._connection, self._target, columns, keys):
            return keys.clear()
        known = known_digests(self._connection, self._target, columns, keys)
        changed = keys.filter(~pl.col(DIGEST).is_in(known.implode()))
        self._was_known = changed.is_empty()
        return changed

    def _count_unchanged(self, keys: pl.DataFrame, changed: pl.DataFrame) -> None:
        same = keys.height - changed.height
        self._unchanged += same
        self._duplicates += int(keys.get_column("len").sum()) - int(changed.get_column("len").sum()) - same

    def _parsed(self, sink: Sink | None, block: KeyedBlock) -> pl.DataFrame:
        """Parses the records of a block, and writes down those that cannot be."""
        with self._timed("parse"):
            layout, records = raw(self._file.layout), block.records
            parsed, rejects = parse(records, layout, block.data) if len(records) else (nothing(layout), [])
            parsed, rejects = self._without_empty_keys(parsed, rejects)
            if self._model.functions:
                parsed, failed, skipped = through_functions(
                    parsed, records, self._file.match.header, layout.separator, self._model
                )
                parsed, rejects = self._without_empty_keys(parsed, rejects + failed)
                self._skipped += skipped
            parsed, too_large = with_room(parsed, self._target.types)
            rejects = rejects + too_large
            parsed = self._without_erased(sink, parsed)
            digests = block.frame.get_column(DIGEST).gather(parsed.get_column(ROW))
        if rejects:
            if sink is not None:
                sink.settle()
            self._reject(block, rejects)
        return parsed.drop(ROW).with_columns(digests)

    def _without_erased(self, sink: Sink | None, frame: pl.DataFrame) -> pl.DataFrame:
        if not self._erased:
            return frame
        kept, ids = without_erased(frame, self._model, self._erased)
        self._skipped += frame.height - kept.height
        if ids:
            if sink is not None:
                sink.settle()
            remember_erased(self._connection, self._schema, self._model.name, ids)
        return kept

    def _without_empty_keys(self, frame: pl.DataFrame, rejects: list[Reject]) -> tuple[pl.DataFrame, list[Reject]]:
        for name in self._key:
            lost = frame.filter(pl.col(name).is_null()).get_column(ROW)
            if len(lost):
                rejects = rejects + [Reject(int(row), name, "the key is empty", "the key is empty") for row in lost]
                frame = frame.filter(pl.col(name).is_not_null())
        return frame, rejects

    def _reject(self, block: KeyedBlock, rejects: list[Reject]) -> None:
        self._rejected += len(rejects)
        self._first_reject = self._first_reject or (rejects[0], block.lines[rejects[0].row])
        original = self._source.lines
        write_rejects(
            self._connection,
            self._schema,
            model=self._model.name,
            scope=self._source.scope,
            report=self._source.report,
            report_id=self._source.report_id,
            observed_at=self._source.observed_at,
            header=self._file.match.header,
            separator=self._file.layout.separator,
            rejects=(
                (each, original.get(line := block.lines[each.row], line), block.records[each.row]) for each in rejects
            ),
        )

    def _add(self, sink: Sink, frame: pl.DataFrame) -> None:
        chosen = winners(frame, self._key, self._file.seed)
        self._duplicates += frame.height - chosen.height
        with self._timed("copy"):
            sink.add(chosen)

    def _timed_blocks(self, blocks: Iterator[B]) -> Iterator[B]:
        self._records = 0
        while True:
            with self._timed("read"):
                block = next(blocks, None)
            if block is None:
                return
            self._records += len(block.records)
            yield block

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] += time.perf_counter() - start


def enrich_csv(
    connection: Connection,
    schema: str,
    model: Model,
    enrichment: Enrichment,
    open_file: Opener,
    source: Source,
    *,
    limits: RejectLimits = REJECT_LIMITS,
    listed: list[pl.DataFrame] | None = None,
) -> LoadCounts:
    """Sets columns of rows that are there from another table of the report; rows that are not there are superseded.

    Digests are left alone: they speak of the model's own table. Unreadable records are rejected.

    Raises:
        HeaderContractError: The enriching table lacks its key.
        RejectThresholdError: Too many records are unreadable.
    """
    columns = [replace(model[name], report=(header,)) for name, header in enrichment.columns.items()]
    keys = [replace(model[name], report=(enrichment.key,)) for name in model.key]
    narrow = Model(enrichment.table, (*keys, *columns), model.feed, model.key)
    file = ReportCsv.open(open_file, narrow, source)
    target = inspect_target(connection, schema, model, {column.name for column in file.loaded})
    target = replace(target, system=target.system - {"row_hash"})
    loading = _Loading(connection, schema, narrow, source, file, target, lists=listed is not None)
    loading.enrich()
    loading.refuse_broken(limits)
    if listed is not None:
        listed += loading.listed or []
    return loading.counts()
