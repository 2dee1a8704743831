"""Open the file of a report: one CSV, or a ZIP of several; the first bytes decide.

The directory of a ZIP is not trusted: names are compared and never used as paths, sizes are counted while reading, and
checksums are verified.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from canvas_sync_dagster.canvas.download import looks_like_html
from canvas_sync_dagster.errors import ReportContentError
from canvas_sync_dagster.printable import quotable

MOST_EXPANSION = 200
"""Maximum ratio of uncompressed to compressed bytes. Reports have about 10, very uniform ones 50; a zip bomb has 1,000."""
SMALL = 64 * 1024 * 1024
"""Bytes that every entry may have, whatever its compressed size."""
MOST_ENTRIES = 1000

Opener = Callable[[], BinaryIO]


def open_tables(path: Path, expected: Sequence[str], *, where: str) -> Mapping[str, Opener]:
    """Return a function for each table of a report that opens it; it may be called repeatedly.

    Args:
        path: The downloaded file.
        expected: Names of the requested tables; one or more.
        where: Name of the report for messages.

    Returns:
        Table → function that opens it as a stream of bytes.

    Raises:
        ReportContentError: The file is not a report, or lacks a table.
    """
    with path.open("rb") as file:
        start = file.read(200)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zipped(path, expected, where)
    if looks_like_html(start):
        raise ReportContentError(f"{where}: Canvas delivered a web page instead of the report. Run it again.")
    if len(expected) != 1:
        raise ReportContentError(
            f"{where}: Canvas delivered a single CSV instead of a ZIP with {', '.join(expected)}. Run it again; if this "
            "repeats, materialize the tables one by one."
        )
    return {expected[0]: lambda: path.open("rb")}


def _zipped(path: Path, expected: Sequence[str], where: str) -> Mapping[str, Opener]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ReportContentError(f"{where}: its ZIP is damaged ({quotable(error)}). Run it again.") from error
    if len(entries) > MOST_ENTRIES:
        raise ReportContentError(f"{where}: its ZIP has {len(entries)} entries; a report has a few. Run it again.")
    if len(expected) == 1 and len(entries) == 1:
        return {expected[0]: _entry(path, entries[0], where)}
    named: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/")).name.lower().removesuffix(".csv")
        if name in expected and name in named:
            raise ReportContentError(
                f"{where}: its ZIP contains {name}.csv twice, so the right one is unknown. Run it again."
            )
        named[name] = entry
    if lost := [name for name in expected if name not in named]:
        found = quotable(", ".join(sorted(named))) or "nothing"
        raise ReportContentError(f"{where}: its ZIP lacks {', '.join(lost)}; it contains {found}. Run it again.")
    return {name: _entry(path, named[name], where) for name in expected}


def _entry(path: Path, entry: zipfile.ZipInfo, where: str) -> Opener:
    if entry.flag_bits & 0x1:
        raise ReportContentError(f"{where}: '{quotable(entry.filename)}' in its ZIP is encrypted.")
    return lambda: cast("BinaryIO", io.BufferedReader(_Entry(path, entry, where), buffer_size=1 << 20))


class _Entry(io.RawIOBase):
    """One entry as a stream that limits its uncompressed size."""

    def __init__(self, path: Path, entry: zipfile.ZipInfo, where: str) -> None:
        self._where = f"{where}: '{quotable(PurePosixPath(entry.filename).name)}' in its ZIP"
        self._left = entry.compress_size * MOST_EXPANSION + SMALL
        self._archive = zipfile.ZipFile(path)
        try:
            self._stream = self._archive.open(entry)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
            self._archive.close()
            raise ReportContentError(f"{self._where} cannot be opened ({quotable(error)}). Run it again.") from error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            chunk = self._stream.read(len(buffer))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise ReportContentError(f"{self._where} is damaged ({quotable(error)}). Run it again.") from error
        self._left -= len(chunk)
        if self._left < 0:
            raise ReportContentError(f"{self._where} exceeds the size limit when it is decompressed.")
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._archive.close()
        super().close()
