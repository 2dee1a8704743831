"""Creates and upgrades the tables: additive only, by alembic's comparison of the catalogue with the database.

Nothing is ever dropped, renamed or retyped, so existing tables with columns of their own, and views on them, live on.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops
from psycopg import sql

from canvas_sync_dagster.catalogue import SYSTEM_COLUMNS, Model
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.column_versions import is_filled
from canvas_sync_dagster.warehouse.connection import Connection, connect, explained
from canvas_sync_dagster.warehouse.schema.ddl import INBOX, INBOX_DEFAULT, tables
from canvas_sync_dagster.warehouse.schema.existing import fitness, read_tables
from canvas_sync_dagster.warehouse.schema.history import Statement, history_statements, read_history
from canvas_sync_dagster.warehouse.schema.names import history_table_name, object_name
from canvas_sync_dagster.warehouse.state.schema_migrations import (
    LastMigration,
    last_migration,
    record_migration,
    refuse_newer_major,
)

LOCK = "canvas_sync migrate"
SYSTEM_NAMES = frozenset(column.name for column in SYSTEM_COLUMNS)
NO_SCHEMA_OF_OURS = "pg_catalog"
"""Schema that alembic takes for the connection's current one. alembic reports the tables of the current schema without
a schema's name, and would find none of a tenant whose schema is the current one (`public`, or that of the role)."""


@dataclass(frozen=True)
class Migration:
    """What a schema lacks.

    Attributes:
        schema: Postgres schema of the tenant.
        changes: One line for people per change; empty when nothing is missing.
        operations: The same for alembic.
        problems: Sentences about tables that a person must change before rows can be merged into them.
        notes: Limitations of tables that can be used: what it is, and how to end it.
        last: The last migration before this one; None if none is recorded.
        filled_next: Model → columns that are added to its table, and that the next sync of each scope, a full one, fills.
    """

    schema: str
    changes: tuple[str, ...]
    operations: tuple[ops.MigrateOperation, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    last: LastMigration | None = field(default=None, compare=False)
    filled_next: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def sql(self) -> str:
        """Writes the changes as SQL that can be run by hand, in one transaction."""
        text = io.StringIO()
        context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": text})
        self.apply(Operations(context))
        problems = "".join(f"-- {line}\n" for problem in self.problems for line in problem.splitlines())
        return problems + (f"BEGIN;\n\n{text.getvalue()}COMMIT;\n" if self.changes else "")

    def apply(self, operations: Operations) -> None:
        """Makes the changes through alembic."""
        for operation in self.operations:
            operations.invoke(operation)


class Described(ops.ExecuteSQLOp):
    """A statement with a sentence for people."""

    def __init__(self, statement: Statement) -> None:
        super().__init__(sa.text(statement.sql.replace(":", r"\:")))
        self.sentence = statement.sentence


def plan(url: str, schema: str, models: Iterable[Model]) -> Migration:
    """Finds what a schema lacks, and changes nothing.

    Raises:
        SchemaError: A table cannot be used for its model, or for the sync's own state.
        DatabaseUnavailableError: The server does not answer.
    """
    with _engine(url, f"comparing schema {schema}") as engine, engine.connect() as connection:
        return _compare(connection, schema, tuple(models))


def migrate(url: str, schema: str, models: Iterable[Model]) -> Migration:
    """Makes what a schema lacks, in one transaction; several at once wait for each other.

    Returns:
        What was changed.

    Raises:
        SchemaError: The database user may not do it, or a table cannot be used; nothing was changed.
        DatabaseUnavailableError: The server does not answer.
    """
    with _engine(url, f"migrating schema {schema}") as engine, engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"{LOCK} {schema}", 0))))
        migration = _compare(connection, schema, tuple(models))
        if migration.changes:
            migration.apply(Operations(_context(connection, schema, set())))
            record_migration(_driver(connection), schema, migration.changes)
        return migration


