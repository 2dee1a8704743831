"""Which columns of a table a load fills, each with a version that changes whenever the stored values become outdated.

A complete load stores the versions with its watermark. A column without a stored version, or with another one, is unfilled:
it was added, dropped and added again, retyped, or linked to another header since then. The digests of rows do not show
this, because they cover the records of a report and not what the table kept of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from canvas_sync_dagster.catalogue import Column, Model, ProvisioningFeed
from canvas_sync_dagster.warehouse.warehouse import Warehouse

Versions = Mapping[str, str]
"""Column → version."""


def column_versions(warehouse: Warehouse, models: Iterable[Model]) -> dict[str, Versions]:
    """Return model → versions of the columns that its table has and its feeds fill, by one query.

    A version consists of the column's number in PostgreSQL, which is never used again after the column is dropped, its type,
    and the headers from which it is read.
    """
    wanted = tuple(models)
    rows = warehouse.connection.execute(
        "select c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod) "
        "from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
        "join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        "where n.nspname = %s and c.relname = any(%s)",
        (warehouse.schema, [model.table for model in wanted]),
    ).fetchall()
    present = {(str(table), str(name)): f"{number} {type_}" for table, name, number, type_ in rows}
    return {
        model.name: {
            column.name: " ".join([present[model.table, column.name], *column.report])
            for column in model.columns
            if (model.table, column.name) in present and is_filled(model, column)
        }
        for model in wanted
    }


def is_filled(model: Model, column: Column) -> bool:
    """Return whether a report or a list over REST has a column; an excluded one is in none."""
    extras = model.feed.enrichments if isinstance(model.feed, ProvisioningFeed) else ()
    return bool(column.report) or model.is_walked(column) or any(column.name in extra.columns for extra in extras)


def unfilled_columns(stored: Versions | None, current: Versions) -> tuple[str, ...]:
    """Return the columns that the latest complete load has not filled as they are now.

    Args:
        stored: What that load stored; None if it stored nothing.
        current: What a load would store now.
    """
    return tuple(name for name, version in current.items() if (stored or {}).get(name) != version)
