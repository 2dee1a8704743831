"""The sensors of a project: one of each kind, which looks at all tenants."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from canvas_sync_dagster.alert_settings import AlertSettings
from canvas_sync_dagster.alerts.rounds import AlertTenant
from canvas_sync_dagster.assets.tenant_assets import TenantAssets
from canvas_sync_dagster.orchestration.identifiers import end_job, live_events_job, root_job, term_job
from canvas_sync_dagster.resources import CodeLocation
from canvas_sync_dagster.sensors.alerts import alert_sensor
from canvas_sync_dagster.sensors.batches import BatchSensor, TenantSync, batch_sensor
from canvas_sync_dagster.sensors.broken import broken_tenants_sensor
from canvas_sync_dagster.sensors.failures import failure_sensor
from canvas_sync_dagster.sensors.live_events import InboxSensor, live_event_sensor
from canvas_sync_dagster.sensors.staleness import StalenessSensor, staleness_sensor
from canvas_sync_dagster.sensors.watched_tenants import WatchedTenants
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.scope import Term
from canvas_sync_dagster.sync.terms import list_terms
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections


def sensors_of(
    project: Project, location: CodeLocation, tenants: Sequence[TenantAssets], jobs: Mapping[str, Sequence[Any]]
) -> list[dg.SensorDefinition]:
    """Return the sensors.

    Args:
        project: The code location.
        location: The resource that ops use.
        tenants: The tenants whose definitions this process builds; a run worker evaluates no sensor.
        jobs: Slug → jobs of the tenant.
    """
    slugs = [each.tenant.slug for each in tenants]
    watched = WatchedTenants(lambda: location.settings(slugs))
    keys = {each.tenant.slug: each.keys for each in tenants}
    batches = {slug: functools.partial(location.batches, slug) for slug in slugs}
    # Both sensors look at the same databases, and keep the same connections.
    connections = KeptConnections.for_looks()
    syncs = {each.tenant.slug: _sync(project, location, each) for each in tenants}
    driven = BatchSensor(watched, syncs, project.extensions.on_sync, connections=connections)
    inboxes = InboxSensor(watched, keys, location.session, connections=connections)
    sensors: list[dg.SensorDefinition] = [
        failure_sensor(batches, project.extensions.on_failure),
        batch_sensor(driven, _named(jobs, slugs, root_job, term_job, end_job)),
        staleness_sensor(StalenessSensor(watched, keys, batches)),
        live_event_sensor(inboxes, _named(jobs, slugs, live_events_job)),
    ]
    if alerting := [_alert_tenant(location, each) for each in tenants if _has_alerts(each.tenant)]:
        sensors.append(alert_sensor(alerting))
    if project.settings.broken:
        sensors.append(broken_tenants_sensor(project.settings.broken))
    return sensors


def _has_alerts(tenant: TenantSettings) -> bool:
    return tenant.enabled and tenant.alerts is not None and tenant.alerts.is_active


def _alert_tenant(location: CodeLocation, assets: TenantAssets) -> AlertTenant:
    tenant = assets.tenant
    settings = tenant.alerts or AlertSettings()

    def path(model: str) -> str:
        return "/assets/" + "/".join(assets.keys.of(model).path) if model in assets.keys.by_name else ""

    return AlertTenant(tenant.slug, settings, lambda: location.batches(tenant.slug).terms, path)


def _sync(project: Project, location: CodeLocation, assets: TenantAssets) -> TenantSync:
    tenant, start = assets.tenant, project.chain.at("start")
    return TenantSync(
        tenant,
        functools.partial(location.batches, tenant.slug),
        per_term=project.is_per_term(tenant),
        has_end=bool(project.chain.at("end")),
        term_assets={
            genre: assets.keys.all_of(project.assets_of(tenant, genre, per_term=True)) for genre in tenant.genres
        },
        first=start,
        first_assets=assets.keys.all_of(["terms", *start] if project.is_per_term(tenant) else start),
        list_terms=functools.partial(_listed_terms, location, tenant.slug),
    )


def _listed_terms(location: CodeLocation, slug: str) -> Sequence[Term]:
    with location.session(slug) as session:
        return list_terms(session)


def _named(jobs: Mapping[str, Sequence[Any]], slugs: Sequence[str], *names: Any) -> list[Any]:
    """Return the jobs of these tenants that have one of the names, which are functions of the slug."""
    wanted = {name(slug) for slug in slugs for name in names}
    return [job for slug in slugs for job in jobs[slug] if job.name in wanted]
