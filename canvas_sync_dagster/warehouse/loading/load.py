"""Loads the rows of a report into a model's table, in the caller's transaction.

The records flow in one direction: they are read and digested, compared with the table, parsed where they differ, and
taken by a load target, which publishes them in the end. Each step hands values to the next, and the values carry counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from canvas_sync_dagster.catalogue import Enrichment, Model
from canvas_sync_dagster.errors import RejectThresholdError
from canvas_sync_dagster.warehouse.history import REPORT, written_by
from canvas_sync_dagster.warehouse.listed_keys import ListedKeys
from canvas_sync_dagster.warehouse.loading.counts import LIMITS_OF_CHANGES, Clock, LoadCounts, RejectLimits, limits_for
from canvas_sync_dagster.warehouse.loading.differ import Differ, KnownBlocks, skip_known
from canvas_sync_dagster.warehouse.loading.digest_lookup import DigestLookup
from canvas_sync_dagster.warehouse.loading.load_targets import LoadTarget, open_load_target
from canvas_sync_dagster.warehouse.loading.reject_spool import RejectSpool
from canvas_sync_dagster.warehouse.loading.rows import load_parts, load_rows
from canvas_sync_dagster.warehouse.loading.target import Target, inspect_target
from canvas_sync_dagster.warehouse.reading.key_order import KeyOrder, is_streamable
from canvas_sync_dagster.warehouse.reading.keyed_blocks import Ahead
from canvas_sync_dagster.warehouse.reading.parser import Parser
from canvas_sync_dagster.warehouse.reading.report_csv import Opener, ReportCsv
from canvas_sync_dagster.warehouse.reading.source import Source, described
from canvas_sync_dagster.warehouse.state.erased_objects import Erased, read_erased, remember_erased
from canvas_sync_dagster.warehouse.warehouse import Table

__all__ = ["LoadCounts", "Opener", "RejectLimits", "Source", "enrich_csv", "load_csv", "load_parts", "load_rows"]


def load_csv(
    table: Table,
    open_file: Opener,
    source: Source,
    *,
    prefer: str | None = None,
    limits: RejectLimits | None = None,
    batch_rows: int | None = None,
    lists: bool = False,
    scratch: Path | None = None,
) -> LoadCounts:
    """Load one table of a report.

    Of several records with one key the first that fills the column `prefer` counts, else the last one.

    Args:
        table: Table of the model that the records are of.
        open_file: Opens the CSV; may be called again.
        source: Where it comes from.
        prefer: Header that decides between records of one key.
        limits: Threshold above which the report is rejected as a whole; by default that of a complete or an
            incremental report.
        batch_rows: Records per block, at most.
        lists: Whether the caller needs the keys of the report.
        scratch: Directory for temporary files, which a large file needs that is not in the order of its key; None for
            the system's.

    Returns:
        The counts, and the keys if `lists`.

    Raises:
        HeaderContractError: The key's column is missing.
        RejectThresholdError: Too many records are unreadable.
        SchemaError: The table is not as it should be.
    """
    file = ReportCsv.open(open_file, table.model, source, prefer, batch_rows)
    target = inspect_target(table, {column.name for column in file.loaded})
    return _loaded(
        _Load(
            file,
            target,
            source,
            limits or limits_for(complete=source.complete),
            lists,
            scratch,
            read_erased(table.warehouse),
        )
    )


def enrich_csv(
    table: Table,
    enrichment: Enrichment,
    open_file: Opener,
    source: Source,
    *,
    limits: RejectLimits = LIMITS_OF_CHANGES,
    lists: bool = False,
    scratch: Path | None = None,
) -> LoadCounts:
    """Set columns of existing rows from another table of the report; rows that do not exist count as superseded.

    Digests are left alone: they cover only the records of the model's own table. Unreadable records are rejected.

    Args:
        table: Table whose rows are enriched.
        enrichment: The other table.
        open_file: Opens its CSV; may be called again.
        source: Where it comes from.
        limits: Threshold above which the report is rejected as a whole.
        lists: Whether the caller needs the keys of the table.
        scratch: As for `load_csv`.

    Returns:
        The counts, and the keys if `lists`.

    Raises:
        HeaderContractError: The enriching table lacks its key.
        RejectThresholdError: Too many records are unreadable.
        SchemaError: The table is not as it should be.
    """
    model = table.model
    columns = [replace(model[name], report=(header,)) for name, header in enrichment.columns.items()]
    keys = [replace(model[name], report=(enrichment.key,)) for name in model.key]
    narrow = Model(enrichment.table, (*keys, *columns), model.feed, model.key)
    file = ReportCsv.open(open_file, narrow, source)
    target = inspect_target(table, {column.name for column in file.loaded})
    target = replace(target, system=target.system - {"row_hash"}, digests_beside=None)
    return _loaded(
        _Load(
            file,
            target,
            source,
            limits,
            lists,
            scratch,
            read_erased(table.warehouse),
            inserts=False,
        )
    )


@dataclass(frozen=True, slots=True)
class _Load:
    """What one load needs."""

    file: ReportCsv
    target: Target
    source: Source
    limits: RejectLimits
    lists: bool
    scratch: Path | None
    erased: Erased
    inserts: bool = True
    clock: Clock = field(default_factory=lambda: Clock("read", "compare", "parse", "copy", "merge"))


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the load target has taken of a file.

    Attributes:
        counts: Of everything but the merge.
        listed: Keys, where they are wanted.
        erased: Canvas ids of rows that were left out, because they are about an erased person.
    """

    counts: LoadCounts
    listed: ListedKeys | None
    erased: tuple[int, ...]


