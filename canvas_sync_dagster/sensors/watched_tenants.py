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


class WatchedTenants:
    """The tenants of a code location, as its sensors see them.

    Args:
        settings: Returns the settings; called in the first tick, because a resource of the user may change them.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = functools.cache(settings)

    @functools.cached_property
    def skipped(self) -> Mapping[str, str]:
        """Slug of a tenant that is not looked at → reason."""
        tenants = self._settings().tenants
        return {tenant.slug: reason for tenant in tenants if (reason := tenant.reason_to_skip)}

    @functools.cached_property
    def databases(self) -> Sequence[TenantDatabase]:
        """Databases of the tenants that are looked at, one for each URL, which includes the role."""
        groups: dict[str, list[TenantSettings]] = {}
        for tenant in self._settings().tenants:
            if tenant.slug not in self.skipped:
                url = tenant.database_url.get_secret_value() if tenant.database_url else ""
                groups.setdefault(url, []).append(tenant)
        return [
            TenantDatabase(
                f"database of {group[0].slug}",
                functools.partial(database_url, self._settings(), group[0]),
                {tenant.schema_in_database: tenant.slug for tenant in group},
            )
            for group in groups.values()
        ]

    @functools.cached_property
    def urls(self) -> Mapping[str, Callable[[], str]]:
        """Slug → function that returns the URL of the tenant's database."""
        return {slug: each.url for each in self.databases for slug in each.slugs.values()}

    @functools.cached_property
    def schemas(self) -> Mapping[str, str]:
        """Slug → schema of the tenant."""
        return {slug: schema for each in self.databases for schema, slug in each.slugs.items()}
