"""Dagster's definitions of a project: assets, checks, jobs, schedules, sensors and resources of all tenants."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from canvas_sync_dagster.assets.custom_assets import custom_report_asset, insertion_asset
from canvas_sync_dagster.assets.jobs import housekeeping_job, live_events_job, reconcile_job
from canvas_sync_dagster.assets.merging import merged
from canvas_sync_dagster.assets.reports import report_asset
from canvas_sync_dagster.assets.rest import rest_asset
from canvas_sync_dagster.assets.specs import asset_key
from canvas_sync_dagster.orchestration.identifiers import GENRE_TAG, TENANT_TAG
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource
from canvas_sync_dagster.schedules import nightly_schedules, sync_schedule
from canvas_sync_dagster.sensors.batches import batch_sensor
from canvas_sync_dagster.sensors.broken import broken_tenants_sensor
from canvas_sync_dagster.sensors.failures import failure_sensor
from canvas_sync_dagster.sensors.live_events import live_event_sensor
from canvas_sync_dagster.sensors.staleness import staleness_sensor
from canvas_sync_dagster.sync.chain import refuse_cycles
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.report_request import report_groups, rest_models
from canvas_sync_dagster.tenants import TenantSettings

LOG = logging.getLogger(__name__)


def definitions_of(project: Project, *more: dg.Definitions) -> dg.Definitions:
    """Return the definitions of a project; nothing is read from the network or a database.

    Args:
        project: The code location.
        more: The user's own definitions, which are merged with them. An executor among them replaces ours.

    Raises:
        SettingError: Steps wait for each other in a circle, or a name is defined twice.
    """
    tenants = project.settings.tenants
    for broken in project.settings.broken:
        LOG.warning("tenant %s is left out: %s", broken.slug, broken.error)
    location = CodeLocation(project)
    jobs = {tenant.slug: _jobs(project, tenant) for tenant in tenants}
    ours = dg.Definitions(
        assets=[asset for tenant in tenants for asset in _assets(project, tenant)],
        jobs=[job for tenant in tenants for job in jobs[tenant.slug]],
        schedules=[schedule for tenant in tenants for schedule in _schedules(project, location, tenant)],
        sensors=_sensors(project, location, jobs),
        resources={
            "code_location": dg.ResourceDefinition.hardcoded_resource(location),
            "sync_options": SyncOptionsResource.configure_at_launch(),
        },
        # Reports are waiting, not computing, and a process per op costs five CPU seconds.
        executor=None if any(each.executor for each in more) else dg.in_process_executor,
    )
    return merged(ours, more) if more else ours


def keys_of(slug: str, names: Iterable[str]) -> list[dg.AssetKey]:
    """Return the asset keys of models, custom reports and steps of the tenant with this slug."""
    return [asset_key(slug, name) for name in names]


def _assets(project: Project, tenant: TenantSettings) -> list[dg.AssetsDefinition]:
    models, chain = project.models_of(tenant), project.chain
    synced = set(project.names_of(tenant))
    # A step after a model that this tenant does not sync has nothing to wait for.
    earlier = {name: tuple(each for each in chain.before(name) if each in synced) for name in synced}
    unscoped = {model.name for model in models if not model.term_scoped}
    groups = report_groups(models)
    assets = [
        *(rest_asset(tenant, model, unscoped=unscoped, earlier=earlier) for model in rest_models(models)),
        *(report_asset(tenant, groups, group, unscoped=unscoped, earlier=earlier) for group in groups),
        *(custom_report_asset(tenant, each, earlier=earlier[name]) for name, each in chain.reports.items()),
        *(
            insertion_asset(tenant, each, earlier=earlier[name], per_term=chain.is_per_term(name))
            for name, each in chain.insertions.items()
        ),
    ]
    refuse_cycles(
        {spec.key.path[-1]: tuple(d.asset_key.path[-1] for d in spec.deps) for a in assets for spec in a.specs}
    )
    return assets


def _jobs(project: Project, tenant: TenantSettings) -> list[Any]:
    genre = tenant.batch_genre
    selected = {
        "sync_root": project.assets_of(tenant, genre, per_term=False),
        "sync_term": project.assets_of(tenant, genre, per_term=True),
        "sync_end": project.chain.at("end"),
    }
    tags = {TENANT_TAG: tenant.slug, GENRE_TAG: genre}
    syncs = [
        dg.define_asset_job(
            f"{tenant.slug}__{name}", selection=dg.AssetSelection.assets(*keys_of(tenant.slug, assets)), tags=tags
        )
        for name, assets in selected.items()
        if assets
    ]
    models = project.models_of(tenant)
    return [live_events_job(tenant), reconcile_job(tenant, models), housekeeping_job(tenant), *syncs]


def _schedules(project: Project, location: CodeLocation, tenant: TenantSettings) -> list[dg.ScheduleDefinition]:
    batches, on_sync = functools.partial(location.batches, tenant.slug), project.extensions.on_sync
    root_assets = {
        genre: keys_of(tenant.slug, project.assets_of(tenant, genre, per_term=False)) for genre in tenant.genres
    }
    genres = [
        sync_schedule(tenant, batches, on_sync, genre=genre, assets=assets) for genre, assets in root_assets.items()
    ]
    return [sync_schedule(tenant, batches, on_sync), *genres, *nightly_schedules(tenant)]


def _sensors(project: Project, location: CodeLocation, jobs: Mapping[str, Sequence[Any]]) -> list[dg.SensorDefinition]:
    tenants = project.settings.tenants
    batches = {tenant.slug: functools.partial(location.batches, tenant.slug) for tenant in tenants}
    sensors: list[dg.SensorDefinition] = [failure_sensor(batches, project.extensions.on_failure)]
    for tenant in tenants:
        sensors.append(_batch_sensor(project, location, tenant, jobs[tenant.slug]))
        sensors.append(staleness_sensor(tenant, batches[tenant.slug]))
        sensors.append(live_event_sensor(tenant, functools.partial(location.session, tenant.slug)))
    if project.settings.broken:
        sensors.append(broken_tenants_sensor(project.settings.broken))
    return sensors


def _batch_sensor(
    project: Project, location: CodeLocation, tenant: TenantSettings, jobs: Sequence[Any]
) -> dg.SensorDefinition:
    launched = [job for job in jobs if job.name.endswith(("__sync_term", "__sync_end"))]
    return batch_sensor(
        tenant,
        functools.partial(location.batches, tenant.slug),
        project.extensions.on_sync,
        per_term=project.is_per_term(tenant),
        term_assets={
            genre: keys_of(tenant.slug, project.assets_of(tenant, genre, per_term=True)) for genre in tenant.genres
        },
        first=project.chain.at("start"),
        jobs=launched if project.chain.at("end") else (),
    )
