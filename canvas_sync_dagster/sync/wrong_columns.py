"""Finds tenants whose `exclude`, `hash` or `unknown_columns` does not fit the code location, before anything is derived from them."""

from __future__ import annotations

from dataclasses import replace

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.tenants import BrokenTenant, TenantSettings


def without_wrong_columns(project: Project) -> Project:
    """Return the project without tenants whose `exclude`, `hash` or `unknown_columns` is wrong, which are listed as broken.

    Raises:
        SettingError: No tenant is left; the error is that of the first.
    """
    settings = project.settings
    errors = {tenant.slug: _problem(project, tenant) for tenant in settings.tenants}
    broken = [BrokenTenant(slug, error) for slug, error in errors.items() if error is not None]
    if not broken:
        return project
    left = tuple(tenant for tenant in settings.tenants if errors[tenant.slug] is None)
    if not left:
        raise broken[0].error
    update = {"tenants": left, "broken": (*settings.broken, *broken)}
    return replace(project, settings=settings.model_copy(update=update))


def _problem(project: Project, tenant: TenantSettings) -> SettingError | None:
    given, known = tenant.unknown_columns, [model.name for model in project.models]
    for name in () if isinstance(given, str) else given:
        if name not in known:
            where = f"tenants.{tenant.slug}.unknown_columns"
            return SettingError(where, "unknown model", allowed=", ".join(known), value=name)
    for setting, written, problem, allowed in tenant.rules.problems(project.models):
        return SettingError(f"tenants.{tenant.slug}.{setting}", problem, allowed=allowed, value=written)
    return None
