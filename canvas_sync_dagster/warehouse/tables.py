"""Makes sure that the tables are there before a sync; only a fresh schema is created on the way."""

from __future__ import annotations

from collections.abc import Sequence

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.state import missing


def prepare_schema(url: str, schema: str, models: Sequence[Model]) -> None:
    """Creates the tables of a schema that is not there yet, and refuses one that lacks something.

    What exists is never changed on the way: that is for a person, by `canvas-sync migrate`.

    Raises:
        SchemaError: Names what is missing.
    """
    with transaction(url, f"looking at schema {schema}") as connection:
        lacking = missing(connection, schema, models)
        exists = connection.execute("select 1 from pg_namespace where nspname = %s", (schema,)).fetchone()
    if not lacking:
        return
    if exists is None:
        # Only here, for alembic takes a third of a second to import.
        from canvas_sync_dagster.warehouse.migrate import migrate  # noqa: PLC0415

        migrate(url, schema, models)
        return
    raise SchemaError(
        f"schema {schema} lacks {', '.join(lacking)}. Run `canvas-sync migrate`, which adds what is missing and changes "
        "nothing else."
    )
