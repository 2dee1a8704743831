"""Metadata of materializations: the result of a load, for the UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.assets.links import canvas_page, reports_page
from canvas_sync_dagster.assets.specs import column_schema
from canvas_sync_dagster.assets.summaries import drain_summary, load_summary
from canvas_sync_dagster.assets.tenant_assets import TenantAssets
from canvas_sync_dagster.tenants import TenantSettings

if TYPE_CHECKING:
    from canvas_sync_dagster.live_events.drain import Drained
    from canvas_sync_dagster.sync.outcome import ModelOutcome, SyncOutcome


def materialization(assets: TenantAssets, outcome: SyncOutcome, each: ModelOutcome, batch: str) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Return the materialization of one table by one load."""
    loading = sum(each.counts.seconds.values())
    declared = assets.specs[each.model.name].metadata
    metadata: dict[str, Any] = {
        "summary": dg.MetadataValue.md(load_summary(outcome, each)),
        **{name: declared[name] for name in ("dagster/table_name", "dagster/column_lineage") if name in declared},
        "dagster/row_count": each.table_rows,
        "dagster/column_schema": column_schema(each.model),
        **each.counts.as_dict(),
        "changes": each.counts.inserted + each.counts.updated,
        "suspects": each.suspects,
        "mode": outcome.decision.mode,
        "mode_reason": outcome.decision.reason,
        "observed_at": dg.MetadataValue.timestamp(outcome.observed_at),
        "source": outcome.source,
        "batch": batch,
        "rows_per_second": round(each.counts.rows_in_report / loading) if loading else 0,
        "seconds": round(outcome.waited + loading, 3),
        "seconds_waiting": round(outcome.waited, 3),
        **{f"seconds_{phase}": round(seconds, 3) for phase, seconds in each.counts.seconds.items()},
        **{f"{table}_rows_changed": rows for table, rows in each.enriched.items()},
        "feed": outcome.feed,
        **({"feed_reason": outcome.feed_reason} if outcome.feed_reason else {}),
        **(outcome.walked.as_dict() if outcome.walked else {}),
        **_report(outcome),
        **({"courses_outside_sub_accounts": each.outside} if each.outside else {}),
        **_links(assets.tenant, outcome, each),
        **_drift(each),
    }
    if each.model.term_scoped and outcome.decision.updated_after is None:
        metadata["dagster/partition_row_count"] = each.counts.rows
    return dg.MaterializeResult(asset_key=assets.keys.of(each.model.name), metadata=metadata)


def _report(outcome: SyncOutcome) -> dict[str, Any]:
    """Return the metadata of the report; a list over REST has none."""
    told: dict[str, Any] = {}
    if outcome.decision.updated_after is not None:
        told["updated_after"] = dg.MetadataValue.timestamp(outcome.decision.updated_after)
    if outcome.report_id is not None:
        told |= {"report_id": outcome.report_id, "adopted": outcome.adopted}
    if outcome.parts:
        told["report_ids_by_sub_account"] = dict(outcome.parts)
    return told


def _links(tenant: TenantSettings, outcome: SyncOutcome, each: ModelOutcome) -> dict[str, dg.UrlMetadataValue]:
    """Return the links to Canvas's pages about the rows and, unless they were read over REST, about the report."""
    pages = {"canvas_page": canvas_page(tenant, each.model, outcome.scope)}
    if outcome.report_id is not None:
        pages["report_page"] = reports_page(tenant)
    return {name: dg.MetadataValue.url(url) for name, url in pages.items() if url is not None}


def _drift(each: ModelOutcome) -> dict[str, Any]:
    """Return the differences between the report's header and the header contract."""
    if each.header is None:
        return {}
    found = {
        "columns_missing": each.header.missing,
        "columns_unknown": each.header.unknown,
        "columns_duplicated": each.header.duplicated,
    }
    return {name: ", ".join(columns) for name, columns in found.items() if columns}


def event_materializations(keys: AssetKeys, done: Drained) -> list[dg.AssetObservation]:
    """Return what a drain wrote: one observation per table, not per live event.

    A materialization would count as a sync: freshness policies would pass while no sync runs, and automation conditions
    would request assets downstream after every drain.
    """
    return [
        dg.AssetObservation(
            keys.of(name),
            description="live events applied",
            metadata={
                "summary": dg.MetadataValue.md(drain_summary(rows, done.events, done.seconds)),
                "changes": rows,
                "events": sum(done.events.values()),
                "seconds": round(done.seconds, 3),
            },
        )
        for name, rows in done.tables.items()
        if rows
    ]
