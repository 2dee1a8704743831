"""What a schema has, by one look at the system catalogue, and what of it the sync lacks or cannot use.

`migrate --check`, `doctor` and every sync judge by these functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from canvas_sync_dagster.catalogue import SYSTEM_COLUMNS, Model
from canvas_sync_dagster.catalogue.model import singular
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.schema.column_types import doubtful_columns, mistyped_columns
from canvas_sync_dagster.warehouse.schema.history import HISTORY_COLUMNS, NO_HISTORY, KeptHistory, read_history
from canvas_sync_dagster.warehouse.schema.names import digest_table_name, history_table_name

KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "p": "a partitioned table"}
"""PostgreSQL's kinds of relations that rows cannot be merged into."""
OURS = frozenset({"observed_at", "row_hash"})
"""Columns that `migrate` has added to every table that it made or took over."""
LEAST_SHARE = 0.5
"""Share of a model's columns that a table must have to count as the model's. Tables of the gem's oldest versions have
five of seven; a table of the same name that another application made has its key, or a name, by chance."""

STATE_TABLES: Mapping[str, tuple[str, ...]] = {
    "canvas_sync_alerts": (
        "channel", "kind", "subject", "condition", "opened_at", "notified_at", "notified_size", "resolved", "attempts",
        "next_attempt_at", "error", "updated_at",
    ),
    "canvas_sync_audits": (
        "id", "model", "audited_at", "sample", "seed", "rows", "rows_compared", "rows_unread", "rows_that_differ",
        "missing_there", "lists", "objects_looked_up", "missing_here", "undated", "lagging", "requests", "wrong_share",
        "wrong_low", "wrong_high", "missing_share", "missing_low", "missing_high", "differing_columns",
        "lag_p50_seconds", "lag_p95_seconds", "differences", "seconds", "reason", "repaired", "created_at",
    ),
    "canvas_sync_job_logs": (
        "id", "job_class", "job_arguments", "job_id", "status", "exception", "backtrace", "metadata", "started_at",
        "completed_at", "created_at", "updated_at",
    ),
    "canvas_sync_live_events": (
        "id", "received_on", "event_name", "event_time", "received_at", "state", "attempts", "next_attempt_at", "error",
        "deferred", "done", "content_hash", "payload",
    ),
    "canvas_sync_live_event_reads": ("event_id", "model", "object", "list", "received_at", "created_at"),
    "canvas_sync_rejected_rows": (
        "id", "model", "scope", "report", "report_id", "line", "column_name", "reason", "raw", "header",
        "source_observed_at", "created_at", "last_seen_at", "sightings",
    ),
    "canvas_sync_remembered": ("name", "value", "updated_at"),
    "canvas_sync_walks": (
        "id",
        "model",
        "scope",
        "fingerprint",
        "attempt",
        "observed_at",
        "locked_at",
        "created_at",
        "updated_at",
    ),
    "canvas_sync_walk_parents": ("walk_id", "parent", "attempt", "result", "created_at"),
    "canvas_sync_walk_rows": ("id", "walk_id", "attempt", "content", "created_at"),
    "canvas_sync_erased_objects": ("model", "canvas_id", "erased_at"),
    "canvas_sync_reports": (
        "id", "report", "parameters", "fingerprint", "canvas_report_id", "state", "tries", "progress",
        "first_requested_at", "requested_at", "canvas_requested_at", "running_since", "canvas_started_at",
        "completed_at", "failure", "created_at", "updated_at",
    ),
    "canvas_sync_schema_migrations": ("id", "version", "changes", "applied_at"),
    "canvas_sync_sync_batches": (
        "id", "status", "full_sync", "batch_genre", "updated_after", "started_at", "completed_at", "heartbeat_at",
        "metadata", "created_at", "updated_at",
    ),
    "canvas_sync_watermarks": (
        "model", "scope", "observed_at", "full_observed_at", "full_started_at", "report_id", "strays", "held",
        "parameters", "filled", "updated_at",
    ),
}  # fmt: skip
"""The sync's own tables and their columns. `ddl.py` declares them in full, for which SQLAlchemy is imported."""

