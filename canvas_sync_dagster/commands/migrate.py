"""`canvas-sync migrate`: create and additively upgrade the tables, or print what is missing."""

from __future__ import annotations

import sys
from typing import Any

import click

from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import json_option, say, write, write_json
from canvas_sync_dagster.sync.session import database_url
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.schema import migrate as migrations


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 and name what is missing, if something is.")
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL instead of running it.")
@click.option("--tenant", help="Only this tenant; all if not given.")
@json_option
@located
def migrate(location: Location, check: bool, as_sql: bool, tenant: str | None, as_json: bool) -> None:
    """Create and additively upgrade the tables.

    \b
    Examples:
      canvas-sync migrate
      canvas-sync migrate --check --json
      canvas-sync migrate --sql > upgrade.sql

    Nothing is dropped, renamed or retyped. Exit code 1 if a table cannot be used, or with --check if something is missing.
    """
    if as_sql and as_json:
        raise click.UsageError("--sql and --json exclude each other; choose one")
    told: list[dict[str, Any]] = []
    lacking: list[str] = []
    problems: list[str] = []

    def work(each: TenantSettings) -> None:
        url, schema = database_url(location.settings, each), each.schema_in_database
        make = migrations.plan if check or as_sql else migrations.migrate
        migration = make(url, schema, location.models_of(each))
        lacking.extend(migration.changes)
        problems.extend(f"{schema}: {problem}" for problem in migration.problems)
        if as_json:
            told.append(_document(each, migration, checked=check))
            return
        if as_sql:
            write(migration.sql())
            return
        for change in migration.changes:
            say(f"{schema}: {'missing: ' if check else ''}{change}")
        for model, columns in migration.filled_next.items():
            say(f"{schema}: the next sync of {model} is full in each scope, and fills {', '.join(columns)}")
        if not migration.changes and not migration.problems:
            say(f"{schema}: nothing is missing")
        if check and migration.last:
            say(f"{schema}: {migration.last}", err=True)
        for limit, remedy in migration.notes:
            say(f"{schema}: note: {limit}. {remedy}.", err=True)

    try:
        location.each(tenant, work)
    finally:
        if as_json:
            write_json(told)
    for problem in () if as_json else problems:
        say(f"error: {problem}", err=True)
    if problems or (check and lacking):
        sys.exit(1)


def _document(tenant: TenantSettings, migration: migrations.Migration, *, checked: bool) -> dict[str, Any]:
    return {
        "tenant": tenant.slug,
        "schema": migration.schema,
        "missing" if checked else "changed": list(migration.changes),
        "filled_by_next_sync": {model: list(columns) for model, columns in migration.filled_next.items()},
        "problems": list(migration.problems),
        "notes": [{"limit": limit, "remedy": remedy} for limit, remedy in migration.notes],
        "last_migration": str(migration.last) if migration.last else None,
    }
