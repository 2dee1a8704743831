"""Loads the rows of a report, or of a REST list, into a model's table, in the caller's transaction.

Records are compared by digest before they are parsed; only what differs is typed, copied and merged. A file in the
order of its key, as reports are, streams through in blocks. One that is not is read twice: once to learn which records
belong to one key, once to load them.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import BinaryIO, Protocol

import polars as pl
from psycopg import sql

from canvas_sync_dagster.catalogue import Column, ColumnType, Enrichment, HeaderMatch, Model, match_header
from canvas_sync_dagster.errors import RejectThresholdError, ReportContentError
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.digest import salt
from canvas_sync_dagster.warehouse.frames import ROW, Layout, Reject, frame_of, parse, valid
from canvas_sync_dagster.warehouse.keyed import (
    DIGEST,
    OLD_DIGEST,
    PREFER,
    KeyedBlock,
    OutOfOrderError,
    ahead,
    changed_keys,
    in_key_order,
    keyed,
    limited,
    whole_keys,
    winners,
)
from canvas_sync_dagster.warehouse.merge import Merged, Stage, copy_frame, empty_table
from canvas_sync_dagster.warehouse.records import read_blocks, read_header
from canvas_sync_dagster.warehouse.rejects import write_rejects
from canvas_sync_dagster.warehouse.target import Target, inspect_target

Opener = Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from and how fresh they are.

    Attributes:
        scope: Canvas term id as digits, or empty.
        observed_at: Moment of the rows on Canvas's clock: the report's `started_at`.
        report: Canvas's name of the report, or the path of a list.
        report_id: Canvas's id of the report.
        complete: Whether these are all the rows of the scope.
        watermark: Freshness of the newest load of this model and scope. An older source changes nothing: whatever it
            says differently has been said anew since.
    """

    scope: str
    observed_at: datetime
    report: str
    report_id: int | None = None
    complete: bool = True
    watermark: datetime | None = None

    @property
    def is_outdated(self) -> bool:
        return self.watermark is not None and self.observed_at < self.watermark


@dataclass(frozen=True, slots=True)
class RejectLimits:
    """From when on a report counts as broken instead of having broken rows.

    Attributes:
        fraction: Of the report's rows.
        minimum: Rows.
    """

    fraction: float = 0.05
    minimum: int = 100


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """What became of each row: the first is the sum of the next six.

    Attributes:
        rows_in_report: Records in the file.
        inserted: Rows that were not there.
        updated: Rows whose content changed.
        unchanged: Rows that were there already.
        superseded: Rows that are known fresher from elsewhere.
        rejected: Records that cannot be loaded.
        duplicates: Records whose key another record of the file speaks for.
        header: How the header matched; None for a list.
        seconds: Phase → seconds.
    """

    rows_in_report: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    rejected: int = 0
    duplicates: int = 0
    header: HeaderMatch | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Keys that the report speaks of."""
        return self.rows_in_report - self.rejected - self.duplicates

    def as_dict(self) -> dict[str, int]:
        """Returns the counts by name."""
        named = ("rows_in_report", "inserted", "updated", "unchanged", "superseded", "rejected", "duplicates")
        return {name: getattr(self, name) for name in named}


def load_csv(
    connection: Connection,
    schema: str,
    model: Model,
    open_file: Opener,
    source: Source,
    *,
    prefer: str | None = None,
    limits: RejectLimits = RejectLimits(),
    batch_rows: int | None = None,
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

    Raises:
        HeaderContractError: The key's column is missing.
        RejectThresholdError: Too many records are unreadable.
        SchemaError: The table is not as it should be.
    """
    file = ReportCsv.open(open_file, model, source, prefer, batch_rows)
    target = inspect_target(connection, schema, model, file.columns)
    loading = _Loading(connection, schema, model, source, file, target)
    try:
        with connection.transaction():
            loading.in_order()
    except OutOfOrderError:
        loading = _Loading(connection, schema, model, source, file, target)
        loading.in_any_order()
    loading.refuse_broken(limits)
    return loading.counts()


