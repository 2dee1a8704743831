"""Outline of a tenant that a run worker does not need: its assets without functions and checks, its jobs by name.

What names such an asset or job, such as a schedule or a selection of the user, still finds it.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from canvas_sync_dagster.orchestration.identifiers import end_job, root_job, term_job
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.tenants import TenantSettings

OTHER_JOBS = ("live_events", "audit", "reconcile", "housekeeping")
"""Jobs that every tenant has, and that materialize no assets."""


def job_names(slug: str) -> list[str]:
    """Return the names of all jobs that the tenant with this slug can have."""
    return [root_job(slug), term_job(slug), end_job(slug), *(f"{slug}__{name}" for name in OTHER_JOBS)]


def outlined_jobs(project: Project, tenant: TenantSettings) -> list[Any]:
    """Return jobs of a tenant that have the names of its jobs. They can be targets, but cannot run."""
    absent = set()
    if not project.is_per_term(tenant):
        absent.add(term_job(tenant.slug))
    if not project.chain.at("end"):
        absent.add(end_job(tenant.slug))
    names = [name for name in job_names(tenant.slug) if name not in absent]
    return [dg.define_asset_job(name, selection=dg.AssetSelection.assets()) for name in names]