_TEXT = ("text", "character varying")
_JSON = ("text", "character varying", "json", "jsonb")
_TIME = ("timestamp",)
SHARED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "canvas_sync_job_logs": {
        "id": ("integer", "bigint"),
        **dict.fromkeys(("job_class", "job_id", "status", "exception", "backtrace"), _TEXT),
        **dict.fromkeys(("job_arguments", "metadata"), _JSON),
        **dict.fromkeys(("started_at", "completed_at", "created_at", "updated_at"), _TIME),
    },
    "canvas_sync_sync_batches": {
        "id": ("integer", "bigint"),
        **dict.fromkeys(("status", "batch_genre"), _TEXT),
        "full_sync": ("boolean",),
        "metadata": _JSON,
        **dict.fromkeys(("started_at", "completed_at", "heartbeat_at", "created_at", "updated_at"), _TIME),
    },
}
"""Tables that the gem makes, too: column → beginnings of the types that can be written as they are."""
UNLIMITED = {"job_arguments", "metadata"}
"""Columns whose JSON would be broken if it were cut to a limit."""


@dataclass(frozen=True, slots=True)
class ExistingColumn:
    """A column as it is.

    Attributes:
        type: As PostgreSQL's `format_type` spells it.
        required: Whether a row must give it a value: NOT NULL, without default, neither generated nor an identity.
    """

    type: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class ExistingTable:
    """A table, or what has its name.

    Attributes:
        kind: PostgreSQL's `relkind`; `r` is an ordinary table.
        columns: By name.
        unique: Sets of columns that a valid, immediate unique index without a condition covers.
        is_alterable: Whether this role may alter it, because it has the rights of its owner.
    """

    kind: str = "r"
    columns: Mapping[str, ExistingColumn] = field(default_factory=dict)
    unique: frozenset[frozenset[str]] = frozenset()
    is_alterable: bool = True


@dataclass(frozen=True, slots=True)
class Fitness:
    """How a schema fits.

    Attributes:
        lacking: Tables and columns (`table`, `table.column`) that `migrate` adds.
        unusable: Sentences about tables that cannot be used; a person must change something.
        held: Model → why no row can be written to its table.
        without_key: Model → sentence about its table, which has no unique index on the model's key yet.
        mistyped: Model → sentences about columns of its table whose types refuse the model's values.
        notes: Limitations of tables that can be used: what it is, and how to end it.
        foreign: Model → system columns that its table lacks and that this role may not add.
    """

    lacking: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    without_key: Mapping[str, str] = field(default_factory=dict)
    mistyped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[tuple[str, str], ...] = ()
    foreign: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def skipped(self) -> Mapping[str, str]:
        """Model → why its table cannot be written until a person has changed it."""
        return {**self.without_key, **self.mistyped}

    @property
    def digests_beside(self) -> frozenset[str]:
        """Models whose digests need a table beside the model's own, which cannot have the column `row_hash`."""
        return frozenset(name for name, columns in self.foreign.items() if "row_hash" in columns)


def fitness(connection: Connection, schema: str, models: Iterable[Model]) -> Fitness:
    """Compares a schema with what the models and the sync's own tables need."""
    wanted = tuple(models)
    histories = [history_table_name(model.table) for model in wanted if model.history]
    tables = read_tables(connection, schema, [*STATE_TABLES, *(model.table for model in wanted), *histories])
    recorded = read_history(connection, schema) if any(model.history for model in wanted) else NO_HISTORY
    return judge(schema, tables, wanted, recorded)


def judge(
    schema: str, tables: Mapping[str, ExistingTable], models: Iterable[Model], recorded: KeptHistory = NO_HISTORY
) -> Fitness:
    """Compares tables with what the models and the sync's own tables need; pure.

    Args:
        schema: For messages.
        tables: What there is, by name.
        models: Those that the tenant syncs.
        recorded: What the schema has of histories.
    """
    unusable = list(_unusable_state(schema, tables))
    lacking: list[str] = []
    notes: list[tuple[str, str]] = []
    held: dict[str, str] = {}
    without_key: dict[str, str] = {}
    mistyped: dict[str, str] = {}
    foreign: dict[str, tuple[str, ...]] = {}
    for name, columns in STATE_TABLES.items():
        lacking += _lacking(tables, name, columns)
    for model in models:
        lacking += _lacking(tables, model.table, (column.name for column in model.columns))
        if model.history:
            lacking += _lacking_history(tables, model, recorded)
            unusable += _unusable_history(schema, tables, model, recorded)
        table = tables.get(model.table)
        if table is None:
            continue
        if problem := unusable_for(schema, model, table):
            unusable.append(problem)
            held[model.name] = problem
        elif frozenset(model.key) not in table.unique:
            without_key[model.name] = (
                f"{model.name}: the table {schema}.{model.table} has no unique index on {', '.join(model.key)}"
            )
        types = {name: column.type for name, column in table.columns.items()}
        if model.name not in held and (problems := list(mistyped_columns(schema, model, types))):
            mistyped[model.name] = " ".join(problems)
        notes += doubtful_columns(schema, model, types)
        if note := _unfilled(schema, model, table):
            notes.append(note)
        notes += _required_by_others(schema, model, table)
        if model.name not in held and not table.is_alterable:
            foreign[model.name] = tuple(each.name for each in SYSTEM_COLUMNS if each.name not in table.columns)
            notes += _without_system_columns(schema, model, foreign[model.name])
    held |= {**without_key, **mistyped}
    return Fitness(tuple(lacking), tuple(unusable), held, without_key, mistyped, tuple(notes), foreign)


