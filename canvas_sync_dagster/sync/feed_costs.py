"""Which feed each table will have on this Canvas, why, and what a full walk over REST would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.catalogue.model import CONTEXTS
from canvas_sync_dagster.sync.feeds import FeedChoice, FeedChooser
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.rest_lists import ACCOUNT, Parent
from canvas_sync_dagster.sync.rest_parents import covered_terms, listed_courses
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.walk_cost import WalkCost, estimate
from canvas_sync_dagster.warehouse.loading.row_statements import read_live_ids
from canvas_sync_dagster.warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class ModelFeed:
    """The feed of one table.

    Attributes:
        model: Name of the model.
        choice: Its feed, and why.
        cost: Cost of a full walk over all covered terms; None for a report, or while the parents are not loaded.
    """

    model: str
    choice: FeedChoice
    cost: WalkCost | None = None


def model_feeds(session: Session) -> list[ModelFeed]:
    """Return the feed of each model that a report can feed, by what Canvas offers now.

    Raises:
        CanvasSyncError: Canvas or the database cannot be reached, or the setting `feeds` cannot be followed.
    """
    tenant, policy = session.tenant, SyncOptions().over(session.tenant)
    functions = session.extensions.row_functions(policy.legacy_support)
    available = session.available_reports()
    chooser = FeedChooser(available, policy.provisioning_report, tenant.feeds, policy.params, functions)
    chosen = tenant.chosen(session.models)
    choices = [(model, chooser.of_model(group, model)) for group in report_groups(chosen) for model in group.models]
    walked = [model for model, choice in choices if choice.feed == "rest"]
    costs = _costs(session, walked) if walked else {}
    return [ModelFeed(model.name, choice, costs.get(model.name)) for model, choice in choices]


def _costs(session: Session, models: Sequence[Model]) -> dict[str, WalkCost]:
    courses = _covered_courses(session, models)
    found = {}
    with session.warehouse("estimating walks") as warehouse:
        for model in models:
            assert model.rest is not None  # noqa: S101 (it is read over REST)
            parents = _parents(warehouse, model.rest, courses)
            if parents is not None:
                found[model.name] = estimate(warehouse, model.rest, parents)
    return found


def _parents(warehouse: Warehouse, feed: RestFeed, courses: Sequence[int]) -> list[Parent] | None:
    if feed.per is None:
        return [Parent(ACCOUNT)]
    if feed.per == CONTEXTS:
        return [*map(Parent, courses), *(Parent(-number) for number in _ids(warehouse, "accounts") or [ACCOUNT])]
    if feed.parents_path is not None:
        return [*map(Parent, courses)]
    ids = _ids(warehouse, feed.per)
    return None if ids is None else [*map(Parent, ids)]


def _ids(warehouse: Warehouse, name: str) -> list[int] | None:
    """Return the ids in a table; None if it was not loaded yet."""
    model = warehouse.models.get(name)
    if model is None or not warehouse.has(model.table):
        return None
    return read_live_ids(warehouse.table(model), "") or None


def _covered_courses(session: Session, models: Sequence[Model]) -> list[int]:
    paths = {model.rest.parents_path for model in models if model.rest is not None and model.rest.parents_path}
    terms = covered_terms(session) if paths else []
    return [number for path in paths for term in terms for number in listed_courses(session, path, term)]
