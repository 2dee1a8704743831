"""The table of a load as it really is: made by `migrate`, or an existing one with further columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from canvas_sync_dagster.catalogue import SYSTEM_COLUMNS, ColumnType
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.schema.column_types import mistyped_columns
from canvas_sync_dagster.warehouse.state.digests_beside import find_digests_beside
from canvas_sync_dagster.warehouse.warehouse import Table

SHORT_NAMES = {"timestamp with time zone": "timestamptz"}
"""PostgreSQL's names of types → ours, where they differ."""
UNEQUAL = "json"
"""The one type whose values cannot be compared; as jsonb they can."""
TOLD_BY_US = ("created_at", "updated_at")
ALWAYS = "a"
"""`pg_attribute.attidentity` of `generated always as identity`."""
BEFORE_ROW, INSERT_OR_UPDATE = 1 | 2, 4 | 16
"""Bits of `pg_trigger.tgtype`."""
KEY_TYPES = (ColumnType.BIGINT, ColumnType.TEXT)
"""Types of which equal values are spelled equally."""


@dataclass(frozen=True, slots=True)
class Target:
    """A data table, within a load's transaction.

    Attributes:
        table: The table, within the load's transaction.
        system: Which of the system's columns it has.
        plain: Whether COPY straight into it stores what a merge would: its types are the model's, its times of creation
            and update have defaults, and neither triggers nor row-level security are in the way. (COPY into a timestamp
            without zone drops the offset silently, and COPY into a table with row-level security is an error.) A table with
            digests beside it is not plain.
        types: Column → its real type, as PostgreSQL spells it.
        required: Columns that a load writes and that are NOT NULL. A trigger may fill them, so a table with triggers has
            none here.
        triggers: Names of the triggers that can change or drop a row before it is written.
        overrides_identity: Whether its key is `generated always as identity`.
        digests_beside: Table with its digests, where it lacks the column `row_hash`; None if there is none.
    """

    table: Table
    system: frozenset[str]
    plain: bool
    types: Mapping[str, str]
    required: frozenset[str] = frozenset()
    triggers: tuple[str, ...] = ()
    overrides_identity: bool = False
    digests_beside: sql.Identifier | None = None

    @property
    def connection(self) -> Connection:
        return self.table.connection

    @property
    def name(self) -> sql.Identifier:
        """Schema and table, quoted."""
        return self.table.name

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the natural key."""
        return self.table.model.key

    @property
    def has_digest_column(self) -> bool:
        return "row_hash" in self.system

    @property
    def has_digests(self) -> bool:
        """Whether the digests of its rows are kept, in its own column or beside it."""
        return self.has_digest_column or self.digests_beside is not None

    def comparable(self, alias: str, name: str) -> sql.Composable:
        """Return a column as an expression whose values can be compared."""
        column = sql.Identifier(alias, name)
        return sql.SQL("{}::jsonb").format(column) if self.types[name] == UNEQUAL else column


@dataclass(frozen=True, slots=True)
class _Attribute:
    number: int
    type: str
    has_default: bool
    kind: str
    is_required: bool
    identity: str
    is_generated: bool


def inspect_target(table: Table, columns: set[str]) -> Target:
    """Inspect a model's table.

    Args:
        table: The table, within the load's transaction.
        columns: What the load writes, in addition to the system columns.

    Raises:
        SchemaError: The table, a column, or the uniqueness of its key is missing, or it cannot be merged into.
    """
    schema, model = table.warehouse.schema, table.model
    present = _attributes(table)
    if lacking := sorted((columns | set(model.key)) - set(present)):
        what = f"the table {schema}.{model.table}" if not present else f"{schema}.{model.table}.{', '.join(lacking)}"
        raise SchemaError(f"{model.name}: there is no {what}. Run `canvas-sync migrate`, which adds what is missing.")
    if any(each.kind == "p" for each in present.values()):
        # PostgreSQL does not report of a row in a partition whether it was inserted.
        raise SchemaError(f"{model.name}: the table {schema}.{model.table} is partitioned; use an ordinary table.")
    if odd := [name for name in model.key if model[name].type not in KEY_TYPES]:
        raise SchemaError(
            f"{model.name}: its key has {', '.join(f'{name} {model[name].type.value}' for name in odd)}, which may be "
            f"spelled in several ways. Declare it as {' or '.join(KEY_TYPES)}."
        )
    if not _is_unique(table, [present[name].number for name in model.key]):
        raise SchemaError(
            f"{model.name}: the table {schema}.{model.table} has no unique index on {', '.join(model.key)}, so rows cannot "
            "be merged into it. Run `canvas-sync migrate`, which adds it."
        )
    _refuse_generated(table, present, columns | set(model.key))
    written = {name: each.type for name, each in present.items() if name in columns or name in model.key}
    if mistyped := list(mistyped_columns(schema, model, written)):
        raise SchemaError(" ".join(mistyped))
    triggers, has_row_security = _interference(table)
    declared = {column.name: column.type for column in (*model.columns, *SYSTEM_COLUMNS)}
    plain = not triggers and not has_row_security
    plain &= all(each.type == declared[name] for name, each in present.items() if name in declared) and all(
        present[name].has_default for name in TOLD_BY_US if name in present
    )
    system = {column.name for column in SYSTEM_COLUMNS} & set(present)
    beside = None if "row_hash" in system else find_digests_beside(table)
    # The digests need the versions of rows that a merge has written.
    plain &= beside is None
    types = {name: each.type for name, each in present.items()}
    required = {name for name in columns - set(model.key) if present[name].is_required and not triggers}
    return Target(
        table,
        frozenset(system),
        plain,
        types,
        frozenset(required),
        triggers,
        any(present[name].identity == ALWAYS for name in model.key),
        beside,
    )


def _refuse_generated(table: Table, present: Mapping[str, _Attribute], written: set[str]) -> None:
    """Refuse columns that only PostgreSQL may write.

    Raises:
        SchemaError: Names them.
    """
    model = table.model
    odd = [
        name
        for name in sorted(written)
        if present[name].is_generated or (present[name].identity == ALWAYS and name not in model.key)
    ]
    if odd:
        raise SchemaError(
            f"{model.name}: {table.warehouse.schema}.{model.table}.{', '.join(odd)} is generated by PostgreSQL, so that no value can be "
            "written to it. Unlink it in the mapping, or make it an ordinary column."
        )


def system_columns(table: Table) -> frozenset[str]:
    """Return the system columns that a model's table has; an existing table may lack some."""
    present = _attributes(table)
    return frozenset(column.name for column in SYSTEM_COLUMNS if column.name in present)