def unusable_for(schema: str, model: Model, table: ExistingTable) -> str | None:
    """Returns why a table cannot be a model's, or None.

    A table is a model's if it is an ordinary table that has all columns of the key and, unless a mapping names it or
    `migrate` has taken it over before, at least half of the model's other columns.
    """
    where = f"{model.name}: {schema}.{model.table}"
    remedy = (
        f"Choose another table for the model by `mappings: {{{model.name}: {{table: canvas_{model.name}}}}}`, or remove "
        f"{model.name} from `models`."
    )
    if table.kind != "r":
        return f"{where} is {KINDS.get(table.kind, 'no ordinary table')}, into which rows cannot be merged. {remedy}"
    if lost := [name for name in model.key if name not in table.columns]:
        old = f"canvas_{singular(model.name)}_id"
        hint = " (`legacy_ids: true` is for tables of the gem's old versions)" if old in table.columns else ""
        return f"{where} has no column {', '.join(lost)}, and so belongs to another application{hint}. {remedy}"
    others = [column.name for column in model.columns if column.name not in model.key]
    present = [name for name in others if name in table.columns]
    if model.stored_in or table.columns.keys() >= OURS or len(present) >= LEAST_SHARE * len(others):
        return None
    return (
        f"{where} has {len(present)} of the {len(others)} columns of {model.name}, and so belongs to another application. "
        f"{remedy} If it is the right one, name it: `table: {model.table}`."
    )


def required_elsewhere(model: Model, table: ExistingTable) -> str | None:
    """Returns `canvas_id` where a table requires it though the model's key is another; Canvas's stock report has none."""
    column = table.columns.get("canvas_id")
    return "canvas_id" if column is not None and column.required and "canvas_id" not in model.key else None


def _unfilled(schema: str, model: Model, table: ExistingTable) -> tuple[str, str] | None:
    if required_elsewhere(model, table) is None:
        return None
    return (
        f"{model.name}: {schema}.{model.table}.canvas_id is NOT NULL, and Canvas's stock provisioning report has no such id: "
        "its new rows are rejected, existing rows are updated",
        f"To load all, run `alter table {schema}.{model.table} alter column canvas_id drop not null`, then "
        "`canvas-sync replay rejects`",
    )


def _required_by_others(schema: str, model: Model, table: ExistingTable) -> Iterator[tuple[str, str]]:
    """Yield a note on columns that must have a value and that the model does not have; a trigger may fill them."""
    ours = {column.name for column in (*model.columns, *SYSTEM_COLUMNS)} | {required_elsewhere(model, table)}
    if names := [name for name, column in table.columns.items() if column.required and name not in ours]:
        where = f"{schema}.{model.table}"
        yield (
            f"{model.name}: {where} has columns that are NOT NULL without a default and that the model does not fill "
            f"({', '.join(names)}): unless a trigger fills them, its new rows cannot be loaded",
            f"Link a header to each, or run `alter table {where} alter column {names[0]} drop not null`",
        )