@dataclass(frozen=True, slots=True)
class ReportCsv:
    """A CSV whose header is understood.

    Attributes:
        open_file: Opens it; may be called again.
        model: What its records are.
        match: How its header matched.
        layout: Where it holds what.
        seed: Of its digests.
        first_line: Physical line of the first record behind the header.
        batch_rows: Records per block, at most.
    """

    open_file: Opener
    model: Model
    match: HeaderMatch
    layout: Layout
    seed: int
    first_line: int
    batch_rows: int | None = None

    @classmethod
    def open(
        cls, open_file: Opener, model: Model, source: Source, prefer: str | None = None, batch_rows: int | None = None
    ) -> ReportCsv:
        """Reads the header.

        Raises:
            HeaderContractError: The key's column is missing.
            ReportContentError: There is no header.
        """
        where = described(model.name, source)
        with open_file() as file:
            head, lines = read_header(file, where=where)
        wanted = {column.name: column.report for column in model.report_columns()}
        match = match_header(head.names, wanted, required=model.key, where=where)
        columns = [(column, match.positions[column.name]) for column in model.columns if column.name in match.positions]
        preferred = match_header(head.names, {PREFER: (prefer or "",)}, required=(), where=where).positions
        columns += [(Column(PREFER, ColumnType.TEXT), index) for index in preferred.values() if prefer]
        layout = Layout(len(head.names), head.separator, tuple(columns))
        return cls(open_file, model, match, layout, salt(model, match, prefer), lines + 1, batch_rows)

    @property
    def columns(self) -> set[str]:
        """Columns of the table that the file tells."""
        return {column.name for column, _ in self.layout.columns} - {PREFER}

    def blocks(self) -> Iterator[KeyedBlock]:
        """Reads all records; the next block is prepared in a thread while one is worked on."""
        with self.open_file() as file:
            read_header(file, where="")
            key = [self.model[name] for name in self.model.key]
            cut = limited(read_blocks(file, first_line=self.first_line), self.batch_rows)
            yield from ahead(keyed(block, self.layout, key, self.seed) for block in cut)


def described(table: str, source: Source) -> str:
    """Names a table of a report: `provisioning_csv 17, courses of term 118`."""
    number = f" {source.report_id}" if source.report_id is not None else ""
    return f"{source.report}{number}, {table}{f' of term {source.scope}' if source.scope else ''}"


def bigints(name: str, text: bytes | None) -> pl.Series:
    """Makes a series of what PostgreSQL's `int8send` wrote, one value after the other."""
    values = array("q", text or b"")
    if sys.byteorder == "little":
        values.byteswap()
    return pl.Series(name, values, dtype=pl.Int64)


class _Sink(Protocol):
    def add(self, frame: pl.DataFrame) -> None: ...
    def finish(self, *, sorted_by_key: bool) -> Merged: ...


class _Direct:
    """Rows go straight into a table that was empty."""

    def __init__(self, connection: Connection, target: Target, observed_at: datetime) -> None:
        self._connection, self._target, self._rows = connection, target, 0
        self._observed_at = observed_at.isoformat()

    def add(self, frame: pl.DataFrame) -> None:
        if "observed_at" in self._target.system:
            frame = frame.with_columns(pl.lit(self._observed_at).alias("observed_at"))
        if not self._target.has_digests:
            frame = frame.drop(DIGEST)
        self._rows += copy_frame(self._connection, self._target.name, frame)

    def finish(self, *, sorted_by_key: bool) -> Merged:
        return Merged(inserted=self._rows)


class _Staged:
    """Rows wait in a temporary table for the merge."""

    def __init__(
        self, connection: Connection, target: Target, columns: Sequence[Column], observed_at: datetime
    ) -> None:
        self._stage, self._observed_at = Stage(connection, target, columns), observed_at

    def add(self, frame: pl.DataFrame) -> None:
        self._stage.add(frame)

    def finish(self, *, sorted_by_key: bool) -> Merged:
        return self._stage.merge(self._observed_at, sorted_by_key=sorted_by_key)


