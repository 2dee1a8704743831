"""Dagster's definitions of a project: assets, checks, jobs, schedules, sensors and resources of all tenants."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg

from canvas_sync_dagster.assets.audits import audit_job, drift_checks
from canvas_sync_dagster.assets.custom_assets import custom_report_asset, insertion_asset
from canvas_sync_dagster.assets.jobs import housekeeping_job, live_events_job, reconcile_job
from canvas_sync_dagster.assets.merging import merged
from canvas_sync_dagster.assets.reports import report_asset
from canvas_sync_dagster.assets.rest import rest_asset
from canvas_sync_dagster.assets.tenant_assets import TenantAssets, refuse_shared_keys, tenant_assets
from canvas_sync_dagster.orchestration.identifiers import GENRE_TAG, TENANT_TAG
from canvas_sync_dagster.project.outline import outlined_jobs
from canvas_sync_dagster.project.preloading import preload_run_workers
from canvas_sync_dagster.project.run_worker import tenants_of_process
from canvas_sync_dagster.project.sensors import sensors_of
from canvas_sync_dagster.project.share import share_of
from canvas_sync_dagster.resources import CodeLocation, location_resources
from canvas_sync_dagster.schedules import nightly_schedules, sync_schedule
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.report_request import rest_models

LOG = logging.getLogger(__name__)
PARTS = {
    "sync_root": "Begins a sync of {tenant}: the terms, and everything that belongs to no term. Launched as a whole, it "
    "opens a batch, and the sensor launches a run of {tenant}__sync_term for each term in scope.",
    "sync_term": "Syncs one term of {tenant}: choose its partition, the Canvas id of the term. The latest materialization of "
    "the terms lists their names. As a backfill, it syncs several terms.",
    "sync_end": "Runs the steps at the end of a sync of {tenant}, after all terms. The sensor launches it.",
}
"""Job of a part of a batch → its description."""


def definitions_of(project: Project, *more: dg.Definitions) -> dg.Definitions:
    """Return the definitions of a project; nothing is read from the network or a database.

    Args:
        project: The code location.
        more: The user's own definitions, which are merged with them. An executor among them replaces ours, and so does a
            `CanvasResource` named `canvas` or a `WarehouseResource` named `canvas_warehouse`.

    Raises:
        SettingError: Steps wait for each other in a circle, the translation of an asset is wrong, or a name is defined twice.
    """
    if project.settings.preload_run_workers:
        preload_run_workers()
    project = share_of(project)
    for broken in project.settings.broken:
        LOG.warning("tenant %s is left out: %s", broken.slug, broken.error)
    location, resources = location_resources(project, more)
    tenants = [tenant_assets(project, tenant) for tenant in project.settings.tenants]
    refuse_shared_keys(tenants)
    needed = tenants_of_process(tenants)
    whole = [each for each in tenants if each.tenant.slug in needed]
    others = [each for each in tenants if each.tenant.slug not in needed]
    checks = {each.tenant.slug: drift_checks(each, project.extensions) for each in whole}
    jobs = {each.tenant.slug: _jobs(project, each, checks[each.tenant.slug]) for each in whole}
    jobs |= {each.tenant.slug: outlined_jobs(project, each.tenant) for each in others}
    ours = dg.Definitions(
        assets=[
            *(asset for each in whole for asset in _assets(project, each)),
            *(spec for each in others for spec in each.specs.values()),
        ],
        asset_checks=[each for each in checks.values() if each is not None],
        jobs=[job for each in jobs.values() for job in each],
        schedules=[schedule for each in whole for schedule in _schedules(project, location, each, checks)],
        sensors=sensors_of(project, location, whole, jobs),
        resources=resources,
        # Reports are waiting, not computing, and a process per op costs five CPU seconds.
        executor=None if any(each.executor for each in more) else dg.in_process_executor,
    )
    return merged(ours, more) if more else ours


def _assets(project: Project, assets: TenantAssets) -> list[dg.AssetsDefinition]:
    chain = project.chain
    return [
        *(rest_asset(assets, model) for model in rest_models(assets.models)),
        *(report_asset(assets, group) for group in assets.groups),
        *(custom_report_asset(assets, each) for each in chain.reports.values()),
        *(insertion_asset(assets, each, per_term=chain.is_per_term(name)) for name, each in chain.insertions.items()),
    ]


def _jobs(project: Project, assets: TenantAssets, drift: dg.AssetChecksDefinition | None) -> list[Any]:
    tenant, genre = assets.tenant, assets.tenant.batch_genre
    selected = {
        "sync_root": project.assets_of(tenant, genre, per_term=False),
        "sync_term": project.assets_of(tenant, genre, per_term=True),
        "sync_end": project.chain.at("end"),
    }
    tags = {TENANT_TAG: tenant.slug, GENRE_TAG: genre}
    audited = drift.check_keys if drift is not None else ()
    syncs = [
        dg.define_asset_job(
            f"{tenant.slug}__{name}",
            # An audit is a job of its own.
            selection=dg.AssetSelection.assets(*assets.keys.all_of(names)) - dg.AssetSelection.checks(*audited),
            description=PARTS[name].format(tenant=tenant.slug),
            tags=tags,
        )
        for name, names in selected.items()
        if names
    ]
    audits = [audit_job(assets, drift)] if drift is not None else []
    return [live_events_job(assets), *audits, reconcile_job(assets), housekeeping_job(assets), *syncs]


def _schedules(
    project: Project,
    location: CodeLocation,
    assets: TenantAssets,
    drift: Mapping[str, dg.AssetChecksDefinition | None],
) -> list[dg.ScheduleDefinition]:
    tenant = assets.tenant
    batches, on_sync = functools.partial(location.batches, tenant.slug), project.extensions.on_sync
    root_assets = {
        genre: assets.keys.all_of(project.assets_of(tenant, genre, per_term=False)) for genre in tenant.genres
    }
    genres = [sync_schedule(tenant, batches, on_sync, genre=genre, assets=keys) for genre, keys in root_assets.items()]
    return [
        sync_schedule(tenant, batches, on_sync),
        *genres,
        *nightly_schedules(tenant, audits=drift[tenant.slug] is not None),
    ]
