"""Reads what decides about the alerts of a tenant, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from canvas_sync_dagster.alerts.conditions import MOST_NAMED, FailedSync, TenantFacts
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.staleness import staleness_on
from canvas_sync_dagster.sync.token_expiry import read_token_expiry
from canvas_sync_dagster.warehouse.state.inbox import count_dead
from canvas_sync_dagster.warehouse.state.job_logs import JobLogs
from canvas_sync_dagster.warehouse.state.rejected_rows import RejectedRows
from canvas_sync_dagster.warehouse.state.sync_batches import SyncBatches
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Warehouse


def read_facts(warehouse: Warehouse, covered: CoveredTerms, now: datetime) -> TenantFacts:
    """Read the state tables of a tenant.

    Args:
        warehouse: The tenant's tables; its schema exists.
        covered: The tenant's terms.
        now: Current time, aware.
    """
    return TenantFacts(
        failed_syncs=tuple(_failed_syncs(warehouse)),
        stale={each.model: each.stale for each in staleness_on(warehouse, covered, now).models},
        held=Watermarks(warehouse).held(),
        rejected=RejectedRows(warehouse).count_by_model(),
        dead=count_dead(warehouse),
        token_expires_at=read_token_expiry(warehouse, covered.tenant),
    )


def _failed_syncs(warehouse: Warehouse) -> Iterator[FailedSync]:
    """Yield the latest closed batch of each genre that failed; a batch that is under way may still repair it."""
    for batch in SyncBatches(warehouse).latest_closed():
        if batch.status == "failed":
            errors = JobLogs(warehouse).errors_since(batch.started_at, MOST_NAMED)
            yield FailedSync(batch.genre, batch.key, str(batch.details.get("reason") or "no reason is known"), errors)