class _Outdated:
    """Rows of a report that is older than what was loaded last: they are counted, and change nothing."""

    def __init__(self) -> None:
        self._rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        self._rows += frame.height

    def finish(self, *, sorted_by_key: bool) -> Merged:
        return Merged(superseded=self._rows)


class _Loading:
    """One load under way: what was counted, and where rows go."""

    def __init__(
        self, connection: Connection, schema: str, model: Model, source: Source, file: ReportCsv, target: Target
    ) -> None:
        self._connection, self._schema, self._model = connection, schema, model
        self._source, self._file, self._target = source, file, target
        self._key = list(model.key)
        self._records = self._rejected = self._duplicates = self._unchanged = 0
        self._first_reject: tuple[Reject, int] | None = None
        self._merged = Merged()
        self._seconds = dict.fromkeys(("read", "compare", "parse", "copy", "merge"), 0.0)

    def in_order(self) -> None:
        """Streams a file that is in the order of its key.

        Raises:
            OutOfOrderError: It is not.
        """
        if len(self._key) > 1:
            raise OutOfOrderError
        with self._sink() as (sink, empty):
            for block in self._timed_blocks(in_key_order(self._file.blocks(), self._key[0])):
                keys = whole_keys(block.frame, self._key, self._file.seed)
                changed = keys if empty else self._changed(keys)
                self._count_unchanged(keys, changed)
                frame = self._parsed(block, None if changed.height == keys.height else changed)
                self._add(sink, frame)
            self._finish(sink, sorted_by_key=True)

    def in_any_order(self) -> None:
        """Reads the file twice: first all keys and digests, then what changed."""
        frames = []
        for block in self._timed_blocks(self._file.blocks()):
            frames.append(block.frame.drop(ROW))
        keys = whole_keys(pl.concat(frames), self._key, self._file.seed) if frames else None
        del frames
        if keys is None:
            return
        with self._sink() as (sink, empty):
            changed = keys if empty else self._changed(keys, everything=True)
            self._count_unchanged(keys, changed)
            repeated = changed.filter(pl.col("len") > 1).select(self._key)
            waiting = []
            for block in self._timed_blocks(self._file.blocks()):
                frame = self._parsed(block, changed)
                waiting.append(frame.join(repeated, on=self._key, how="semi", maintain_order="left"))
                self._add(sink, frame.join(repeated, on=self._key, how="anti", maintain_order="left"))
            self._add(sink, pl.concat(waiting))
            self._finish(sink, sorted_by_key=False)

    def enrich(self) -> None:
        """Merges a small table into rows that are there."""
        frames = [self._parsed(block, None) for block in self._timed_blocks(self._file.blocks())]
        if not frames:
            return
        chosen = winners(pl.concat(frames), self._key, self._file.seed)
        self._duplicates += sum(frame.height for frame in frames) - chosen.height
        if self._source.is_outdated:
            self._merged = Merged(superseded=chosen.height)
            return
        columns = [column for column, _ in self._file.layout.columns]
        stage = Stage(self._connection, self._target, columns)
        stage.add(chosen.drop(DIGEST))
        with self._timed("merge"):
            merged = stage.merge(self._source.observed_at, sorted_by_key=False, only_existing=True)
        self._merged = replace(merged, superseded=merged.superseded + stage.rows - stage.existing())

    def _finish(self, sink: _Sink, *, sorted_by_key: bool) -> None:
        with self._timed("merge"):
            self._merged = sink.finish(sorted_by_key=sorted_by_key)

    def refuse_broken(self, limits: RejectLimits) -> None:
        """Refuses a report that is broken as a whole."""
        if self._rejected < limits.minimum or self._rejected <= limits.fraction * self._records:
            return
        sample = ""
        if self._first_reject:
            reject, line = self._first_reject
            sample = f"; the first: line {line}, {reject.column or 'the record'}: {reject.reason}"
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
            header=self._file.match,
            seconds=self._seconds,
        )

    @contextmanager
    def _sink(self) -> Iterator[tuple[_Sink, bool]]:
        if self._source.is_outdated:
            yield _Outdated(), False
            return
        with empty_table(self._connection, self._target) as empty:
            if empty:
                yield _Direct(self._connection, self._target, self._source.observed_at), True
            else:
                columns = [column for column, _ in self._file.layout.columns if column.name != PREFER]
                yield _Staged(self._connection, self._target, columns, self._source.observed_at), False

    def _changed(self, keys: pl.DataFrame, *, everything: bool = False) -> pl.DataFrame:
        """Leaves out the keys whose digest in the table is that of the file."""
        if not self._target.has_digests or keys.is_empty():
            return keys
        with self._timed("compare"):
            column = None if everything else keys.get_column(self._key[0])
            bounds = None if column is None else (column[0], column[-1])
            return changed_keys(keys, self._old_digests(bounds), self._key)

    def _old_digests(self, bounds: tuple[int, int] | None) -> pl.DataFrame:
        """Reads digests of the table: those between two keys, or all.

        As two long byte strings: a million pairs take 0.2 s, against 1.8 s as rows of a COPY.
        """
        condition: sql.Composable = sql.SQL("")
        if bounds:
            first, last = map(sql.Literal, bounds)
            condition = sql.SQL("and {} between {} and {}").format(sql.Identifier(self._key[0]), first, last)
        columns = [*self._key, "row_hash"]
        query = sql.SQL("select {} from {} where row_hash is not null {}").format(
            sql.SQL(", ").join(
                sql.SQL("string_agg(int8send({}), '')").format(sql.Identifier(name)) for name in columns
            ),
            self._target.name,
            condition,
        )
        with self._connection.cursor(binary=True) as cursor:
            row = cursor.execute(query).fetchone()
        return pl.DataFrame(
            [bigints(name, value) for name, value in zip([*self._key, OLD_DIGEST], row or (), strict=True)]
        )

    def _count_unchanged(self, keys: pl.DataFrame, changed: pl.DataFrame) -> None:
        same = keys.height - changed.height
        self._unchanged += same
        self._duplicates += int(keys.get_column("len").sum()) - int(changed.get_column("len").sum()) - same

    def _parsed(self, block: KeyedBlock, changed: pl.DataFrame | None) -> pl.DataFrame:
        """Parses the records of a block whose key changed or is unreadable; None: all of them."""
        with self._timed("parse"):
            frame, records, data = block.frame, block.records, block.data
            if changed is not None:
                unreadable = pl.any_horizontal(pl.col(name).is_null() for name in self._key)
                same = frame.filter(~unreadable).join(changed, on=self._key, how="anti", maintain_order="left")
                frame = frame.join(same.select(ROW), on=ROW, how="anti", maintain_order="left")
                records, data = [block.records[row] for row in frame.get_column(ROW)], None
            parsed, rejects = parse(records, self._file.layout, data) if records else (None, [])
            if parsed is None:
                return self._nothing()
            parsed, rejects = self._without_empty_keys(parsed, rejects)
            rows = frame.get_column(ROW)
            digests = frame.get_column(DIGEST).gather(parsed.get_column(ROW))
        if rejects:
            self._reject(block, [(each, int(rows[each.row])) for each in rejects])
        return parsed.drop(ROW).with_columns(digests)

    def _nothing(self) -> pl.DataFrame:
        columns = [column for column, _ in self._file.layout.columns]
        empty = pl.DataFrame(
            {ROW: pl.Series([], dtype=pl.UInt32)} | {c.name: pl.Series([], dtype=pl.String) for c in columns}
        )
        return valid(empty, columns)[0].drop(ROW).with_columns(pl.Series(DIGEST, [], dtype=pl.Int64))

    def _without_empty_keys(self, frame: pl.DataFrame, rejects: list[Reject]) -> tuple[pl.DataFrame, list[Reject]]:
        for name in self._key:
            lost = frame.filter(pl.col(name).is_null()).get_column(ROW)
            if len(lost):
                rejects = rejects + [Reject(int(row), name, "the key is empty") for row in lost]
                frame = frame.filter(pl.col(name).is_not_null())
        return frame, rejects

    def _reject(self, block: KeyedBlock, rejects: list[tuple[Reject, int]]) -> None:
        self._rejected += len(rejects)
        self._first_reject = self._first_reject or (rejects[0][0], block.lines[rejects[0][1]])
        write_rejects(
            self._connection,
            self._schema,
            model=self._model.name,
            scope=self._source.scope,
            report=self._source.report,
            report_id=self._source.report_id,
            observed_at=self._source.observed_at,
            rejects=((each, block.lines[row], block.records[row]) for each, row in rejects),
        )

    def _add(self, sink: _Sink, frame: pl.DataFrame) -> None:
        chosen = winners(frame, self._key, self._file.seed)
        self._duplicates += frame.height - chosen.height
        with self._timed("copy"):
            sink.add(chosen)

    def _timed_blocks(self, blocks: Iterator[KeyedBlock]) -> Iterator[KeyedBlock]:
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
    limits: RejectLimits = RejectLimits(),
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
    target = inspect_target(connection, schema, model, file.columns)
    loading = _Loading(connection, schema, narrow, source, file, replace(target, system=target.system - {"row_hash"}))
    loading.enrich()
    loading.refuse_broken(limits)
    return loading.counts()


