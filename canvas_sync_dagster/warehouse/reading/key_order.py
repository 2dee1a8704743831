"""The order of keys: blocks leave here in the order of their key, and no key is in two of them.

A file in that order, as most reports are, streams through. Any other file is sorted by key ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from canvas_sync_dagster.catalogue import Column, ColumnType
from canvas_sync_dagster.warehouse.reading.key_ranges import by_key_range
from canvas_sync_dagster.warehouse.reading.keyed_blocks import KeyedBlock, concatenated, preceded


def is_streamable(key: Sequence[Column]) -> bool:
    """Return whether the order of a key can be tested block by block: it is a single bigint."""
    return len(key) == 1 and key[0].type is ColumnType.BIGINT


class KeyOrder:
    """Arranges the blocks of one reading of a file.

    The first block decides: if it is in order, the blocks stream, and each is tested before it is passed on. If a later
    one breaks the order, nothing more is passed on and `is_broken` is set: the file must be read again with `after` and
    `streams` at their defaults.

    Args:
        key: Columns of the key.
        after: Largest key of the records that came before the first block; None if there were none.
        streams: Whether blocks may stream; False sorts them in any case.
        scratch: Directory for temporary files; None for the system's.

    Attributes:
        is_broken: Whether the blocks ended early, because one of them was out of order.
    """

    def __init__(
        self, key: Sequence[Column], *, after: int | None = None, streams: bool = True, scratch: Path | None = None
    ) -> None:
        self._key = [column.name for column in key]
        self._streams = streams and is_streamable(key)
        self._last = after
        self._scratch = scratch
        self.is_broken = False

    def arranged(self, blocks: Iterator[KeyedBlock]) -> Iterator[KeyedBlock]:
        """Yield the records of all blocks in the order of their key; those of one key keep their order.

        Args:
            blocks: In the order of the file.
        """
        first = next(blocks, None)
        if first is None:
            return
        streams = self._streams and (self._last is not None or self._follows(first))
        blocks = preceded([first], blocks)
        # A generator keeps its variables, and with them a block, until its end.
        del first
        if streams:
            yield from self._in_order(blocks)
        else:
            yield from by_key_range(blocks, self._key, self._scratch)

    def _follows(self, block: KeyedBlock) -> bool:
        """Return whether a block's keys ascend, from the last key that was seen on."""
        keys = block.frame.get_column(self._key[0]).drop_nulls()
        return keys.is_sorted() and (self._last is None or not len(keys) or keys[0] >= self._last)

    def _in_order(self, blocks: Iterator[KeyedBlock]) -> Iterator[KeyedBlock]:
        """Regroup blocks so that no key is in two of them."""
        held: list[KeyedBlock] = []
        for block in blocks:
            if not self._follows(block):
                self.is_broken = True
                return
            keys = block.frame.get_column(self._key[0])
            readable = keys.drop_nulls()
            if readable.is_empty():
                # More records of the last key may follow.
                held.append(block)
                continue
            begun = _continued(keys, self._last)
            if begun and not held:
                # The key was passed over as known, and now there are more records of it.
                self.is_broken = True
                return
            if held and begun < len(block):
                ready, held = [concatenated([*held, block.slice(0, begun)] if begun else held)], []
                yield ready.pop()
            held.append(block.slice(begun, len(block)) if begun < len(block) else block)
            self._last = readable[-1]
        if held:
            yield concatenated(held)


def _continued(keys: pl.Series, last: int | None) -> int:
    """Return the number of records before the first new key; 0 if the last key does not come again."""
    if last is None or not (keys == last).any():
        return 0
    greater = keys > last
    return int(greater.arg_max() or 0) if greater.any() else len(keys)
