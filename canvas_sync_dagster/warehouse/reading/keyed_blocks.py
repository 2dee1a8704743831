"""Records with their keys and digests, and the decisions that follow: which keys changed, which record speaks for one.

Pure but for the file that is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from canvas_sync_dagster.catalogue import Column
from canvas_sync_dagster.warehouse.reading.digest import combined, digest
from canvas_sync_dagster.warehouse.reading.frames import ROW, Layout, fields, folded, read_columns
from canvas_sync_dagster.warehouse.reading.records import Block

DIGEST = "row_hash"
MOST_DIGITS = 18
"""Of a number that is a bigint, whatever its digits."""
GATHERED = 1 << 20
"""Bytes of records that are parsed together, at least: what a parse costs in any case, 5 ms, is spared block by block."""
PREFER = "_prefer"
"""Stands for the header that decides between records of one key."""

T = TypeVar("T")


class OutOfOrderError(Exception):
    """The records are not in the order of their key."""


@dataclass(frozen=True, slots=True)
class DigestedBlock:
    """A block whose digests are known, and none of its keys.

    Attributes:
        block: As it was read.
        digests: One per record.
    """

    block: Block
    digests: pl.Series

    @property
    def records(self) -> pl.Series:
        return self.block.records


@dataclass(frozen=True, slots=True)
class KeyedBlock:
    """A block whose keys and digests are known.

    Attributes:
        records: Raw, as bytes.
        lines: Physical line of each.
        frame: Per record its index, its key columns (null where unreadable) and its digest.
        data: The records' bytes, where they stand together.
    """

    records: pl.Series
    lines: Sequence[int]
    frame: pl.DataFrame
    data: bytes | None = None


def digested(block: Block, seed: int) -> DigestedBlock:
    """Digests a block's records, and reads nothing in them."""
    return DigestedBlock(block, digest(block.records, seed))


def keyed(found: DigestedBlock, layout: Layout, key: Sequence[Column]) -> KeyedBlock:
    """Finds the keys of a block's records, and parses nothing else."""
    block = found.block
    indexes = {column.name: index for column, index in layout.columns}
    raw = _raw_keys(block, layout, [indexes[column.name] for column in key])
    keys = [folded(raw.get_column(str(indexes[column.name])).alias(column.name), column) for column in key]
    rows = pl.int_range(len(block.records), dtype=pl.UInt32, eager=True).alias(ROW)
    frame = pl.DataFrame([rows, *keys, found.digests.alias(DIGEST)])
    return KeyedBlock(block.records, block.lines, frame, block.data)


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
    """Reads the keys of the first record and of the last; None if they are no whole numbers."""
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


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Computes the next item in a thread while the present one is worked on."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def in_key_order(blocks: Iterator[KeyedBlock], key: str) -> Iterator[KeyedBlock]:
    """Regroups blocks so that no key stands in two of them.

    Raises:
        OutOfOrderError: They are not in the order of the key.
    """
    held: KeyedBlock | None = None
    last: int | None = None
    for block in blocks:
        keys = block.frame.get_column(key)
        readable = keys.drop_nulls()
        if not readable.is_sorted() or (last is not None and len(readable) and readable[0] < last):
            raise OutOfOrderError
        # Records of the key that ended the block before belong to that one.
        begun = 0 if last is None else _begun(keys, last)
        if held is None:
            held = block
        elif begun == len(block.records):
            held = joined(held, block)
        else:
            yield joined(held, part(block, 0, begun)) if begun else held
            held = part(block, begun, len(block.records))
        last = readable[-1] if len(readable) else last
    if held is not None:
        yield held


def _begun(keys: pl.Series, last: int) -> int:
    """Counts the records before the first new key; none if the old key does not come again."""
    if not (keys == last).any():
        return 0
    greater = keys > last
    return int(greater.arg_max() or 0) if greater.any() else len(keys)


def joined(one: KeyedBlock, other: KeyedBlock) -> KeyedBlock:
    """Puts two blocks together."""
    shifted = other.frame.with_columns((pl.col(ROW) + len(one.records)).cast(pl.UInt32))
    frame = pl.concat([one.frame, shifted])
    return KeyedBlock(pl.concat([one.records, other.records]), [*one.lines, *other.lines], frame)


def only(block: KeyedBlock, keys: pl.DataFrame, key: Sequence[str]) -> KeyedBlock:
    """Takes the records of some keys, and those whose key is unreadable."""
    readable = pl.all_horizontal(pl.col(name).is_not_null() for name in key)
    others = block.frame.filter(readable).join(keys, on=list(key), how="anti", maintain_order="left")
    frame = block.frame.join(others.select(ROW), on=ROW, how="anti", maintain_order="left")
    rows = frame.get_column(ROW)
    numbered = frame.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias(ROW))
    return KeyedBlock(block.records.gather(rows), [block.lines[row] for row in rows], numbered)


def gathered(blocks: Iterator[KeyedBlock]) -> Iterator[KeyedBlock]:
    """Puts small blocks together."""
    held: KeyedBlock | None = None
    for block in blocks:
        held = block if held is None else joined(held, block)
        if held.records.estimated_size() >= GATHERED:
            yield held
            held = None
    if held is not None:
        yield held


def part(block: KeyedBlock, start: int, end: int) -> KeyedBlock:
    """Takes the records from one index up to another."""
    if start == 0 and end == len(block.records):
        return block
    frame = block.frame.slice(start, end - start).with_columns((pl.col(ROW) - start).cast(pl.UInt32))
    return KeyedBlock(block.records[start:end], block.lines[start:end], frame)


def whole_keys(frame: pl.DataFrame, key: Sequence[str], seed: int) -> pl.DataFrame:
    """Returns one row per readable key with the digest of all its records, and their number as `len`."""
    readable = frame.select(*key, DIGEST).drop_nulls(list(key))
    once = pl.lit(1, dtype=pl.UInt32).alias("len")
    repeated = _repeated(readable, key)
    if repeated is None:
        return readable.with_columns(once)
    groups = readable.filter(repeated).group_by(key, maintain_order=True).agg(pl.col(DIGEST), pl.len())
    return pl.concat([readable.filter(~repeated).with_columns(once), _with_combined(groups, seed)])


def _repeated(frame: pl.DataFrame, key: Sequence[str]) -> pl.Series | None:
    """Marks the rows whose key another row has, too; None: there are none."""
    subset = frame.get_column(key[0]) if len(key) == 1 else frame.select(pl.struct(key)).to_series()
    return None if subset.n_unique() == len(subset) else subset.is_duplicated()


def _with_combined(groups: pl.DataFrame, seed: int) -> pl.DataFrame:
    digests = [combined(each, seed) for each in groups.get_column(DIGEST).to_list()]
    return groups.with_columns(pl.Series(DIGEST, digests, dtype=pl.Int64))


def winners(frame: pl.DataFrame, key: Sequence[str], seed: int) -> pl.DataFrame:
    """Returns one row per key, with the digest of all its valid records.

    The first row that fills the preferred column counts, else the last one.

    Args:
        frame: Valid rows in the order of the file, with their digests.
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


def limited(blocks: Iterator[Block], rows: int | None) -> Iterator[Block]:
    """Cuts blocks to at most so many records."""
    for block in blocks:
        if rows is None or len(block.records) <= rows:
            yield block
        else:
            for start in range(0, len(block.records), rows):
                yield Block(block.records[start : start + rows], block.lines[start : start + rows], None)
