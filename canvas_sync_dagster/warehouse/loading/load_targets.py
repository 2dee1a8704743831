"""Load targets take the rows of a load: an empty table directly, a stage for a merge, or nothing if they are outdated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

import polars as pl

from canvas_sync_dagster.catalogue import Column
from canvas_sync_dagster.warehouse.loading.merge import Merged, Stage, copy_frame, delete_all, empty_table
from canvas_sync_dagster.warehouse.loading.target import Target
from canvas_sync_dagster.warehouse.reading.keyed_blocks import DIGEST
from canvas_sync_dagster.warehouse.reading.source import Source


class LoadTarget(Protocol):
    """Takes the rows of a load, with their digests, in the order of their key.

    Attributes:
        is_empty: Whether the table has no rows, so that nothing needs to be compared.
    """

    is_empty: bool

    def take(self, frame: pl.DataFrame) -> None:
        """Take rows; a key may come only once."""

    def discard(self) -> None:
        """Forget all rows that were taken."""

    def finish(self) -> Merged:
        """Publish the rows within the transaction, and return what became of them."""


@contextmanager
def open_load_target(
    target: Target, columns: Sequence[Column], source: Source, *, inserts: bool = True
) -> Iterator[LoadTarget]:
    """Decide where the rows of a load go.

    Args:
        target: The table.
        columns: What is loaded.
        source: Where the rows come from.
        inserts: Whether rows that the table lacks are inserted; else only existing ones are updated.

    Yields:
        What takes the rows.
    """
    if source.is_outdated:
        yield _Outdated()
    elif not inserts:
        yield _Enriching(target, columns, source.observed_at)
    else:
        with empty_table(target) as is_empty:
            if is_empty:
                # Whatever happens, the thread lets go of the connection before the transaction is ended.
                with ThreadPoolExecutor(max_workers=1) as thread:
                    yield _Direct(target, source.observed_at, thread)
            else:
                yield _Staged(target, columns, source.observed_at)


class _Direct:
    """Copies rows into a table that was empty, in a thread, so that the next block is parsed meanwhile."""

    def __init__(self, target: Target, observed_at: datetime, thread: Executor) -> None:
        self._target, self._rows = target, 0
        self._observed_at = observed_at.isoformat()
        self._thread = thread
        self._sending: Future[int] | None = None
        self.is_empty = True

    def take(self, frame: pl.DataFrame) -> None:
        if "observed_at" in self._target.system:
            frame = frame.with_columns(pl.lit(self._observed_at).alias("observed_at"))
        if not self._target.has_digest_column:
            frame = frame.drop(DIGEST)
        self._settle()
        self._sending = self._thread.submit(copy_frame, self._target.connection, self._target.name, frame)

    def discard(self) -> None:
        self._settle()
        delete_all(self._target)
        self._rows = 0

    def finish(self) -> Merged:
        self._settle()
        return Merged(inserted=self._rows)

    def _settle(self) -> None:
        """Wait until the connection is free."""
        if self._sending is not None:
            self._rows += self._sending.result()
            self._sending = None


class _Staged:
    """Holds rows in a temporary table for the merge."""

    def __init__(self, target: Target, columns: Sequence[Column], observed_at: datetime) -> None:
        self._stage, self._observed_at = Stage(target, columns), observed_at
        self.is_empty = False

    def take(self, frame: pl.DataFrame) -> None:
        self._stage.add(frame)

    def discard(self) -> None:
        self._stage.clear()

    def finish(self) -> Merged:
        return self._stage.merge_records(self._observed_at)


class _Enriching(_Staged):
    """Holds rows in a temporary table; they only update rows that exist."""

    def take(self, frame: pl.DataFrame) -> None:
        super().take(frame.drop(DIGEST))

    def finish(self) -> Merged:
        return self._stage.update_existing(self._observed_at)


class _Outdated:
    """Counts the rows of a report that is older than what was loaded last; they change nothing."""

    def __init__(self) -> None:
        self._rows = 0
        self.is_empty = False

    def take(self, frame: pl.DataFrame) -> None:
        self._rows += frame.height

    def discard(self) -> None:
        self._rows = 0

    def finish(self) -> Merged:
        return Merged(superseded=self._rows)
