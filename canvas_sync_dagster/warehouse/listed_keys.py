"""The keys that a source lists, packed, for the comparison with the rows that the table has."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import polars as pl

from canvas_sync_dagster.catalogue import ColumnType, Model

PACKED_ROWS = 100_000
"""Keys that are packed together. A pair of bigints takes 1.5 to 4 bytes packed and 16 bytes in a frame; packing takes 60
to 80 ns, unpacking 20 ns. Ten million pairs in frames and the load that lists them took 501 MB."""


def no_keys(model: Model) -> pl.DataFrame:
    """Return an empty frame of keys."""
    types = {name: pl.Int64 if model[name].type is ColumnType.BIGINT else pl.String for name in model.key}
    return pl.DataFrame(schema=types)


class ListedKeys:
    """Keys in the order in which they were added; a key may come several times.

    Args:
        model: Whose rows have the keys.
        frames: Keys; further ones are added with `add`.

    Attributes:
        height: Number of keys.
        is_ordered: Whether the first column of the key ascends over all keys, and is a bigint.
    """

    def __init__(self, model: Model, frames: Iterable[pl.DataFrame] = ()) -> None:
        self._key = list(model.key)
        self._packed: list[bytes] = []
        self._held = [no_keys(model)]
        self._last: int | None = None
        self.height = 0
        self.is_ordered = model[self._key[0]].type is ColumnType.BIGINT
        for frame in frames:
            self.add(frame)

    def add(self, frame: pl.DataFrame) -> None:
        """Add keys, in the columns of the key."""
        if frame.is_empty():
            return
        if self.is_ordered:
            firsts = frame.get_column(self._key[0])
            self.is_ordered = firsts.is_sorted() and (self._last is None or firsts[0] >= self._last)
            self._last = firsts[-1]
        self.height += frame.height
        self._held.append(frame.select(self._key))
        if sum(each.height for each in self._held) >= PACKED_ROWS:
            content = io.BytesIO()
            pl.concat(self._held).write_ipc(content, compression="zstd")
            self._packed.append(content.getvalue())
            self._held = self._held[:1]

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield all keys, in frames of about `PACKED_ROWS` rows."""
        for content in self._packed:
            yield pl.read_ipc(io.BytesIO(content))
        yield pl.concat(self._held)

    def frame(self) -> pl.DataFrame:
        """Return all keys in one frame."""
        return pl.concat(self.frames())
