"""Where the rows of a load go: straight into an empty table, to a merge, or nowhere because they are outdated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

import polars as pl

from canvas_sync_dagster.catalogue import Column
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.merge import Merged, Stage, copy_frame, empty_table
from canvas_sync_dagster.warehouse.loading.target import Target
from canvas_sync_dagster.warehouse.reading.keyed_blocks import DIGEST
from canvas_sync_dagster.warehouse.reading.source import Source


class Sink(Protocol):
    """Takes the rows of a load, with their digests."""

    def add(self, frame: pl.DataFrame) -> None:
        """Takes rows; a key may come only once."""

    def settle(self) -> None:
        """Waits until the connection is free for others."""

    def finish(self, *, sorted_by_key: bool) -> Merged:
        """Publishes them within the transaction; says what became of them."""


@contextmanager
def open_sink(
    connection: Connection, target: Target, columns: Sequence[Column], source: Source
) -> Iterator[tuple[Sink, bool]]:
    """Decides where the rows go; yields that and whether the table is empty, so that nothing need be compared."""
    if source.is_outdated:
        yield _Outdated(), False
        return
    with empty_table(connection, target) as empty:
        if empty:
            # Whatever happens, the thread lets go of the connection before the transaction is ended.
            with ThreadPoolExecutor(max_workers=1) as thread:
                yield _Direct(connection, target, source.observed_at, thread), True
        else:
            yield _Staged(connection, target, columns, source.observed_at), False


class _Direct:
    """Rows go straight into a table that was empty, from a thread, so that the next block is parsed meanwhile."""

    def __init__(self, connection: Connection, target: Target, observed_at: datetime, thread: Executor) -> None:
        self._connection, self._target, self._rows = connection, target, 0
        self._observed_at = observed_at.isoformat()
        self._thread = thread
        self._sending: Future[int] | None = None

    def add(self, frame: pl.DataFrame) -> None:
        if "observed_at" in self._target.system:
            frame = frame.with_columns(pl.lit(self._observed_at).alias("observed_at"))
        if not self._target.has_digests:
            frame = frame.drop(DIGEST)
        self.settle()
        self._sending = self._thread.submit(copy_frame, self._connection, self._target.name, frame)

    def settle(self) -> None:
        if self._sending is not None:
            self._rows += self._sending.result()
            self._sending = None

    def finish(self, *, sorted_by_key: bool) -> Merged:
        self.settle()
        return Merged(inserted=self._rows)


class _Staged:
    """Rows wait in a temporary table for the merge."""

    def __init__(
        self, connection: Connection, target: Target, columns: Sequence[Column], observed_at: datetime
    ) -> None:
        self._stage, self._observed_at = Stage(connection, target, columns), observed_at

    def add(self, frame: pl.DataFrame) -> None:
        self._stage.add(frame)

    def settle(self) -> None:
        pass

    def finish(self, *, sorted_by_key: bool) -> Merged:
        return self._stage.merge_records(self._observed_at, sorted_by_key=sorted_by_key)


class _Outdated:
    """Rows of a report that is older than what was loaded last: they are counted, and change nothing."""

    def __init__(self) -> None:
        self._rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        self._rows += frame.height

    def settle(self) -> None:
        pass

    def finish(self, *, sorted_by_key: bool) -> Merged:
        return Merged(superseded=self._rows)