@contextmanager
def _engine(url: str, doing: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: connect(url), poolclass=sa.NullPool)
    try:
        with explained(url, doing):
            try:
                yield engine
            except sa.exc.DBAPIError as error:
                # PostgreSQL's error is more precise than SQLAlchemy's wrapper.
                raise error.orig or error from None
    finally:
        engine.dispose()


def _context(connection: sa.Connection, schema: str, names: set[str]) -> MigrationContext:
    def include(name: str | None, kind: str, parents: Any) -> bool:
        return {"schema": name == schema, "table": name in names}.get(kind, True)

    connection.dialect.default_schema_name = NO_SCHEMA_OF_OURS
    options = {"include_schemas": True, "include_name": include, "compare_type": False, "compare_server_default": False}
    return MigrationContext.configure(connection, opts=options)


def _compare(connection: sa.Connection, schema: str, models: tuple[Model, ...]) -> Migration:
    last = last_migration(_driver(connection), schema)
    refuse_newer_major(last, schema)
    judged = fitness(_driver(connection), schema, models)
    if judged.unusable:
        raise SchemaError("\n".join(judged.unusable))
    existing = _column_types(connection, schema, models)
    target = tables(schema, models, judged.digests_beside, existing)
    foreign = {model.table for model in models if model.name in judged.foreign}
    names = {table.name for table in target.tables.values()}
    found: list[ops.MigrateOperation] = []
    inspector = sa.inspect(connection)
    if not inspector.has_schema(schema):
        found.append(ops.ExecuteSQLOp(sa.schema.CreateSchema(schema, if_not_exists=True)))
    script = produce_migrations(_context(connection, schema, names), target)
    if script.upgrade_ops is not None:
        additive = [operation for each in script.upgrade_ops.ops for operation in _additive(each)]
        possible = [operation for operation in additive if not _is_spared(operation, foreign)]
        found += [operation for operation in possible if not _is_indexed(inspector, schema, operation)]
    found += _missing_partition(inspector, schema)
    problems = list(judged.mistyped.values())
    for model in models:
        if model.name in judged.without_key:
            if repeated := _repeated_keys(connection, schema, model):
                problems.append(f"{judged.without_key[model.name]}, because {repeated}")
            else:
                name = object_name(model.table, *model.key, "key")
                found.append(ops.CreateIndexOp(name, model.table, list(model.key), schema=schema, unique=True))
    kept = read_history(_driver(connection), schema)
    found += [Described(each) for each in history_statements(schema, models, existing, kept)]
    changes = tuple(filter(None, map(_sentence, found)))
    return Migration(schema, changes, tuple(found), tuple(problems), judged.notes, last, _filled_next(models, found))


def _filled_next(models: Iterable[Model], found: Iterable[ops.MigrateOperation]) -> dict[str, tuple[str, ...]]:
    """Return model → columns that are added to an existing table and that a feed fills."""
    added = {(each.table_name, each.column.name) for each in found if isinstance(each, ops.AddColumnOp)}
    columns = {
        model.name: tuple(c.name for c in model.columns if (model.table, c.name) in added and is_filled(model, c))
        for model in models
    }
    return {name: filled for name, filled in columns.items() if filled}


def _column_types(connection: sa.Connection, schema: str, models: Iterable[Model]) -> dict[str, dict[str, str]]:
    """Return the tables with a history, and their histories, as far as they exist: column → type."""
    names = [name for model in models if model.history for name in (model.table, history_table_name(model.table))]
    found = read_tables(_driver(connection), schema, names) if names else {}
    return {name: {column: each.type for column, each in table.columns.items()} for name, table in found.items()}


