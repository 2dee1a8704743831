"""Compares the records of a report with a table and passes on those that differ. The table is read, never written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import polars as pl

from canvas_sync_dagster.warehouse.loading.counts import Clock
from canvas_sync_dagster.warehouse.loading.digest_lookup import DigestLookup
from canvas_sync_dagster.warehouse.reading.keyed_blocks import (
    Ahead,
    DigestedBlock,
    KeyedBlock,
    concatenated,
    edges,
    preceded,
    whole_keys,
)
from canvas_sync_dagster.warehouse.reading.report_csv import ReportCsv

GATHERED = 1 << 20
"""Bytes of records that are parsed together, at least: each parse has a fixed cost of 5 ms."""


@dataclass(frozen=True, slots=True)
class KnownBlocks:
    """The blocks at the beginning of a file that the table has as they are.

    Attributes:
        records: How many they hold; each is unchanged.
        last: Their largest key; None if there are no such blocks.
        listed: Their keys, where they are wanted.
    """

    records: int = 0
    last: int | None = None
    listed: tuple[pl.DataFrame, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Some records, compared with the table.

    Attributes:
        block: Those that differ, and those whose key is unreadable.
        records: How many were compared.
        unchanged: Keys whose records the table has as they are.
        duplicates: Further records of those keys.
        listed: All keys, where they are wanted.
    """

    block: KeyedBlock
    records: int
    unchanged: int
    duplicates: int
    listed: tuple[pl.DataFrame, ...] = ()


def skip_known(
    blocks: Iterator[DigestedBlock], file: ReportCsv, lookup: DigestLookup, clock: Clock, *, lists: bool
) -> tuple[KnownBlocks, Iterator[DigestedBlock]]:
    """Skip the blocks at the beginning of a file that the table has as they are; of each, only two keys are read.

    Args:
        blocks: Of the whole file; its key is a single bigint.
        file: Their report.
        lookup: Into the table.
        clock: Takes the time.
        lists: Whether the keys are wanted.

    Returns:
        What was skipped, and the blocks from the first other one on.
    """
    key = file.model[file.model.key[0]]
    records, last = 0, None
    listed: list[pl.DataFrame] = []
    upcoming = Ahead(blocks)
    for found in clock.each("read", upcoming):
        ends = edges(found.block, file.layout, key)
        keys = None
        if ends is not None and (last is None or ends[0] > last):
            with clock.during("compare"):
                keys = lookup.keys_if_equal(ends, found.digests, wanted=lists)
        if ends is None or keys is None:
            return KnownBlocks(records, last, tuple(listed)), preceded([found], upcoming.rest())
        records, last = records + len(found), ends[1]
        if lists:
            listed.append(keys)
    return KnownBlocks(records, last, tuple(listed)), iter(())


@dataclass(frozen=True, slots=True)
class Differ:
    """Compares blocks with a table.

    Attributes:
        key: Columns of the key.
        seed: Of the digests.
        lookup: Into the table; None passes everything on, for tables without digests or without rows.
        clock: Takes the time.
        lists: Whether the keys are wanted.
    """

    key: Sequence[str]
    seed: int
    lookup: DigestLookup | None
    clock: Clock
    lists: bool

    def differences(self, blocks: Iterator[KeyedBlock]) -> Iterator[Difference]:
        """Yield what differs, gathered to blocks of a useful size.

        Args:
            blocks: Each with all records of its keys.
        """
        held: list[Difference] = []
        size = 0.0
        for block in blocks:
            held.append(self._difference(block))
            size += held[-1].block.records.estimated_size()
            # The next block comes before the loop forgets this one.
            del block
            if size >= GATHERED:
                gathered, held, size = [_gathered(held)], [], 0.0
                yield gathered.pop()
        if held:
            yield _gathered(held)

    def _difference(self, block: KeyedBlock) -> Difference:
        keys = whole_keys(block.frame, self.key, self.seed)
        listed = (keys.select(self.key),) if self.lists else ()
        if self.lookup is None:
            return Difference(block, len(block), 0, 0, listed)
        with self.clock.during("compare"):
            changed = self.lookup.changed(keys)
        unchanged = keys.height - changed.height
        duplicates = int(keys.get_column("len").sum()) - int(changed.get_column("len").sum()) - unchanged
        different = block.with_keys(changed, self.key) if unchanged else block
        return Difference(different, len(block), unchanged, duplicates, listed)


def _gathered(found: Sequence[Difference]) -> Difference:
    if len(found) == 1:
        return found[0]
    filled = [each.block for each in found if len(each.block)] or [found[0].block]
    return Difference(
        concatenated(filled),
        sum(each.records for each in found),
        sum(each.unchanged for each in found),
        sum(each.duplicates for each in found),
        tuple(chain.from_iterable(each.listed for each in found)),
    )
