"""`canvas-sync dbt-sources`: print the tables as sources of dbt."""

from __future__ import annotations

from typing import Any

import click
import yaml

from canvas_sync_dagster.assets.tenant_assets import tenant_assets
from canvas_sync_dagster.catalogue.dictionary import dbt_source
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import write
from canvas_sync_dagster.tenants import TenantSettings


@click.command()
@click.option("--tenant", help="Only this tenant; all if not given.")
@located
def dbt_sources(location: Location, tenant: str | None) -> None:
    """Print a sources.yml for dbt."""
    found: list[Any] = []

    def work(each: TenantSettings) -> None:
        keys = tenant_assets(location.project, each).keys
        # dagster-dbt finds the others by the names of source and table.
        translated = {name: key.path for name, key in keys.by_name.items() if key.path != [each.slug, name]}
        found.append(dbt_source(each.slug, each.schema_in_database, location.models_of(each), translated))

    location.each(tenant, work)
    write(yaml.safe_dump({"version": 2, "sources": found}, sort_keys=False, allow_unicode=True))