def _without_system_columns(schema: str, model: Model, lacking: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if not lacking:
        return
    instead = f"; its digests are in {digest_table_name(model.table)}" if "row_hash" in lacking else ""
    yield (
        f"{model.name}: {schema}.{model.table} belongs to another role, so it is used without the columns "
        f"{', '.join(lacking)}{instead}",
        "To have all guarantees, run `canvas-sync migrate` once as the owner of the table",
    )


def _lacking(tables: Mapping[str, ExistingTable], name: str, columns: Iterable[str]) -> list[str]:
    if name not in tables:
        return [name]
    return [f"{name}.{column}" for column in columns if column not in tables[name].columns]


def _lacking_history(tables: Mapping[str, ExistingTable], model: Model, recorded: KeptHistory) -> list[str]:
    history = history_table_name(model.table)
    columns = (*(column.name for column in model.columns), *HISTORY_COLUMNS)
    lacking = _lacking(tables, history, columns)
    return lacking or ([] if recorded.records(model) else [f"{history} (its triggers and functions)"])


def _unusable_history(
    schema: str, tables: Mapping[str, ExistingTable], model: Model, recorded: KeptHistory
) -> Iterator[str]:
    """Yield why the history of a table cannot be kept."""
    remedy = f"or remove {model.name} from `history`."
    table, history = tables.get(model.table), tables.get(history_table_name(model.table))
    if taken := [column.name for column in model.columns if column.name in HISTORY_COLUMNS]:
        yield f"{model.name}: a history has columns {', '.join(taken)} of its own. Rename them in the mapping, {remedy}"
    if history is not None and not history.columns.keys() >= HISTORY_COLUMNS.keys():
        yield (
            f"{model.name}: {schema}.{history_table_name(model.table)} is not a history that `migrate` made. Rename it, "
            f"{remedy}"
        )
    if table is not None and not table.is_alterable and not recorded.records(model):
        yield (
            f"{model.name}: {schema}.{model.table} belongs to another role, so that its history cannot begin. Run "
            f"`canvas-sync migrate` as the owner of the table, {remedy}"
        )


def _unusable_state(schema: str, tables: Mapping[str, ExistingTable]) -> Iterator[str]:
    for name, types in SHARED.items():
        columns = tables[name].columns if name in tables else {}
        for column, each in columns.items():
            where = f"{schema}.{name}.{column}"
            if column in types and not each.type.startswith(types[column]):
                yield f"{where} is {each.type}; expected {' or '.join(types[column])}. Alter its type."
            elif column in UNLIMITED and "(" in each.type:
                yield f"{where} is {each.type}, too short for JSON. Run `alter table … alter column {column} type text`."
            elif column not in STATE_TABLES[name] and each.required:
                yield f"{where} is NOT NULL without a default, and the sync does not fill it. Give it a default."


def read_columns(connection: Connection, schema: str, table: str) -> set[str]:
    """Return the names of the columns of a table; empty if there is no such table."""
    query = "select column_name from information_schema.columns where table_schema = %s and table_name = %s"
    return {str(name) for (name,) in connection.execute(query, (schema, table)).fetchall()}


def read_tables(connection: Connection, schema: str, names: Iterable[str]) -> dict[str, ExistingTable]:
    """Reads tables by two queries on the system catalogue; what is not there is left out."""
    wanted = list(names)
    found = connection.execute(
        "select c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), "
        "a.attnotnull and not a.atthasdef and a.attidentity = '' and a.attgenerated = '', "
        "pg_has_role(c.relowner, 'USAGE') "
        "from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
        "left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        "where n.nspname = %s and c.relname = any(%s) and c.relkind in ('r', 'p', 'v', 'm', 'f') order by a.attnum",
        (schema, wanted),
    ).fetchall()
    unique = _unique(connection, schema, wanted)
    kinds = {str(table): str(kind) for table, kind, *_ in found}
    columns: dict[str, dict[str, ExistingColumn]] = {name: {} for name in kinds}
    alterable = {str(table): bool(is_alterable) for table, *_, is_alterable in found}
    for table, _, name, type_, required, _ in found:
        if name is not None:
            columns[table][str(name)] = ExistingColumn(str(type_), bool(required))
    return {
        name: ExistingTable(kind, columns[name], unique.get(name, frozenset()), alterable[name])
        for name, kind in kinds.items()
    }


def _unique(connection: Connection, schema: str, names: list[str]) -> dict[str, frozenset[frozenset[str]]]:
    rows = connection.execute(
        "select c.relname, i.indexrelid, a.attname from pg_catalog.pg_index i "
        "join pg_catalog.pg_class c on c.oid = i.indrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
        "cross join lateral unnest(i.indkey[0:i.indnkeyatts - 1]) as k(number) "
        "join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.number "
        "where n.nspname = %s and c.relname = any(%s) and i.indisunique and i.indisvalid and i.indimmediate "
        "and i.indpred is null and i.indexprs is null",
        (schema, names),
    ).fetchall()
    indexes: dict[tuple[str, int], set[str]] = {}
    for table, index, column in rows:
        indexes.setdefault((str(table), int(index)), set()).add(str(column))
    tables = {table for table, _ in indexes}
    return {name: frozenset(frozenset(c) for (t, _), c in indexes.items() if t == name) for name in tables}
