"""Names in Dagster by which the parts of a sync find each other: tags of runs, jobs, the partition set of a tenant."""

from __future__ import annotations

BATCH_TAG = "canvas_sync/batch_id"
GENRE_TAG = "canvas_sync/genre"
TENANT_TAG = "canvas_sync/tenant"
TERM_TAG = "canvas_sync/term"
"""Name of the term; its id is in `dagster/partition`."""
MODE_TAG = "canvas_sync/mode"
UPDATED_AFTER_TAG = "canvas_sync/updated_after"

PARTITION_TAG = "dagster/partition"
"""Dagster writes the partition of a run here: for a term run, the id of its term."""
WILL_RETRY_TAG = "dagster/will_retry"
"""Dagster writes this on a failed run that it is going to retry."""
RETRY_TAG = "dagster/auto_retry_run_id"
"""Dagster writes this on a failed run once its retry exists."""
RETRY_NUMBER_TAG = "dagster/retry_number"
"""Dagster's daemon writes this on a run that it launched as the retry of a failed one."""


SKIPPED = "skipped"
"""Metadata of an observation: why this Canvas cannot feed the model."""


def sync_schedule_name(tenant: str, genre: str | None = None) -> str:
    """Return the name of the schedule of a tenant's sync, or of one of its genres, given the tenant's slug."""
    return f"{tenant}__sync" if genre is None else f"{tenant}__sync__{genre}"


def live_events_job(tenant: str) -> str:
    """Return the name of the job that drains an inbox, given the tenant's slug."""
    return f"{tenant}__live_events"


def root_job(tenant: str) -> str:
    """Return the name of the job that syncs what belongs to no term, given the tenant's slug."""
    return f"{tenant}__sync_root"


def term_job(tenant: str) -> str:
    """Return the name of the job that syncs one term, given the tenant's slug."""
    return f"{tenant}__sync_term"


def end_job(tenant: str) -> str:
    """Return the name of the job of the steps at the end of a batch, given the tenant's slug."""
    return f"{tenant}__sync_end"


def term_partition_set(tenant: str) -> str:
    """Return the name of the dynamic partitions of a tenant's terms, given its slug."""
    return f"canvas_terms__{tenant}"