def load_rows(
    connection: Connection, schema: str, model: Model, rows: Iterable[Mapping[str, object]], source: Source
) -> LoadCounts:
    """Loads objects that REST gave, already under the names of the columns; of several with one key the last counts.

    A column that an object does not tell keeps its value. Digests are cleared: a report did not write these rows last.

    Raises:
        ReportContentError: A value does not fit its column.
    """
    given = list(rows)
    by_key = {tuple(row.get(name) for name in model.key): row for row in given}
    shapes: dict[tuple[str, ...], list[Mapping[str, object]]] = {}
    for row in by_key.values():
        shapes.setdefault(tuple(column.name for column in model.columns if column.name in row), []).append(row)
    total = Merged()
    with _timer() as clock:
        for shape, alike in shapes.items():
            columns = [model[name] for name in shape]
            target = inspect_target(connection, schema, model, set(shape))
            total += _merge_rows(connection, model, target, columns, alike, source)
    return LoadCounts(
        rows_in_report=len(given),
        inserted=total.inserted,
        updated=total.updated,
        unchanged=total.unchanged,
        superseded=total.superseded,
        duplicates=len(given) - len(by_key),
        seconds={"merge": clock()},
    )


def _merge_rows(
    connection: Connection,
    model: Model,
    target: Target,
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, object]],
    source: Source,
) -> Merged:
    frame, rejects = valid(frame_of(rows, columns), columns)
    lost = [name for name in model.key if frame.get_column(name).has_nulls()] if not rejects else []
    if rejects or lost:
        what = rejects[0] if rejects else Reject(0, lost[0], "the key is empty")
        raise ReportContentError(
            f"{described(model.name, source)}: {what.column}: {what.reason}. Nothing was published."
        )
    if source.is_outdated:
        return Merged(superseded=len(rows))
    stage = Stage(connection, target, columns)
    stage.add(frame.drop(ROW))
    return stage.merge(source.observed_at, sorted_by_key=False, only_differing=True)


@contextmanager
def _timer() -> Iterator[Callable[[], float]]:
    start = time.perf_counter()
    yield lambda: time.perf_counter() - start


def count_rows(connection: Connection, schema: str, model: Model) -> int:
    """Counts the rows of a model's table."""
    row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(schema, model.name))).fetchone()
    return int(row[0]) if row else 0
