"""A model that is fed by a list over REST."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.catalogue.parameters import NONE, Parameters
from canvas_sync_dagster.sync.flow import Flow, Publication
from canvas_sync_dagster.sync.outcome import ModelOutcome, SyncOutcome
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.sync.rest_walk import Walk, walk
from canvas_sync_dagster.sync.root_account import store_root_account
from canvas_sync_dagster.sync.terms import is_deleted
from canvas_sync_dagster.warehouse.absence import GATE, Absence, mark_missing
from canvas_sync_dagster.warehouse.key_comparison import keys_of
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, load_rows
from canvas_sync_dagster.warehouse.row_conditions import covered_by_list
from canvas_sync_dagster.warehouse.table_counts import count_rows
from canvas_sync_dagster.warehouse.warehouse import Table

IN_FULL = "a list over REST is always read in full"


def sync_list(flow: Flow, model: Model) -> SyncOutcome:
    """Read a model's list, or one list per parent, and load it.

    Args:
        flow: The tenant, the policy and the scope.
        model: Model of the listed objects.

    Raises:
        CanvasSyncError: Nothing was published; the message names the remedy.
    """
    feed = model.feed
    if not isinstance(feed, RestFeed):
        raise TypeError(f"{model.name} is not fed over REST")
    flow.prepare([model.name], per_term=model.term_scoped)
    outcome = flow.run(ModelList(flow, model, feed))
    if model.name == "terms":
        # Every sync begins with the terms.
        store_root_account(flow.session)
    return outcome


@dataclass(frozen=True, slots=True)
class ModelList:
    """A list that feeds a model, as a source of a flow.

    Attributes:
        flow: The tenant, the policy and the scope.
        model: Model of the listed objects.
        feed: Its feed.
    """

    flow: Flow
    model: Model
    feed: RestFeed

    @property
    def job(self) -> str:
        return f"rest:{self.model.name}"

    @property
    def arguments(self) -> Mapping[str, Any]:
        return {"path": self.feed.path, "scope": self.flow.scope}

    @property
    def watermarks(self) -> Sequence[str]:
        return [self.model.name]

    @property
    def decision(self) -> Decision:
        return Decision(None, IN_FULL)

    @property
    def parameters(self) -> Parameters:
        return NONE

    @contextmanager
    def fetch(self) -> Iterator[Walk]:
        """Read the list, or the lists of all parents."""
        yield walk(self.flow.session, self.model, self.feed, self.flow.scope)

    def publish(self, publication: Publication[Walk]) -> SyncOutcome:
        """Load the rows, and mark those that are no longer listed."""
        listed = publication.content
        missed = f"; Canvas does not find {', '.join(map(str, listed.not_found))}" if listed.not_found else ""
        return SyncOutcome(
            source=self.feed.path,
            scope=self.flow.scope,
            observed_at=listed.observed_at,
            decision=Decision(None, f"{IN_FULL}{missed}"),
            waited=publication.waited,
            models=(self._load(publication),),
        )

    def _load(self, publication: Publication[Walk]) -> ModelOutcome:
        table = publication.warehouse.table(self.model)
        watermark = publication.watermarks.get(self.model.name)
        source = Source(
            self.flow.scope,
            publication.content.observed_at,
            self.feed.path,
            watermark=watermark.observed_at if watermark else None,
        )
        counts = load_rows(table, publication.content.rows, source, keep_rejects=True)
        absence = self._mark_missing(table, publication.content, source)
        counted = count_rows(table)
        return ModelOutcome(
            self.model,
            self._with_absent(counts, absence),
            counted.rows,
            absence=absence,
            suspects=counted.suspects,
            orphans=counted.orphans,
        )

    def _mark_missing(self, table: Table, listed: Walk, source: Source) -> Absence:
        deleted = is_deleted(table.warehouse, self.flow.scope)
        return mark_missing(
            table,
            source,
            keys_of(self.model, listed.rows),
            gate=None if self.flow.policy.accept_shrinkage or deleted else GATE,
            among=covered_by_list(self.feed, listed.not_found),
            values=self.feed.absent,
        )

    def _with_absent(self, counts: LoadCounts, absence: Absence) -> LoadCounts:
        """Count the rows whose absence from the list is a value, as the feed declares it, among those of the list."""
        if not self.feed.absent or absence.held:
            return counts
        updated, rows = counts.updated + absence.missing, counts.rows_in_report + absence.missing
        return replace(counts, updated=updated, rows_in_report=rows)
