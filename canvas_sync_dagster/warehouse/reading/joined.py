"""Several CSVs with the same header as one: the header once, then the records of each."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import BinaryIO, cast

from canvas_sync_dagster.errors import HeaderContractError
from canvas_sync_dagster.printable import quotable
from canvas_sync_dagster.warehouse.reading.records import Header, read_header

Opener = Callable[[], BinaryIO]


def joined(parts: Sequence[tuple[str, Opener]]) -> Opener:
    """Return a function that opens several CSVs as one; it may be called repeatedly.

    Args:
        parts: What each file is, for messages, and the function that opens it; at least one.

    Raises:
        HeaderContractError: A header differs from the first: in a name, in the order, or in the separator.
        ReportContentError: A file has no header.
    """
    if len(parts) == 1:
        return parts[0][1]
    first, *others = [(where, _header(where, opener)) for where, opener in parts]
    for where, header in others:
        if header != first[1]:
            raise HeaderContractError(
                f"{where}: its header differs from that of {first[0]}: {_difference(first[1], header)}. The parts of a split "
                "report must be alike. Nothing was published. Run it again; if this repeats, look at both reports in Canvas."
            )
    # The buffer is as large as that of an entry of a ZIP.
    return lambda: cast("BinaryIO", io.BufferedReader(_Joined(parts), buffer_size=1 << 20))


def _header(where: str, opener: Opener) -> Header:
    with opener() as file:
        return read_header(file, where=where)[0]


def _difference(first: Header, other: Header) -> str:
    lost = [name for name in first.names if name not in other.names]
    new = [name for name in other.names if name not in first.names]
    if lost or new:
        told = [f"it {verb} {', '.join(names)}" for verb, names in (("lacks", lost), ("adds", new)) if names]
        return quotable(" and ".join(told))
    return "another order, another number of columns, or another separator"


class _Joined(io.RawIOBase):
    """The first file as it is, and of each further one what follows its header."""

    def __init__(self, parts: Sequence[tuple[str, Opener]]) -> None:
        self._parts = list(parts)
        self._file: BinaryIO = self._parts.pop(0)[1]()
        self._ends_line = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not (chunk := self._file.read(len(buffer))):
            if not self._parts:
                return 0
            self._file.close()
            where, opener = self._parts.pop(0)
            self._file = opener()
            read_header(self._file, where=where)
            if not self._ends_line:
                # The last record of the file before it has no line end.
                chunk, self._ends_line = b"\n", True
                break
        buffer[: len(chunk)] = chunk
        self._ends_line = chunk.endswith(b"\n")
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
