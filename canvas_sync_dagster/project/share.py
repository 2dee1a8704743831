"""The share of the tenants that this code location loads, where several locations share one module."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.project import Project

LOG = logging.getLogger(__name__)

VARIABLE = "CANVAS_SYNC_TENANTS"
"""Environment variable with the slugs of the share, separated by commas; unset for all tenants."""


def share_of(project: Project, environ: Mapping[str, str] | None = None) -> Project:
    """Return the project with the tenants of this code location only.

    Args:
        project: The project.
        environ: Environment variables; `os.environ` by default.

    Raises:
        SettingError: The project has none of the tenants.
    """
    value = (os.environ if environ is None else environ).get(VARIABLE, "")
    wanted = {slug.strip() for slug in value.split(",") if slug.strip()}
    if not wanted:
        return project
    settings = project.settings
    tenants = tuple(each for each in settings.tenants if each.slug in wanted)
    broken = tuple(each for each in settings.broken if each.slug in wanted)
    if not tenants and not broken:
        allowed = ", ".join(tenant.slug for tenant in settings.tenants)
        raise SettingError(VARIABLE, "none of these tenants is configured", allowed=allowed, value=value)
    # A tenant that was removed must not take the other tenants of its location with it.
    known = {each.slug for each in tenants} | {each.slug for each in broken}
    for slug in sorted(wanted - known):
        LOG.warning("%s names the tenant %s, which is not configured; remove it there", VARIABLE, slug)
    return replace(project, settings=settings.model_copy(update={"tenants": tenants, "broken": broken}))
