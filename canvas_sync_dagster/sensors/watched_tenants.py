"""The tenants that a sensor looks at, grouped by database, and those that it skips."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.session import database_url
from canvas_sync_dagster.tenants import TenantSettings


@dataclass(frozen=True, slots=True)
class TenantDatabase:
    """A database that has the tables of one or more tenants, as one role.

    Attributes:
        key: Identifies the database among those of the code location; contains no secret.
        url: Returns the URL; starts the embedded PostgreSQL if no database is configured.
        slugs: Schema → slug of its tenant.
    """

    key: str
    url: Callable[[], str] = field(repr=False)
    slugs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WatchedTenants:
    """The tenants of a code location, as its sensors see them.

    Attributes:
        databases: Databases of the tenants that are looked at.
        skipped: Slug of a tenant that is not looked at → reason.
    """

    databases: Sequence[TenantDatabase]
    skipped: Mapping[str, str]

    @property
    def urls(self) -> dict[str, Callable[[], str]]:
        """Slug → function that returns the URL of the tenant's database."""
        return {slug: each.url for each in self.databases for slug in each.slugs.values()}

    @property
    def schemas(self) -> dict[str, str]:
        """Slug → schema of the tenant."""
        return {slug: schema for each in self.databases for schema, slug in each.slugs.items()}


def watched_tenants(settings: Settings) -> WatchedTenants:
    """Group the enabled tenants by the URL of their database, including the role."""
    groups: dict[str, list[TenantSettings]] = {}
    skipped = {tenant.slug: reason for tenant in settings.tenants if (reason := tenant.reason_to_skip)}
    for tenant in settings.tenants:
        if tenant.slug not in skipped:
            url = tenant.database_url.get_secret_value() if tenant.database_url else ""
            groups.setdefault(url, []).append(tenant)
    databases = [
        TenantDatabase(
            f"database of {group[0].slug}",
            functools.partial(database_url, settings, group[0]),
            {tenant.schema_in_database: tenant.slug for tenant in group},
        )
        for group in groups.values()
    ]
    return WatchedTenants(databases, skipped)
