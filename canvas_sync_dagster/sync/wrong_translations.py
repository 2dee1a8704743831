"""Finds tenants whose `translation` does not fit the code location, before Dagster's definitions are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.tenants import BrokenTenant, TenantSettings
from canvas_sync_dagster.translation_settings import Key, output_name


def without_wrong_translations(project: Project) -> Project:
    """Return the project without tenants whose `translation` is wrong, which are listed as broken.

    Raises:
        SettingError: No tenant is left; the error is that of the first.
    """
    settings = project.settings
    if not any(tenant.translation.model_fields_set for tenant in settings.tenants):
        return project
    taken: dict[Key, str] = {}
    broken: list[BrokenTenant] = []
    left: list[TenantSettings] = []
    for tenant in settings.tenants:
        error = next(_problems(project, tenant, taken), None)
        if error is not None:
            broken.append(BrokenTenant(tenant.slug, error))
            continue
        left.append(tenant)
        taken |= {key: f"{name} of tenant {tenant.slug}" for name, key in _keys(project, tenant).items()}
    if not left:
        raise broken[0].error
    update = {"tenants": tuple(left), "broken": (*settings.broken, *broken)}
    return replace(project, settings=settings.model_copy(update=update))


def _problems(project: Project, tenant: TenantSettings, taken: Mapping[Key, str]) -> Iterator[SettingError]:
    where, known = f"tenants.{tenant.slug}.translation.assets", project.chain.names
    for name in tenant.translation.assets:
        if name not in known:
            problem = "unknown model, custom report or step"
            yield SettingError(f"{where}.{name}", problem, allowed=", ".join(known))
    own: dict[str, str] = {}
    for name, key in _keys(project, tenant).items():
        same = own.get(output_name(key)) or taken.get(key)
        if same is not None:
            problem = f"Dagster cannot distinguish it from the key of {same}"
            yield SettingError(
                f"{where}.{name}.key", problem, allowed="a different key for each asset", value="/".join(key)
            )
        own[output_name(key)] = name


def _keys(project: Project, tenant: TenantSettings) -> dict[str, Key]:
    """Return the keys of a tenant; those that the settings name come last, because they are the ones to change."""
    names = sorted(project.names_of(tenant), key=lambda name: name in tenant.translation.assets)
    return {name: tenant.translation.key_of(tenant.slug, name) for name in names}
