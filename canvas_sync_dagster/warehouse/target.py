"""The table that a load goes into, as it really is: ours, or one that was there before with columns of its own."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.connection import Connection


@dataclass(frozen=True, slots=True)
class Target:
    """A data table.

    Attributes:
        name: Schema and table.
        key: Columns of the natural key.
        system: Which of the system's columns it has.
    """

    name: sql.Identifier
    key: tuple[str, ...]
    system: frozenset[str]

    @property
    def has_digests(self) -> bool:
        return "row_hash" in self.system


def inspect_target(connection: Connection, schema: str, model: Model, columns: set[str]) -> Target:
    """Looks at a model's table.

    Args:
        connection: Within the load's transaction.
        schema: The tenant's.
        model: Whose table it is.
        columns: What the load wants to write, beside the system's columns.

    Raises:
        SchemaError: The table, a column, or the uniqueness of its key is missing.
    """
    rows = connection.execute(
        "select a.attname, a.attnum from pg_attribute a join pg_class c on c.oid = a.attrelid "
        "join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped",
        (schema, model.name),
    ).fetchall()
    numbers = {str(name): int(number) for name, number in rows}
    if lacking := sorted((columns | set(model.key)) - set(numbers)):
        what = f"the table {schema}.{model.name}" if not numbers else f"{schema}.{model.name}.{', '.join(lacking)}"
        raise SchemaError(f"{model.name}: there is no {what}. Run `canvas-sync migrate`, which adds what is missing.")
    unique = connection.execute(
        "select 1 from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s and i.indisunique and i.indisvalid and i.indpred is null "
        "and i.indnkeyatts = %s and (select array_agg(k order by k) from unnest(i.indkey[0:i.indnkeyatts - 1]) k) = %s::int2[]",
        (schema, model.name, len(model.key), sorted(numbers[name] for name in model.key)),
    ).fetchone()
    if unique is None:
        raise SchemaError(
            f"{model.name}: the table {schema}.{model.name} has no unique index on {', '.join(model.key)}, so rows cannot "
            "be merged into it. Run `canvas-sync migrate`, which adds it."
        )
    system = {"created_at", "updated_at", "observed_at", "missing_since", "row_hash"} & set(numbers)
    return Target(sql.Identifier(schema, model.name), model.key, frozenset(system))
