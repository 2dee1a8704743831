"""Stage the rows of a long walk in PostgreSQL, so that its memory is bounded and an interrupted walk is resumed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.errors import WalkInterruptedError
from canvas_sync_dagster.sync.rest_lists import FAILED
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.process_lock import ProcessLock, is_released
from canvas_sync_dagster.warehouse.state.walks import Interrupted, Row, StagedWalk, Walks
from canvas_sync_dagster.warehouse.warehouse import Warehouse

STAGED_ROWS = 5_000
"""Rows from which a part is staged: 9 MB of Python objects. A walk with fewer rows is never staged."""
STAGED_SECONDS = 10.0
"""Seconds after which a part is staged, which is what a killed walk loses at most."""
MERGED_ROWS = 20_000
"""Rows that are merged at once: 35 MB of Python objects, and 0.2 s in which the fixed cost of a merge is small."""


@dataclass(slots=True)
class WalkStaging:
    """Takes what a walk reads, and gives it back for the publication.

    Attributes:
        session: The tenant's database.
        model: Model of the rows.
        scope: Canvas term id, or empty.
        fingerprint: What the walk requests and how it maps it.
        results: Parent → how its list ended, of all attempts.
    """

    session: Session
    model: Model
    scope: str
    fingerprint: str
    results: dict[int, str] = field(default_factory=dict)
    _walk: StagedWalk | None = None
    _lock: ProcessLock | None = None
    _rows: list[tuple[int, Sequence[Row]]] = field(default_factory=list)
    _count: int = 0
    _unstaged: dict[int, str] = field(default_factory=dict)
    _staged_at: float = field(default_factory=time.monotonic)

    @property
    def observed_at(self) -> datetime | None:
        """When the walk sent its first request, if an earlier attempt or a staged part recorded it."""
        return self._walk.observed_at if self._walk else None

    def resume(self) -> int:
        """Continue a walk whose process is gone; return the number of parents that it has read."""
        with self.session.warehouse("looking for an interrupted walk") as warehouse:
            walks = Walks(warehouse)
            for each in walks.interrupted(self.model.name, self.scope, self.fingerprint):
                if self._is_orphaned(warehouse, each) and (walk := walks.resume(each.walk)):
                    # A list that failed is read again.
                    self.results = {p: result for p, result in walks.results(walk).items() if result != FAILED}
                    self._walk = walk
                    break
        self._hold()
        return len(self.results)

    def add(self, parent: int, rows: Sequence[Row]) -> None:
        """Take rows of a parent's list."""
        if rows:
            self._rows.append((parent, rows))
            self._count += len(rows)

    def end(self, parent: int, result: str) -> None:
        """Take the end of a parent's list."""
        self.results[parent] = self._unstaged[parent] = result

    def stage_if_due(self, observed_at: datetime) -> None:
        """Stage what was taken if it is much or a while ago.

        Args:
            observed_at: When the first request of this walk was sent, on Canvas's clock.

        Raises:
            WalkInterruptedError: The walk was removed, or another process continues it.
        """
        is_late = time.monotonic() - self._staged_at >= STAGED_SECONDS and (self._rows or self._unstaged)
        if self._count >= STAGED_ROWS or is_late:
            self.stage(observed_at)

    def stage(self, observed_at: datetime) -> None:
        """Stage what was taken, as `stage_if_due` does."""
        with self.session.warehouse(f"staging {self.model.name}") as warehouse:
            walks = Walks(warehouse)
            if self._walk is None:
                self._walk = walks.begin(self.model.name, self.scope, self.fingerprint, observed_at)
            self._write(walks, self._walk)
        self._rows, self._count, self._unstaged = [], 0, {}
        self._staged_at = time.monotonic()
        self._hold()

    def parts(self, warehouse: Warehouse) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of all attempts, in parts that fit into memory, in the transaction that publishes them.

        Raises:
            WalkInterruptedError: The walk was removed, or another process continues it.
        """
        if self._walk is not None:
            # The rest joins what is staged already: the end of a list counts for all of its pages.
            self._write(Walks(warehouse), self._walk)
        rows: list[dict[str, Any]] = []
        for part in self._all_parts(warehouse):
            rows += part
            if len(rows) >= MERGED_ROWS:
                yield rows
                rows = []
        yield rows

    def remove(self, warehouse: Warehouse) -> None:
        """Delete what was staged, in the transaction that publishes it."""
        if self._walk is not None:
            Walks(warehouse).remove(self._walk)

    def close(self) -> None:
        """Release the lock that shows that this process works on the walk."""
        if self._lock is not None:
            self._lock.close()

    def _all_parts(self, warehouse: Warehouse) -> Iterator[list[dict[str, Any]]]:
        if self._walk is None:
            yield [dict(row) for _, rows in self._rows for row in rows]
        else:
            yield from Walks(warehouse).parts(self._walk)

    def _write(self, walks: Walks, walk: StagedWalk) -> None:
        if not walks.is_current(walk, self._locked_at()):
            raise WalkInterruptedError(
                f"{self.model.name}: the walk was interrupted, because a person was erased or another run continues it. "
                "Run the sync again."
            )
        walks.write(walk, self._rows, self._unstaged)

    def _is_orphaned(self, warehouse: Warehouse, walk: Interrupted) -> bool:
        if walk.locked_at is not None and is_released(warehouse, walk.walk.key, walk.locked_at):
            return True
        return walk.silence > self.session.tenant.lost_after

    def _hold(self) -> None:
        """Lock the walk, once it is staged."""
        if self._walk is None or self._lock is not None:
            return
        self._lock = ProcessLock(self.session.database_url, self.session.schema, self._walk.key)
        if locked_at := self._lock.hold():
            with self.session.warehouse(f"staging {self.model.name}") as warehouse:
                Walks(warehouse).is_current(self._walk, locked_at)

    def _locked_at(self) -> datetime | None:
        return self._lock.hold() if self._lock else None


def fingerprint(model: Model, feed: RestFeed, scope: str, since: datetime | None, base_url: str) -> str:
    """Return a digest of what a walk requests and how it maps it.

    Args:
        model: Model of the listed objects.
        feed: Its feed.
        scope: Canvas term id, or empty.
        since: Since when parents must have been active; None for all parents.
        base_url: URL of the Canvas.
    """
    columns = [(column.name, column.type.value, column.api) for column in model.columns]
    requested: Mapping[str, object] = {
        "canvas": base_url,
        "path": feed.path,
        "parameters": feed.parameters,
        "scope": scope,
        "full": since is None,
        "columns": columns,
        "hashed": [(each.column.name, each.hash.id) for each in model.protected if each.hash is not None],
        "expand": getattr(feed.expand, "__qualname__", None),
    }
    return hashlib.sha256(repr(sorted(requested.items())).encode()).hexdigest()[:32]
