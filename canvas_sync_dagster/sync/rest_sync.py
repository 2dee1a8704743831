"""A model that is fed by a list over REST."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.catalogue.model import CONTEXTS
from canvas_sync_dagster.catalogue.parameters import NONE, Parameters
from canvas_sync_dagster.sync.flow import Flow, Publication
from canvas_sync_dagster.sync.outcome import ModelOutcome, SyncOutcome
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.sync.rest_walk import Walk, walk
from canvas_sync_dagster.sync.root_account import store_root_account
from canvas_sync_dagster.sync.terms import is_deleted
from canvas_sync_dagster.sync.token_expiry import store_token_expiry
from canvas_sync_dagster.warehouse.absence import GATE, Absence, mark_missing
from canvas_sync_dagster.warehouse.key_comparison import keys_of
from canvas_sync_dagster.warehouse.listed_keys import ListedKeys
from canvas_sync_dagster.warehouse.loading.counts import limits_for
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, load_parts
from canvas_sync_dagster.warehouse.loading.provisional_keys import with_keys
from canvas_sync_dagster.warehouse.row_conditions import covered_by_list, held_by
from canvas_sync_dagster.warehouse.table_counts import count_rows
from canvas_sync_dagster.warehouse.warehouse import Table

NO_REPORT = "no report feeds this model"
OVER_REST: Parameters = MappingProxyType({"feed": "rest"})
IN_FULL = "a list over REST is always read in full"


def sync_list(flow: Flow, model: Model, *, because: str = "") -> SyncOutcome:
    """Read a model's list, or one list per parent, and load it.

    Args:
        flow: The tenant, the policy and the scope.
        model: Model of the listed objects.
        because: Why they are read over REST, of a model that a report can feed.

    Raises:
        CanvasSyncError: Nothing was published; the message names the remedy.
    """
    feed = model.walk
    if feed is None:
        raise TypeError(f"{model.name} is not fed over REST")
    flow.prepare([model.name], per_term=model.term_scoped)
    outcome = flow.run(ModelList(flow, model, feed, _decided(flow, model, feed), because or NO_REPORT))
    if model.name == "terms":
        # Every sync begins with the terms.
        store_root_account(flow.session)
        store_token_expiry(flow.session)
    return outcome


def _decided(flow: Flow, model: Model, feed: RestFeed) -> Decision:
    """Decide whether the lists of all parents are read, or those of active parents."""
    if not feed.active_by:
        return Decision(None, IN_FULL)
    decided = flow.decide([model.name], walk_parameters(model), takes_updated_after=True)
    if decided.updated_after is None:
        return decided
    per = "courses" if feed.per == CONTEXTS else feed.per
    if feed.since:
        return replace(decided, reason=f"what changed in each of the {per} {decided.reason}")
    return replace(decided, reason=f"only the lists of {per} that were active {decided.reason}")


def walk_parameters(model: Model) -> Parameters:
    """Return what distinguishes the walk from the model's report, so that the first sync after a switch is full."""
    return NONE if isinstance(model.feed, RestFeed) else OVER_REST


@dataclass(frozen=True, slots=True)
class ModelList:
    """A list that feeds a model, as a source of a flow.

    Attributes:
        flow: The tenant, the policy and the scope.
        model: Model of the listed objects.
        feed: Its feed.
        decision: Whether all lists are read.
        because: Why the model is read over REST.
    """

    flow: Flow
    model: Model
    feed: RestFeed
    decision: Decision
    because: str = ""

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
    def parameters(self) -> Parameters:
        return walk_parameters(self.model)

    def fetch(self) -> AbstractContextManager[Walk]:
        """Read the list, or the lists of the parents."""
        flow, since = self.flow, self.decision.updated_after
        return walk(flow.session, self.model, self.feed, flow.scope, since=since, log=flow.log)

    def publish(self, publication: Publication[Walk]) -> SyncOutcome:
        """Load the rows, and mark those that are no longer listed."""
        listed = publication.content
        problems = listed.summary()
        if problems:
            self.flow.log(f"{self.model.name}: {problems}; their rows are left alone")
        outcome = SyncOutcome(
            source=self.feed.path,
            scope=self.flow.scope,
            observed_at=listed.observed_at,
            decision=replace(self.decision, reason="; ".join(filter(None, [self.decision.reason, problems]))),
            waited=publication.waited,
            models=(self._load(publication),),
            feed="rest",
            feed_reason=self.because,
            walked=listed.cost,
        )
        listed.staging.remove(publication.warehouse)
        return outcome

    def _load(self, publication: Publication[Walk]) -> ModelOutcome:
        table = publication.warehouse.table(self.model)
        watermark = publication.watermarks.get(self.model.name)
        source = Source(
            self.flow.scope,
            publication.content.observed_at,
            self.feed.path,
            watermark=watermark.observed_at if watermark else None,
        )
        keys = ListedKeys(self.model)
        complete = (with_keys(table, rows) for rows in publication.content.parts(publication.warehouse))
        parts = self._noting_keys(complete, keys)
        limits = limits_for(complete=self.decision.updated_after is None)
        counts = load_parts(table, parts, source, keep_rejects=True, limits=limits)
        absence = self._mark_missing(table, publication.content, source, keys)
        counted = count_rows(table)
        return ModelOutcome(
            self.model,
            self._with_absent(counts, absence),
            counted.rows,
            absence=absence,
            suspects=counted.suspects,
            orphans=counted.orphans,
        )

    def _noting_keys(self, parts: Iterator[list[dict[str, Any]]], keys: ListedKeys) -> Iterator[list[dict[str, Any]]]:
        for rows in parts:
            if self.decision.updated_after is None:
                keys.add(keys_of(self.model, rows))
            yield rows

    def _mark_missing(self, table: Table, listed: Walk, source: Source, keys: ListedKeys) -> Absence:
        if self.decision.updated_after is not None:
            # The lists of inactive parents were not read.
            return Absence()
        deleted = is_deleted(table.warehouse, self.flow.scope)
        # A report lists rows of deleted courses as well, and a walk cannot: it decides about what it has read.
        stands_in = self.feed is not self.model.feed
        return mark_missing(
            table,
            source,
            keys,
            gate=None if self.flow.policy.accept_shrinkage or deleted else GATE,
            among=held_by(table, self.feed, listed.read) if stands_in else covered_by_list(self.feed, listed.unread),
            values=self.feed.absent,
        )

    def _with_absent(self, counts: LoadCounts, absence: Absence) -> LoadCounts:
        """Count the rows whose absence from the list is a value, as the feed declares it, among those of the list."""
        if not self.feed.absent or absence.held:
            return counts
        updated, rows = counts.updated + absence.missing, counts.rows_in_report + absence.missing
        return replace(counts, updated=updated, rows_in_report=rows)
