"""Records with their keys and digests, and the pure decisions that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from canvas_sync_dagster.catalogue import Column
from canvas_sync_dagster.warehouse.reading.digest import combined, digest
from canvas_sync_dagster.warehouse.reading.frames import Layout, fields, folded, read_columns
from canvas_sync_dagster.warehouse.reading.records import Block

RECORD, LINE, DIGEST = "_record", "_line", "row_hash"
"""Columns of a keyed block in addition to its keys: the raw bytes, the physical line, the digest."""
MOST_DIGITS = 18
"""Every number with at most so many digits is a bigint."""
FEW = 4
"""Of a block, fewer than one record in so many are copied when they are chosen: 0.1 µs per record."""
PREFER = "_prefer"
"""Column for the header that decides between records of one key."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DigestedBlock:
    """A block of records with one digest per record; no key has been read.

    Attributes:
        block: The records.
        digests: One bigint per record.
    """

    block: Block
    digests: pl.Series

    def __len__(self) -> int:
        return len(self.digests)


@dataclass(frozen=True, slots=True)
class KeyedBlock:
    """A block of records whose keys and digests are known.

    Attributes:
        frame: One row per record: `_record` (bytes), `_line`, the key columns (null where unreadable), `row_hash`.
        data: The bytes of exactly these records, joined by newlines, where they are at hand; else None.
    """

    frame: pl.DataFrame
    data: bytes | None = None

    def __len__(self) -> int:
        return self.frame.height

    @property
    def records(self) -> pl.Series:
        return self.frame.get_column(RECORD)

    def slice(self, start: int, end: int) -> KeyedBlock:
        """Return the records from one index up to another."""
        if start == 0 and end == len(self):
            return self
        return KeyedBlock(self.frame.slice(start, end - start))

    def with_keys(self, keys: pl.DataFrame, key: Sequence[str]) -> KeyedBlock:
        """Return the records that have one of the keys, and those whose key is unreadable.

        Args:
            keys: Frame that has the columns of the key.
            key: Columns of the key.
        """
        numbered = self.frame.select(key).with_row_index("_at")
        readable = numbered.join(keys, on=list(key), how="semi", maintain_order="left").get_column("_at")
        unreadable = numbered.filter(pl.any_horizontal(pl.col(name).is_null() for name in key)).get_column("_at")
        chosen = self.frame[pl.concat([readable, unreadable])]
        if chosen.height * FEW < len(self):
            # A few records would keep the bytes of the whole block in memory.
            copied = pl.Series(RECORD, chosen.get_column(RECORD).to_list(), dtype=pl.Binary)
            chosen = chosen.with_columns(copied)
        return KeyedBlock(chosen)


def concatenated(blocks: Sequence[KeyedBlock]) -> KeyedBlock:
    """Return one block with the records of all; at least one block is needed."""
    return blocks[0] if len(blocks) == 1 else KeyedBlock(pl.concat([block.frame for block in blocks]))


def digested(block: Block, seed: int) -> DigestedBlock:
    """Digest a block's records without reading anything in them."""
    return DigestedBlock(block, digest(block.records, seed))


def keyed(found: DigestedBlock, layout: Layout, key: Sequence[Column]) -> KeyedBlock:
    """Read the keys of a block's records, and parse nothing else.

    Args:
        found: The block.
        layout: Where its records hold what.
        key: Columns of the key.
    """
    block = found.block
    indexes = {column.name: index for column, index in layout.columns}
    raw = _raw_keys(block, layout, [indexes[column.name] for column in key])
    keys = [folded(raw.get_column(str(indexes[column.name])).alias(column.name), column) for column in key]
    lines = pl.Series(LINE, block.lines, dtype=pl.UInt32)
    frame = pl.DataFrame([block.records.alias(RECORD), lines, *keys, found.digests.alias(DIGEST)])
    return KeyedBlock(frame, block.data)


def _raw_keys(block: Block, layout: Layout, indexes: list[int]) -> pl.DataFrame:
    data = block.data if block.data is not None else b"\n".join(block.records)
    try:
        frame = read_columns(data, layout, indexes)
        if frame.height == len(block.records):
            return frame
    except pl.exceptions.PolarsError:
        pass
    rows = [_fields_or_none(record, layout) for record in block.records]
    return pl.DataFrame(
        {
            str(index): pl.Series([row[index] if row else None for row in rows], dtype=pl.String)
            for index in sorted(indexes)
        }
    )


