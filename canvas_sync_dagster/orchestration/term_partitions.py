"""Registers terms as partitions. Keys are only added: deleting one under a run would fail that run at its end."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from canvas_sync_dagster.orchestration.identifiers import term_partition_set


def register_terms(instance: dg.DagsterInstance, tenant: str, terms: Iterable[str]) -> list[str]:
    """Add the partitions of terms that are not there yet.

    Args:
        instance: The Dagster instance.
        tenant: Slug of the tenant.
        terms: Ids of the terms.

    Returns:
        The ids that were added, in order.
    """
    name = term_partition_set(tenant)
    added = sorted(set(terms) - set(instance.get_dynamic_partitions(name)), key=int)
    if added:
        instance.add_dynamic_partitions(name, added)
    return added
