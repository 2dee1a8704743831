"""Sorting of records by ranges of their keys: what does not fit into memory waits in a temporary file, range by range."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile

import polars as pl

from canvas_sync_dagster.warehouse.reading.keyed_blocks import RECORD, KeyedBlock, preceded
from canvas_sync_dagster.warehouse.reading.records import BLOCK

HELD = 32 << 20
"""Bytes of records that are sorted in memory. Sorting and comparing take about three times as much."""
RANGES = 32
"""Ranges per division. A file of 1 GB then has ranges of about 30 MB; a range that is larger is divided again."""
UNREADABLE = 0
"""Number of the range of records without a key; they need no order."""
PART = "_range"
"""Column with the number of a row's range."""


class Spill:
    """Frames in one temporary file, by the number of their range; the file is deleted when it is closed.

    Args:
        directory: Where the file is made; None for the system's directory.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._file = TemporaryFile(dir=directory)  # noqa: SIM115 (closed by `close`, or with the object)
        self._places: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def add(self, number: int, frame: pl.DataFrame) -> None:
        """Append a frame to a range."""
        content = io.BytesIO()
        # The older layout holds the bytes of the frame's records only; the newest may hold those of the whole block.
        frame.write_ipc_stream(content, compat_level=pl.CompatLevel.oldest())
        self._places[number].append((self._file.tell(), content.getbuffer().nbytes))
        self._file.write(content.getbuffer())

    def numbers(self) -> list[int]:
        """Return the numbers of the ranges that have frames, ascending."""
        return sorted(self._places)

    def size(self, number: int) -> int:
        """Return the bytes that a range takes."""
        return sum(length for _, length in self._places[number])

    def frames(self, number: int) -> Iterator[pl.DataFrame]:
        """Yield the frames of a range in the order in which they were added."""
        for offset, length in self._places[number]:
            self._file.seek(offset)
            yield pl.read_ipc_stream(io.BytesIO(self._file.read(length)))
        self._file.seek(0, io.SEEK_END)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


def by_key_range(blocks: Iterator[KeyedBlock], key: Sequence[str], scratch: Path | None = None) -> Iterator[KeyedBlock]:
    """Yield all records in the order of their key; those of one key keep their order and are in one block.

    At most about `HELD` bytes of records are in memory at once, unless a single key has more.

    Args:
        blocks: In any order of keys.
        key: Columns of the key.
        scratch: Directory for the temporary file.
    """
    held: list[pl.DataFrame] = []
    size = 0.0
    for block in blocks:
        held.append(block.frame)
        size += block.records.estimated_size()
        if size > HELD:
            bounds = _bounds(held, key[0])
            frames = preceded(held, (each.frame for each in blocks))
            del block
            yield from _divided(frames, bounds, key, scratch)
            return
    if held:
        yield from _sorted(pl.concat(held), key)


def _divided(
    frames: Iterator[pl.DataFrame], bounds: pl.Series, key: Sequence[str], scratch: Path | None
) -> Iterator[KeyedBlock]:
    """Write frames to their ranges, then yield range by range."""
    spill = Spill(scratch)
    try:
        for frame in frames:
            numbered = frame.with_columns(_numbers(bounds, frame.get_column(key[0])).alias(PART))
            for (number,), some in numbered.partition_by(PART, as_dict=True, maintain_order=True).items():
                spill.add(int(number), some.drop(PART))
        for number in spill.numbers():
            yield from _range(spill, number, key, scratch)
    finally:
        spill.close()


def _range(spill: Spill, number: int, key: Sequence[str], scratch: Path | None) -> Iterator[KeyedBlock]:
    """Yield one range in the order of its keys; divide it again if it is too large and has several keys."""
    if number == UNREADABLE:
        yield from map(KeyedBlock, spill.frames(number))
        return
    if spill.size(number) > 2 * HELD:
        keys = [frame.select(key) for frame in spill.frames(number)]
        bounds = _bounds(keys, key[0])
        divisible = pl.concat(keys).get_column(key[0]).n_unique() > 1
        del keys
        if divisible:
            yield from _divided(spill.frames(number), bounds, key, scratch)
            return
    yield from _sorted(pl.concat(spill.frames(number)), key)


def _bounds(frames: Sequence[pl.DataFrame], name: str) -> pl.Series:
    """Return the largest key of each range but the last, so that the ranges share the keys of the frames equally."""
    keys = pl.concat([frame.get_column(name) for frame in frames]).drop_nulls().unique().sort()
    every = max(1, len(keys) // RANGES)
    return keys.gather_every(every, every - 1)[: RANGES - 1]


def _numbers(bounds: pl.Series, keys: pl.Series) -> pl.Series:
    """Return the number of the range of each key."""
    if bounds.is_empty():
        return keys.is_not_null().cast(pl.UInt32)
    numbers = bounds.search_sorted(keys.fill_null(bounds[0]), "left") + 1
    return numbers.zip_with(keys.is_not_null(), pl.repeat(UNREADABLE, len(keys), dtype=numbers.dtype, eager=True))


def _sorted(frame: pl.DataFrame, key: Sequence[str]) -> Iterator[KeyedBlock]:
    """Yield rows in the order of their key, in blocks of about the usual size."""
    frame = frame.sort(key, maintain_order=True, nulls_last=True)
    rows = max(1, int(BLOCK * frame.height / max(1, frame.get_column(RECORD).estimated_size())))
    starts = _starts(frame, key, rows)
    for start, end in zip(starts, [*starts[1:], frame.height], strict=True):
        yield KeyedBlock(frame.slice(start, end - start))


def _starts(frame: pl.DataFrame, key: Sequence[str], rows: int) -> list[int]:
    """Return where blocks begin: every so many rows, moved on to the next new key."""
    begins = frame.select(pl.struct(key).rle_id().diff().fill_null(1) != 0).to_series().arg_true()
    starts: list[int] = []
    for wanted in range(0, frame.height, rows):
        at = begins.search_sorted(wanted, "left")
        if at < len(begins) and (not starts or begins[at] > starts[-1]):
            starts.append(int(begins[at]))
    return starts
