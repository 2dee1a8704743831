"""`canvas-sync dbt-sources`: print the tables as sources of dbt, and write staging models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from canvas_sync_dagster.assets.tenant_assets import tenant_assets
from canvas_sync_dagster.catalogue.dbt import dbt_source, staging_model, staging_name
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import write
from canvas_sync_dagster.tenants import TenantSettings


@click.command()
@click.option("--tenant", help="Only this tenant; all if not given.")
@click.option(
    "--staging",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write a staging model per table into this directory.",
)
@located
def dbt_sources(location: Location, tenant: str | None, staging: Path | None) -> None:
    """Print a sources.yml for dbt."""
    found: list[Any] = []

    def work(each: TenantSettings) -> None:
        keys = tenant_assets(location.project, each).keys
        # dagster-dbt finds the others by the names of source and table.
        translated = {name: key.path for name, key in keys.by_name.items() if key.path != [each.slug, name]}
        models = location.models_of(each)
        found.append(dbt_source(each.slug, each.schema_in_database, models, translated))
        if staging is None:
            return
        for model in models:
            _write(staging / f"{staging_name(each.slug, model)}.sql", staging_model(each.slug, model, models))

    location.each(tenant, work)
    write(yaml.safe_dump({"version": 2, "sources": found}, sort_keys=False, allow_unicode=True))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