def _loaded(load: _Load) -> LoadCounts:
    """Load a file, from its first byte to the merge."""
    with (
        open_load_target(load.target, load.file.loaded, load.source, inserts=load.inserts) as load_target,
        RejectSpool(load.scratch) as rejects,
    ):
        taken = _taken(load, load_target, rejects, streams=True)
        if taken is None:
            load_target.discard()
            rejects.discard()
            taken = _taken(load, load_target, rejects, streams=False)
        assert taken is not None  # noqa: S101 (a sorted file is in order)
        _refuse_broken(load, taken.counts, rejects)
        with load.clock.during("merge"), written_by(load.target.table, REPORT):
            merged = load_target.finish()
        remember_erased(load.target.table.warehouse, load.file.model.name, taken.erased)
        rejects.write(load.target, load.file, load.source)
    counts = taken.counts
    return replace(
        counts,
        inserted=merged.inserted,
        updated=merged.updated,
        unchanged=counts.unchanged + merged.unchanged,
        superseded=merged.superseded,
        header=load.file.match,
        listed=taken.listed,
        seconds=load.clock.seconds,
    )


def _taken(load: _Load, load_target: LoadTarget, rejects: RejectSpool, *, streams: bool) -> _Taken | None:
    """Read, compare and parse a file, and let the load target take what differs.

    Args:
        load: What is loaded.
        load_target: Takes the rows.
        rejects: Takes the rejects.
        streams: Whether the file is read as it lies, in the belief that it is in the order of its key.

    Returns:
        None if a block was out of order; what was taken until then is worthless.
    """
    file, clock = load.file, load.clock
    key = [file.model[name] for name in file.model.key]
    lookup = None
    if load.target.has_digests and not load_target.is_empty and not load.source.reload:
        lookup = DigestLookup(load.target, key)
    known, blocks = KnownBlocks(), file.blocks()
    if streams and lookup is not None and is_streamable(key) and not file.prefers:
        known, blocks = skip_known(blocks, file, lookup, clock, lists=load.lists)
    order = KeyOrder(key, after=known.last, streams=streams, scratch=load.scratch)
    ordered = order.arranged(clock.each("read", Ahead(map(file.keyed, blocks))))
    differ = Differ(file.model.key, file.seed, lookup, clock, load.lists)
    parser = Parser(file, load.target.types, load.target.required, load.erased)
    parts = [LoadCounts(rows_in_report=known.records, unchanged=known.records)]
    listed, erased = ListedKeys(file.model, known.listed), list[int]()
    for difference in differ.differences(ordered):
        with clock.during("parse"):
            parsed = parser.parsed(difference.block)
        with clock.during("copy"):
            load_target.take(parsed.frame)
            rejects.take(parsed.rejects)
        for keys in difference.listed:
            listed.add(keys)
        erased += parsed.erased
        parts.append(
            LoadCounts(
                rows_in_report=difference.records,
                unchanged=difference.unchanged,
                duplicates=difference.duplicates + parsed.duplicates,
                rejected=parsed.rejects.height,
                skipped=parsed.skipped,
            )
        )
        # The next block is read and compared before the loop forgets this one.
        del difference, parsed
    return None if order.is_broken else _Taken(LoadCounts.total(parts), listed if load.lists else None, tuple(erased))


def _refuse_broken(load: _Load, counts: LoadCounts, rejects: RejectSpool) -> None:
    if not load.limits.are_exceeded(counts):
        return
    raise RejectThresholdError(
        f"{described(load.file.model.name, load.source)}: {counts.rejected} of {counts.rows_in_report} rows are "
        f"unreadable; the first: {rejects.first}. Nothing was published. Look at the report in Canvas; if its columns "
        "have changed, map them anew."
    )
