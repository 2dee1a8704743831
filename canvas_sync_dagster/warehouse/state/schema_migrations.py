"""SQL on `canvas_sync_schema_migrations`: what `canvas-sync migrate` changed in a schema, when, and by which version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from psycopg import sql
from psycopg.types.json import Json

from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.extras import DISTRIBUTION
from canvas_sync_dagster.warehouse.connection import Connection

TABLE = "canvas_sync_schema_migrations"


@dataclass(frozen=True, slots=True)
class LastMigration:
    """The last change of a schema.

    Attributes:
        version: Version of this package that made it.
        applied_at: When it was made.
    """

    version: str
    applied_at: datetime

    def __str__(self) -> str:
        return f"last migrated {self.applied_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC by {DISTRIBUTION} {self.version}"


def record_migration(connection: Connection, schema: str, changes: Sequence[str]) -> None:
    """Record changes of a schema by the installed version.

    Args:
        connection: Connection in the transaction of the changes.
        schema: Schema of the tenant.
        changes: One line per change.
    """
    statement = sql.SQL("insert into {} (version, changes) values (%s, %s)").format(sql.Identifier(schema, TABLE))
    connection.execute(statement, (version(DISTRIBUTION), Json(list(changes))))


def last_migration(connection: Connection, schema: str) -> LastMigration | None:
    """Return the last change of a schema; None if none is recorded, or if the role may not read the table.

    Loads need no right on the table, so a role with least privilege may lack it.
    """
    readable = connection.execute(
        "select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s "
        "and has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')",
        (schema, TABLE),
    ).fetchone()
    if readable is None:
        return None
    query = sql.SQL("select version, applied_at from {} order by id desc limit 1").format(sql.Identifier(schema, TABLE))
    row = connection.execute(query).fetchone()
    return LastMigration(str(row[0]), row[1]) if row else None


def refuse_newer_major(last: LastMigration | None, schema: str) -> None:
    """Refuse a schema that a newer major version has migrated. Within a major version, tables and columns are only added.

    Args:
        last: The last change of the schema.
        schema: Its name, for the message.

    Raises:
        SchemaError: The installed version does not know this schema.
    """
    own = version(DISTRIBUTION)
    if last is not None and _major(last.version) > _major(own):
        raise SchemaError(
            f"schema {schema} was migrated by {DISTRIBUTION} {last.version}, which this version {own} does not know: install "
            f"{last.version} or newer, or restore the database from before that upgrade"
        )


def _major(text: str) -> int:
    first = text.partition(".")[0]
    return int(first) if first.isdigit() else 0
