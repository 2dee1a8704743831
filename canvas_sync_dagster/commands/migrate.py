"""`canvas-sync migrate`: create and additively upgrade the tables, or print what is missing."""

from __future__ import annotations

import sys

import click

from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import say, write
from canvas_sync_dagster.sync.session import database_url
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.schema import migrate as migrations


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 and name what is missing, if something is.")
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL instead of running it.")
@click.option("--tenant", help="Only this tenant; all if not given.")
@located
def migrate(location: Location, check: bool, as_sql: bool, tenant: str | None) -> None:
    """Create and additively upgrade the tables."""
    lacking: list[str] = []
    problems: list[str] = []

    def work(each: TenantSettings) -> None:
        url, schema = database_url(location.settings, each), each.schema_in_database
        make = migrations.plan if check or as_sql else migrations.migrate
        migration = make(url, schema, location.models_of(each))
        lacking.extend(migration.changes)
        problems.extend(f"{schema}: {problem}" for problem in migration.problems)
        if as_sql:
            write(migration.sql())
            return
        for change in migration.changes:
            say(f"{schema}: {'missing: ' if check else ''}{change}")
        if not migration.changes:
            say(f"{schema}: nothing is missing")
        if check and migration.last:
            say(f"{schema}: {migration.last}", err=True)
        for limit, remedy in migration.notes:
            say(f"{schema}: note: {limit}. {remedy}.", err=True)

    location.each(tenant, work)
    for problem in problems:
        say(f"error: {problem}", err=True)
    if problems or (check and lacking):
        sys.exit(1)
