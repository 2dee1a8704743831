"""One dynamic partitions definition per tenant: its keys are the ids of Canvas terms."""

from __future__ import annotations

import dagster as dg

from canvas_sync_dagster.orchestration.identifiers import term_partition_set


def term_partitions(tenant: str) -> dg.DynamicPartitionsDefinition:
    """Return the terms of a tenant; the name must be unique in the Dagster instance, not only in the code location."""
    return dg.DynamicPartitionsDefinition(name=term_partition_set(tenant))
