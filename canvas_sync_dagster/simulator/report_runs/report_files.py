"""Write the file of a report as Canvas does: a CSV for one table, a ZIP for several, with the faults that were ordered."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from canvas_sync_dagster.simulator.faults import Faults
from canvas_sync_dagster.simulator.report_runs import file_damage

FASTEST = 1
"""Compression level of ZIP files; Canvas's own does not matter to a client."""


def write_file(tables: Mapping[str, Iterator[pl.DataFrame]], stem: Path, faults: Faults) -> Path | None:
    """Write tables as the one file of a report.

    Args:
        tables: Name → rows, in parts.
        stem: Path of the file without its suffix.
        faults: What goes wrong with the file.

    Returns:
        Path of a CSV or a ZIP; None if there is no table, for which a report ends as `error`.
    """
    files: dict[str, Path] = {}
    for name, parts in tables.items():
        files[name] = stem.with_name(f"{stem.name}-{name}.csv")
        _write_csv(parts, files[name], faults)
    return _pack(files, faults) if files else None


def _write_csv(parts: Iterator[pl.DataFrame], path: Path, faults: Faults) -> None:
    """Write as Ruby does: quotes only where needed, nothing for null; then damage the file as ordered."""
    parts = map(faults.kept_rows, parts)
    for fault, change in file_damage.ROWS.items():
        # Some of them need the whole table.
        parts = iter([change(pl.concat(parts))]) if faults.take(fault) else parts
    separator = ";" if faults.take("semicolons") else ","
    with path.open("wb") as file:
        for number, part in enumerate(parts):
            part.write_csv(file, include_header=number == 0, separator=separator)
    ordered = [fault for fault in file_damage.BYTES if faults.take(fault)]
    if ordered:
        path.write_bytes(file_damage.damaged(path.read_bytes(), ordered))


def _pack(files: dict[str, Path], faults: Faults) -> Path:
    first = next(iter(files.values()))
    if faults.take("empty_file"):
        first.write_bytes(b"")
        return first
    if len(files) == 1 and not faults.take("zip_for_one"):
        return first
    if faults.take("csv_for_many"):
        return first
    if faults.take("zip_lacks_table"):
        files = dict(list(files.items())[1:])
    prefix = "../../../etc/" if faults.take("hostile_names") else ""
    packed = first.with_suffix(".zip")
    _zip(files, prefix, packed)
    if faults.take("damaged_zip"):
        whole = packed.read_bytes()
        packed.write_bytes(whole[: len(whole) * 2 // 3])
    return packed


def _zip(files: Mapping[str, Path], prefix: str, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=FASTEST) as archive:
        for name, path in files.items():
            archive.write(path, f"{prefix}{name}.csv")
    for path in files.values():
        path.unlink()
