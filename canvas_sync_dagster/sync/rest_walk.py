"""Walks over REST: a list, or a list for each parent, read page by page and published all at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.catalogue.model import CONTEXT_COLUMNS, CONTEXTS
from canvas_sync_dagster.errors import CanvasError
from canvas_sync_dagster.sync.api_rows import rows_of
from canvas_sync_dagster.sync.rest_lists import ACCOUNT, FAILED, HIDDEN, NOT_FOUND, READ, ListEnd, Parent, read_lists
from canvas_sync_dagster.sync.rest_parents import parents_of
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.walk_cost import WalkCost, estimate
from canvas_sync_dagster.sync.walk_staging import WalkStaging, fingerprint
from canvas_sync_dagster.warehouse.warehouse import Warehouse

FAILED_SHARE = 0.05
"""Share of the lists that may fail with a server error. More of them is an outage, and the walk is resumed later."""
FAILED_IN_A_ROW = 8
"""Lists that fail one after another before the walk gives up: as many as are read at the same time."""
SHOWN = 10
"""Ids of parents that a sentence names at most."""
PROBLEMS = {NOT_FOUND: "Canvas does not find", HIDDEN: "the token may not read", FAILED: "Canvas fails to list"}

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Walk:
    """Lists that were read.

    Attributes:
        observed_at: When the first request was sent, on Canvas's clock.
        results: Parent → how its list ended.
        per: Model of the parents; None for a list without parents.
        cost: Its requests and seconds, and what was estimated.
        staging: The rows.
    """

    observed_at: datetime
    results: Mapping[int, str]
    per: str | None
    cost: WalkCost
    staging: WalkStaging = field(repr=False)

    @property
    def read(self) -> list[int]:
        """Ids of the parents whose lists were read."""
        return [parent for parent, result in self.results.items() if result == READ]

    @property
    def unread(self) -> list[int]:
        """Ids of the parents whose lists could not be read; their rows are left alone."""
        return [parent for parent, result in self.results.items() if result != READ]

    def parts(self, warehouse: Warehouse) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows (column → value), part by part, in the transaction that publishes them."""
        return self.staging.parts(warehouse)

    def summary(self) -> str:
        """Return which lists could not be read; empty if none."""
        sentences = []
        for problem, words in PROBLEMS.items():
            parents = sorted(parent for parent, result in self.results.items() if result == problem)
            if parents:
                more = f" and {len(parents) - SHOWN} more" if len(parents) > SHOWN else ""
                named = ", ".join(f"account {-each}" if each < 0 else str(each) for each in parents[:SHOWN])
                per = "courses" if self.per == CONTEXTS else self.per or "the list"
                sentences.append(f"{words} {per} {named}{more}")
        return "; ".join(sentences)


@contextmanager
def walk(
    session: Session,
    model: Model,
    feed: RestFeed,
    scope: str,
    *,
    since: datetime | None = None,
    log: Log = lambda _: None,
) -> Iterator[Walk]:
    """Read a model's list, or the lists of its parents.

    A walk that is interrupted is resumed by the next one for the same model and scope. Parents whose list Canvas does not
    find or does not show are left out; so are those whose list fails twice with a server error, if they are few.

    Args:
        session: The tenant's Canvas and database.
        model: Model of the objects.
        feed: Its feed: which list, or which lists.
        scope: Canvas term id of the parents, or empty for all.
        since: Reads only the lists of parents that were active since then; None reads all.
        log: Takes a line about the progress.

    Raises:
        CanvasSyncError: Canvas cannot be reached, refuses all lists, or fails to answer for many.
    """
    staging = WalkStaging(session, model, scope, fingerprint(model, feed, scope, since, str(session.canvas.base_url)))
    try:
        yield _Walker(session, model, feed, staging, log).read(parents_of(session, model, feed, scope, since))
    finally:
        staging.close()


@dataclass(slots=True)
class _Walker:
    session: Session
    model: Model
    feed: RestFeed
    staging: WalkStaging
    log: Log
    _start: float = field(default_factory=time.monotonic)
    _errors: dict[int, CanvasError] = field(default_factory=dict)
    _failed_in_a_row: int = 0
    _sent_before: int = field(init=False)

    def __post_init__(self) -> None:
        # The list of the courses counts, too.
        self._sent_before = self.session.canvas.requests

    def read(self, parents: Sequence[Parent]) -> Walk:
        cost = self._estimated(parents)
        if len(parents) > 1 and (done := self.staging.resume()):
            self.log(f"{self.model.name}: an interrupted walk is resumed; {done:,} of {len(parents):,} lists are read")
        left = [parent for parent in parents if parent.id not in self.staging.results]
        self._read_all(left, len(parents))
        failed = [parent for parent in left if self.staging.results.get(parent.id) == FAILED]
        if failed and len(failed) < len(parents):
            self._read_all(failed, len(parents))
        ids = [parent.id for parent in parents]
        self._refuse_outage(ids)
        results = {number: self.staging.results[number] for number in ids}
        cost = replace(
            cost, requests=self.session.canvas.requests - self._sent_before, seconds=time.monotonic() - self._start
        )
        return Walk(self._observed_at(), results, self.feed.per, cost, self.staging)

    def _estimated(self, parents: Sequence[Parent]) -> WalkCost:
        with self.session.warehouse("estimating a walk") as warehouse:
            cost = estimate(warehouse, self.feed, parents)
        if len(parents) > 1:
            self.log(f"{self.model.name}: {len(parents):,} lists are read over REST: {cost}")
        return cost

    def _read_all(self, parents: Sequence[Parent], total: int) -> None:
        for item in read_lists(self.session.canvas, self.feed, parents):
            if isinstance(item, ListEnd):
                self._end(item, total)
            else:
                self.staging.add(item.parent, self._rows(item.parent, item.bodies))
            if self.feed.per is not None:
                self.staging.stage_if_due(self._observed_at())

    def _end(self, end: ListEnd, total: int) -> None:
        self.staging.end(end.parent, end.result)
        if end.error is not None:
            self._errors[end.parent] = end.error
        self._failed_in_a_row = self._failed_in_a_row + 1 if end.result == FAILED else 0
        if self._failed_in_a_row >= FAILED_IN_A_ROW and end.error is not None:
            raise end.error
        done = len(self.staging.results)
        if done % 1_000 == 0:
            self.log(f"{self.model.name}: {done:,} of {total:,} lists are read")

    def _rows(self, parent: int, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
        injected: dict[str, object] = {self.feed.inject: parent} if self.feed.inject and parent != ACCOUNT else {}
        if self.feed.per == CONTEXTS:
            injected = dict(zip(CONTEXT_COLUMNS, (abs(parent), "Course" if parent > 0 else "Account"), strict=True))
        return rows_of(self.session, self.model, ((body, injected) for body in bodies))

    def _refuse_outage(self, parents: Sequence[int]) -> None:
        """Raise Canvas's error if no list could be read for lack of a permission, or if many failed."""
        of = {result: [p for p in parents if self.staging.results[p] == result] for result in (HIDDEN, FAILED)}
        hidden, failed = of[HIDDEN], of[FAILED]
        refused = hidden if len(hidden) == len(parents) else []
        broken = failed if len(failed) == len(parents) or len(failed) > max(1, FAILED_SHARE * len(parents)) else []
        for parent in (*refused, *broken):
            if parent in self._errors:
                raise self._errors[parent]

    def _observed_at(self) -> datetime:
        return self.staging.observed_at or self.session.canvas.moment(self._start)