def _attributes(table: Table) -> dict[str, _Attribute]:
    rows = table.connection.execute(
        "select a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.atthasdef, c.relkind::text, a.attnotnull, "
        "a.attidentity::text, a.attgenerated <> '' from pg_attribute a "
        "join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped",
        (table.warehouse.schema, table.model.table),
    ).fetchall()
    return {
        str(name): _Attribute(
            int(number),
            SHORT_NAMES.get(str(kind), str(kind)),
            bool(default),
            str(relation),
            bool(required),
            str(identity),
            bool(generated),
        )
        for name, number, kind, default, relation, required, identity, generated in rows
    }


def _interference(table: Table) -> tuple[tuple[str, ...], bool]:
    """Return the row triggers that run before rows are written, and whether row-level security applies to this role."""
    row = table.connection.execute(
        "select row_security_active(c.oid), array(select t.tgname::text from pg_trigger t where t.tgrelid = c.oid "
        "and not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype & %s = %s and t.tgtype & %s <> 0 order by 1) "
        "from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s",
        (BEFORE_ROW, BEFORE_ROW, INSERT_OR_UPDATE, table.warehouse.schema, table.model.table),
    ).fetchone()
    has_row_security, triggers = row or (False, ())
    return tuple(triggers), bool(has_row_security)


def _is_unique(table: Table, numbers: list[int]) -> bool:
    found = table.connection.execute(
        "select 1 from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s and i.indisunique and i.indisvalid and i.indimmediate "
        "and i.indpred is null and i.indnkeyatts = %s "
        "and (select array_agg(k order by k) from unnest(i.indkey[0:i.indnkeyatts - 1]) k) = %s::int2[]",
        (table.warehouse.schema, table.model.table, len(numbers), sorted(numbers)),
    )
    return found.fetchone() is not None