def edges(block: Block, layout: Layout, key: Column) -> tuple[int, int] | None:
    """Return the keys of the first and the last record; None if they are not plain whole numbers.

    Args:
        block: The records.
        layout: Where they hold what.
        key: The only column of the key.
    """
    index = next(index for column, index in layout.columns if column.name == key.name)
    found = [_fields_or_none(block.records[at], layout) for at in (0, -1)] if len(block.records) else []
    keys = [row[index] for row in found if row]
    if len(keys) < 2 or not all(text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS for text in keys):
        return None
    return int(keys[0]), int(keys[1])


def _fields_or_none(record: bytes, layout: Layout) -> list[str] | None:
    try:
        found = fields(record, layout.separator)
    except ValueError:
        return None
    return found if len(found) == layout.width else None


class Ahead(Iterator[T]):
    """Yields items; the next one is computed in a thread while the caller works on the present one.

    Args:
        items: Used by the thread only, until `rest` is called.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._coming = self._thread.submit(next, items, None)

    def __next__(self) -> T:
        item = self._coming.result()
        if item is None:
            self._thread.shutdown()
            raise StopIteration
        self._coming = self._thread.submit(next, self._items, None)
        return item

    def rest(self) -> Iterator[T]:
        """End the thread, and return the items that were not yielded."""
        item = self._coming.result()
        self._thread.shutdown()
        return self._items if item is None else preceded([item], self._items)


def preceded(first: list[T], items: Iterator[T]) -> Iterator[T]:
    """Yield the items of a list, then others; unlike `itertools.chain`, keep none in memory that was yielded.

    Args:
        first: Is emptied.
        items: What follows.
    """
    while first:
        yield first.pop(0)
    yield from items


def whole_keys(frame: pl.DataFrame, key: Sequence[str], seed: int) -> pl.DataFrame:
    """Return one row per readable key with the digest of all its records, and their number as `len`.

    Args:
        frame: Rows with the key columns and `row_hash`; all records of each key.
        key: Columns of the key.
        seed: Of the digests.
    """
    readable = frame.select(*key, DIGEST).drop_nulls(list(key))
    once = pl.lit(1, dtype=pl.UInt32).alias("len")
    repeated = _repeated(readable, key)
    if repeated is None:
        return readable.with_columns(once)
    groups = readable.filter(repeated).group_by(key, maintain_order=True).agg(pl.col(DIGEST), pl.len())
    return pl.concat([readable.filter(~repeated).with_columns(once), _with_combined(groups, seed)])


def _repeated(frame: pl.DataFrame, key: Sequence[str]) -> pl.Series | None:
    """Mark the rows whose key another row has, too; None: there are none."""
    subset = frame.get_column(key[0]) if len(key) == 1 else frame.select(pl.struct(key)).to_series()
    return None if subset.n_unique() == len(subset) else subset.is_duplicated()


def _with_combined(groups: pl.DataFrame, seed: int) -> pl.DataFrame:
    digests = [combined(each, seed) for each in groups.get_column(DIGEST).to_list()]
    return groups.with_columns(pl.Series(DIGEST, digests, dtype=pl.Int64))


def winners(frame: pl.DataFrame, key: Sequence[str], seed: int) -> pl.DataFrame:
    """Return one row per key, with the digest of all its valid records.

    The first row that fills the preferred column counts, else the last one.

    Args:
        frame: Valid rows with their digests; the rows of each key in the order of the file.
        key: Columns of the key.
        seed: Of the digests.
    """
    repeated = _repeated(frame, key)
    if repeated is None:
        return frame.drop(PREFER, strict=False)
    numbered = frame.with_columns(pl.int_range(pl.len()).alias("_at"))
    choice = pl.col("_at").last()
    if PREFER in frame.columns:
        choice = pl.coalesce(pl.col("_at").filter(pl.col(PREFER).is_not_null()).first(), choice)
    groups = numbered.filter(repeated).group_by(key, maintain_order=True).agg(choice.alias("_at"), pl.col(DIGEST))
    chosen = _with_combined(groups, seed).select("_at", DIGEST)
    doubles = numbered.drop(DIGEST).join(chosen, on="_at", how="inner").select(numbered.columns)
    return pl.concat([numbered.filter(~repeated), doubles]).sort("_at").drop("_at", PREFER, strict=False)