def _driver(connection: sa.Connection) -> Connection:
    driver: Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def _additive(operation: ops.MigrateOperation) -> Iterator[ops.MigrateOperation]:
    """Keeps of a comparison what adds, and leaves the rest of the user's tables alone."""
    match operation:
        case ops.OpContainer():
            for each in operation.ops:
                yield from _additive(each)
        case ops.AddColumnOp():
            # A column without a default must be nullable in a table that has rows.
            operation.column.nullable = operation.column.server_default is None
            yield operation
        case ops.CreateTableOp() | ops.CreateIndexOp():
            yield operation
        case ops.CreateTableCommentOp() if operation.existing_comment is None:
            yield operation
        case ops.AlterColumnOp() if operation.modify_comment and operation.existing_comment is None:
            yield ops.AlterColumnOp(
                operation.table_name,
                operation.column_name,
                schema=operation.schema,
                existing_type=operation.existing_type,
                modify_comment=operation.modify_comment,
            )


def _is_spared(operation: ops.MigrateOperation, foreign: Collection[str]) -> bool:
    """Return whether an operation alters a table of another role in a way that the sync can do without."""
    match operation:
        case ops.AddColumnOp():
            return operation.table_name in foreign and operation.column.name in SYSTEM_NAMES
        case ops.CreateIndexOp() | ops.CreateTableCommentOp() | ops.AlterColumnOp():
            return operation.table_name in foreign
        case _:
            return False


def _is_indexed(inspector: sa.Inspector, schema: str, operation: ops.MigrateOperation) -> bool:
    """Return whether a wanted index exists under another name."""
    if not isinstance(operation, ops.CreateIndexOp) or operation.unique:
        return False
    if not inspector.has_table(operation.table_name, schema=schema):
        return False
    wanted = [str(getattr(column, "name", column)) for column in operation.columns]
    indexes = inspector.get_indexes(operation.table_name, schema=schema)
    return any(each["column_names"][: len(wanted)] == wanted for each in indexes)


def _missing_partition(inspector: sa.Inspector, schema: str) -> list[ops.MigrateOperation]:
    if inspector.has_schema(schema) and inspector.has_table(INBOX_DEFAULT, schema=schema):
        return []
    quote = inspector.dialect.identifier_preparer.quote
    inbox, partition = (f"{quote(schema)}.{quote(name)}" for name in (INBOX, INBOX_DEFAULT))
    statement = f"CREATE TABLE {partition} PARTITION OF {inbox} DEFAULT"
    return [ops.ExecuteSQLOp(sa.text(statement.replace(":", r"\:")))]


def _repeated_keys(connection: sa.Connection, schema: str, model: Model) -> str | None:
    """Returns what is wrong with the keys of a table that has no unique index on them yet, or None."""
    key = sql.SQL(", ").join(map(sql.Identifier, model.key))
    present = sql.SQL(" and ").join(sql.SQL("{} is not null").format(sql.Identifier(name)) for name in model.key)
    query = sql.SQL("select {} from {} where {} group by {} having count(*) > 1")
    repeated = query.format(key, sql.Identifier(schema, model.table), present, key)
    row = _driver(connection).execute(sql.SQL("select count(*) from ({}) r").format(repeated)).fetchone()
    if row is None or not row[0]:
        return None
    find = repeated.as_string(_driver(connection))
    return (
        f"{row[0]:,} keys occur more than once. {model.name} is skipped until each is there once; the others are migrated "
        f"and synced. `{find}` lists them; delete the superfluous rows, then run `canvas-sync migrate` again."
    )


def _sentence(operation: ops.MigrateOperation) -> str:
    match operation:
        case Described():
            return operation.sentence
        case ops.CreateTableOp():
            return f"create table {operation.table_name}"
        case ops.AddColumnOp():
            return f"add column {operation.table_name}.{operation.column.name}"
        case ops.CreateIndexOp():
            return f"create index {operation.index_name} on {operation.table_name}"
        case ops.CreateTableCommentOp():
            return f"comment on table {operation.table_name}"
        case ops.AlterColumnOp():
            return f"comment on column {operation.table_name}.{operation.column_name}"
        case ops.ExecuteSQLOp() if "PARTITION OF" in str(operation.sqltext):
            return f"create table {INBOX_DEFAULT}"
        case _:
            return "create the schema"
