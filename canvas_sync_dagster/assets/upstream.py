"""Which assets of a tenant come before each of its models, custom reports and steps. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.sync.chain import Chain
from canvas_sync_dagster.sync.report_request import ReportGroup


def upstream_names(models: Sequence[Model], groups: Sequence[ReportGroup], chain: Chain) -> dict[str, tuple[str, ...]]:
    """Return name → names of its upstream assets.

    Args:
        models: The models that the tenant syncs.
        groups: The reports that feed them.
        chain: All models, custom reports and steps of the code location.
    """
    custom = (*chain.reports, *chain.insertions)
    synced = {*(model.name for model in models), *custom}
    unscoped = {model.name for model in models if not model.term_scoped}
    together = {model.name: {each.name for each in group.models} for group in groups for model in group.models}
    # A step after a model that this tenant does not sync has nothing to wait for.
    earlier = {name: tuple(each for each in chain.before(name) if each in synced) for name in synced}
    parents = {model.name: _parents(model, together.get(model.name), unscoped) for model in models}
    return {name: (*parents.get(name, ()), *earlier[name]) for name in (*parents, *custom)}


def _parents(model: Model, together: set[str] | None, unscoped: set[str]) -> tuple[str, ...]:
    """Return the parents that become upstream assets.

    Tables of another report of the same term do not: reports of one term do not wait for each other, and a row that is
    loaded before its parent gets it a moment later.
    """
    if isinstance(model.feed, RestFeed):
        return tuple(name for name in model.parents if name in unscoped or name == model.feed.per)
    alike, per = together or set(), model.rest.per if model.rest else None
    return tuple(
        name
        for name in model.parents
        # A walk over REST reads a list for each row of this parent, which must be loaded before.
        if name in alike or (name in unscoped and (model.term_scoped or name == per))
    )
