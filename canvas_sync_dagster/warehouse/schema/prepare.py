"""Make sure that the tables are there before a sync; only those of a fresh schema are created on the way."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.connection import Connection, transaction
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.schema.existing import STATE_TABLES, Fitness, fitness, read_tables
from canvas_sync_dagster.warehouse.state.schema_migrations import last_migration, refuse_newer_major


def prepare_schema(
    url: str,
    schema: str,
    models: Sequence[Model],
    needed: Collection[str] | None = None,
    *,
    connections: KeptConnections | None = None,
) -> Fitness:
    """Create the tables of a schema that does not exist or has none of them, and refuse one that lacks something.

    Existing tables are never changed on the way: that is for a person, by `canvas-sync migrate`.

    Args:
        url: Of the database.
        schema: The tenant's.
        models: Those that the tenant syncs; no other table is looked at.
        needed: Names of those that this work is about; all if not given. A problem of another table does not stop it.
        connections: Connections that are open already; None to open one and close it.

    Returns:
        How the tables of the needed models fit.

    Raises:
        SchemaError: Names what is missing, or cannot be used; or a newer major version has migrated the schema.
    """
    begin = connections.transaction if connections else transaction
    with begin(url, f"looking at schema {schema}") as connection:
        exists = schema_exists(connection, schema)
        if exists:
            refuse_newer_major(last_migration(connection, schema), schema)
        found = fitness(connection, schema, _needed(models, needed))
        is_fresh = bool(found.lacking) and not read_tables(
            connection, schema, [*STATE_TABLES, *(model.table for model in models)]
        )
    if is_fresh:
        # Only here, for alembic takes a third of a second to import.
        from canvas_sync_dagster.warehouse.schema.migrate import migrate  # noqa: PLC0415

        migrate(url, schema, models)
        return Fitness()
    if found.unusable:
        raise SchemaError("\n".join(found.unusable))
    if found.lacking:
        raise SchemaError(
            f"schema {schema} lacks {', '.join(found.lacking)}. Run `canvas-sync migrate`, which adds what is missing and "
            "changes nothing else."
        )
    return found


def schema_exists(connection: Connection, schema: str) -> bool:
    """Return whether the database has a schema."""
    row = connection.execute("select 1 from pg_catalog.pg_namespace where nspname = %s", (schema,)).fetchone()
    return row is not None


def _needed(models: Sequence[Model], names: Collection[str] | None) -> list[Model]:
    """Return the models of these names, and those by which the term of their rows is found."""
    if names is None:
        return list(models)
    by_name, wanted = {model.name: model for model in models}, set()
    waiting = [name for name in names if name in by_name]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += [each for each in by_name[name].term_by[1:] if each in by_name]
    return [model for model in models if model.name in wanted]
