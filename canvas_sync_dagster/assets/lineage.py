"""Column lineage: which columns of a table are filled from another table.

Ids that point to other rows are no lineage: Canvas sends them with the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import dagster as dg

from canvas_sync_dagster.catalogue import Model, ProvisioningFeed, RestFeed

Source = tuple[str, str]
"""Name of a model, or of another table of the report, and its column."""


def sources_of(model: Model, models: Iterable[Model]) -> dict[str, Source]:
    """Return column → where its values come from, for the columns that another table fills.

    Args:
        model: The model.
        models: All models that the tenant syncs.
    """
    known = {each.name: each for each in models}
    carried = {
        shared: (each.name, shared)
        for each in known.values()
        for child, _, shared in each.carries
        if child == model.name
    }
    return {**carried, **_enriched(model), **_injected(model, known)}


def _enriched(model: Model) -> dict[str, Source]:
    """Return the columns that a second table of the report adds: the cross-listing of sections."""
    if not isinstance(model.feed, ProvisioningFeed):
        return {}
    return {column: (each.table, header) for each in model.feed.enrichments for column, header in each.columns.items()}


def _injected(model: Model, known: dict[str, Model]) -> dict[str, Source]:
    """Return the column that gets the id of the parent whose list the rows are in."""
    feed = model.feed
    if not isinstance(feed, RestFeed) or feed.inject is None or feed.per not in known:
        return {}
    return {feed.inject: (feed.per, known[feed.per].key[0])}


def column_lineage(
    sources: dict[str, Source], key_of: Callable[[str], dg.AssetKey]
) -> dict[str, dg.TableColumnLineage]:
    """Return the lineage as metadata of an asset; empty if no column has a source.

    Args:
        sources: Column → where its values come from.
        key_of: Returns the asset key of a table.
    """
    if not sources:
        return {}
    deps = {column: [dg.TableColumnDep(key_of(table), source)] for column, (table, source) in sources.items()}
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)}
