"""Plan the audit of a model from the database alone: which rows and lists are read, and how many requests that takes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from canvas_sync_dagster.audit.draw import Draw, Group, draw_groups
from canvas_sync_dagster.canvas.client import PAGE_SIZE
from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.catalogue.parameters import merged
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.sampling import count_rows, group_sizes, sample_rows
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Warehouse

MOST_PAGES = 10
"""Pages that are read of one list at most: 1,000 objects. A larger list is represented by its beginning."""
ACCOUNT = 0
"""Parent of a list that belongs to the whole account."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What the audit of a model reads.

    Attributes:
        model: The model.
        sample: Maximum number of rows, and of lists.
        seed: Decides which.
        rows: Rows of the table that can be drawn.
        drawn: Rows that were drawn, with `observed_at` and their scope.
        groups: Parents of the lists.
        draw: Lists that were drawn; none if their pages are numbered, because Canvas knows how many there are.
        observed: Scope → how fresh the table is in it.
        rows_reason: Why no rows are read from Canvas; empty if they are.
        objects_reason: Why no lists are read; empty if they are.
    """

    model: Model
    sample: int
    seed: int
    rows: int = 0
    drawn: Sequence[Mapping[str, Any]] = ()
    groups: Sequence[Group] = ()
    draw: Draw = field(default_factory=Draw)
    observed: Mapping[str, datetime] = field(default_factory=dict)
    rows_reason: str = ""
    objects_reason: str = ""

    @property
    def reason(self) -> str:
        """Why nothing is compared; empty if something is."""
        return self.rows_reason if self.rows_reason and self.objects_reason else ""

    @property
    def requests(self) -> int:
        """Number of requests, except those that are repeated after an error."""
        return self._list_requests() + len(self.drawn)

    def _list_requests(self) -> int:
        if self.objects_reason or self.model.listing is None:
            return 0
        if not self.model.listing.numbered:
            pages = {group.parent: _pages(group.rows) for group in self.groups}
            return sum(min(MOST_PAGES, pages[each.parent]) for each in self.draw.lists)
        # One more per list shows where it ends.
        return min(self.sample, sum(_pages(group.rows) for group in self.groups)) + len(self.groups)


def independent_paths(
    model: Model, tenant: TenantSettings, synced: Collection[str], extensions: Extensions
) -> tuple[str, str]:
    """Return why the rows of a model cannot be read by another path than the sync's, and why its lists cannot.

    Args:
        model: The model.
        tenant: Settings of the tenant.
        synced: Names of the models that it syncs.
        extensions: The user's functions.

    Returns:
        Two reasons; one is empty if there is such a path.
    """
    if model.alterations:
        why = "alter_rows changes its rows, so that they cannot be compared with Canvas"
        return why, why
    fed_by = "lists" if isinstance(model.feed, RestFeed) else "the report"
    override = extensions.api.get(model.name)
    has_single = model.single is not None or (override is not None and override.fetch is not None)
    rows = "" if has_single else f"Canvas shows its objects by no other path than {fed_by}"
    if model.listing is None or isinstance(model.feed, RestFeed):
        return rows, f"Canvas lists its objects by no other path than {fed_by}"
    if given := merged(model.parameters, tenant.params.get(model.name, {})):
        return rows, f"its report has parameters ({', '.join(given)}), which may leave out rows that Canvas lists"
    per = model.listing.per
    if per is not None and per not in synced:
        return rows, f"its lists are read for each row of {per}, which the tenant does not sync"
    return rows, ""


def audited_models(models: Sequence[Model], tenant: TenantSettings, extensions: Extensions) -> tuple[Model, ...]:
    """Return those of a tenant's models that an independent path exists for."""
    synced = {model.name for model in models}
    return tuple(model for model in models if not all(independent_paths(model, tenant, synced, extensions)))


def plan_audit(session: Session, covered: CoveredTerms, model: Model, sample: int, seed: int) -> ModelPlan:
    """Draw the rows and lists of an audit. Nothing is requested from Canvas.

    Args:
        session: The tenant's database.
        covered: Terms of the tenant; of a model with terms, those in scope are audited.
        model: The model.
        sample: Maximum number of rows, and of lists.
        seed: Decides which are drawn.

    Raises:
        CanvasSyncError: The database does not answer.
    """
    rows_reason, objects_reason = independent_paths(model, session.tenant, session.by_name, session.extensions)
    if rows_reason and objects_reason:
        return ModelPlan(model, sample, seed, rows_reason=rows_reason, objects_reason=objects_reason)
    now = datetime.now(UTC)
    with session.warehouse(f"sampling {model.name}") as warehouse:
        scopes = [term.id for term in covered.terms_in_scope(warehouse, now)] if model.term_scoped else [""]
        observed = _observed(warehouse, model, scopes)
        if not observed:
            never = "it was not synced in full yet"
            return ModelPlan(model, sample, seed, rows_reason=never, objects_reason=never)
        table = warehouse.table(model)
        rows = count_rows(table, observed)
        drawn = [] if rows_reason else sample_rows(table, observed, sample, seed)
        groups = [] if objects_reason else _groups(warehouse, model, observed)
    listing = model.listing
    draw = draw_groups(groups, sample, seed) if listing is not None and not listing.numbered else Draw()
    return ModelPlan(model, sample, seed, rows, drawn, groups, draw, observed, rows_reason, objects_reason)


def _observed(warehouse: Warehouse, model: Model, scopes: Sequence[str]) -> dict[str, datetime]:
    """Return the freshness of each scope that was ever synced in full."""
    found: dict[str, datetime] = {}
    for scope in scopes:
        mark = Watermarks(warehouse).read([model.name], scope).get(model.name)
        if mark is not None and mark.observed_at is not None and mark.full_observed_at is not None:
            found[scope] = mark.observed_at
    return found


def _groups(warehouse: Warehouse, model: Model, observed: Mapping[str, datetime]) -> list[Group]:
    listing = model.listing
    if listing is None:
        return []
    table = warehouse.table(model)
    if listing.per is None:
        return [Group(ACCOUNT, "", count_rows(table, observed))]
    if listing.per == "terms":
        return [Group(int(scope), scope, count_rows(table, [scope])) for scope in observed]
    parents = table.sibling(listing.per)
    return [Group(*each) for each in group_sizes(table, parents, str(listing.holder), observed)]


def _pages(rows: int) -> int:
    return max(1, math.ceil(rows / PAGE_SIZE))
