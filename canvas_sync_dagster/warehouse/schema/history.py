"""The history of a data table: the statements that keep it, and what of them a schema lacks.

`<table>_history` has every earlier state of every row. Triggers of the data table write it, once per statement, with the
old and the new rows of the statement as sets. So every writer is covered, in its own transaction: loads, live events,
reconciliation, and the user's own SQL. `<table>_as_of(timestamptz)` returns the rows as they were at a time.

The functions that write and that look up the beginning have the rights of their owner, so that a role that may change a
data table needs no right on its history.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.history import OFF, SETTING, beginning_of
from canvas_sync_dagster.warehouse.schema.names import history_table_name, object_name

HISTORY_COLUMNS: Mapping[str, str] = {
    "valid_from": "When Canvas was first observed in this state.",
    "valid_to": "When Canvas was first observed in the next state; the state was valid until just before.",
    "source": "What ended the state: report, rest, event, parent (a section that moved took the row along), or sql.",
    "operation": "update: the row got another state. delete: the row was deleted here.",
}
"""Columns of a history, in addition to those of the model → comment."""
TIMES = ("valid_from", "valid_to")
TRIGGERS: Mapping[str, str] = {
    "canvas_sync_history_update": "after update on {} referencing old table as old_rows new table as new_rows",
    "canvas_sync_history_delete": "after delete on {} referencing old table as old_rows",
    "canvas_sync_history_truncate": "before truncate on {}",
}
OBSERVING = ("report", "rest", "event")
"""Sources that set `observed_at`. A change by another source without a new observation ends the state at the time of
the transaction."""
COVERS = "canvas_sync_history_covers"

RECORD = """
declare
  {protection}
  written_by text := coalesce(nullif(current_setting({setting}, true), ''), 'sql');
begin
  if written_by = {off} then
    return null;
  elsif tg_op = 'UPDATE' then
    -- EXECUTE makes a plan for the number of rows of this statement; a kept plan for one row is a disaster for a million.
    execute {update} using written_by;
  elsif tg_op = 'DELETE' then
    execute {delete} using written_by;
  else
    execute {truncate} using written_by;
  end if;
  return null;
end
"""
UPDATE = """
insert into {history} ({columns}, valid_from, valid_to, source, operation)
select {old}, b.began,
  greatest(b.began, case when {is_observed} then least(n.observed_at, now()) else now() end),
  $1, case when {is_gone} then 'delete' else 'update' end
from old_rows o left join new_rows n on {same_key}
left join lateral ({latest}) l on true cross join lateral (select {began} as began) b
where {is_gone} or {differs}
"""
DELETE = """
insert into {history} ({columns}, valid_from, valid_to, source, operation)
select {old}, b.began, greatest(b.began, now()), $1, 'delete'
from {rows} o left join lateral ({latest}) l on true cross join lateral (select {began} as began) b
"""
LATEST = "select h.valid_to, h.operation from {history} h where {same_key} order by h.valid_to desc, h.valid_from desc limit 1"
BEGAN = "coalesce(case when l.operation = 'update' then l.valid_to else greatest(l.valid_to, {known_since}) end, '-infinity')"
"""When a state began: where the last one ended; or, for a row that was inserted since, when it was first observed. An
equal row that is observed again gets a later `observed_at`, but keeps its `updated_at`."""
AS_OF = """
select {history_columns} from {history} h
where h.valid_from <= $1 and h.valid_to > $1 and {covers}({name}, $1)
union all
select {table_columns}
from {table} t
where {covers}({name}, $1)
  and not exists (select from {history} h where {same_key} and h.valid_to > $1)
  and ({known_since} <= $1 or {known_since} is null
    or coalesce((select l.operation = 'update' from ({latest}) l), false))
"""
COVERS_BODY = """
declare
  beginning timestamptz;
begin
  select r.value::timestamptz into beginning from {remembered} r where r.name = {prefix} || about;
  if beginning is null then
    raise exception using errcode = 'data_exception', message = 'the history of ' || about || ' is turned off',
      hint = 'Add the model to the setting `history` and run `canvas-sync migrate`.';
  elsif moment < beginning then
    raise exception using errcode = 'data_exception', message = 'the history of ' || about || ' begins at ' || beginning
      || '; its rows as of ' || moment || ' are unknown';
  end if;
  return moment is not null;
end
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a migration.

    Attributes:
        sql: The statement.
        sentence: What it does, for people; empty if another statement says it.
    """

    sql: str
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class KeptHistory:
    """What a schema has of histories.

    Attributes:
        triggers: Table → names of its enabled triggers that record.
        bodies: Function → its body.
    """

    triggers: Mapping[str, Collection[str]]
    bodies: Mapping[str, str]

    def has_triggers(self, table: str) -> bool:
        """Return whether all changes of a table are recorded."""
        return set(self.triggers.get(table, ())) == set(TRIGGERS)

    def records(self, model: Model) -> bool:
        """Return whether all changes of a model's table are recorded, without the columns that the tenant protects."""
        body = self.bodies.get(_recorder(model.table), "")
        return self.has_triggers(model.table) and _protection(model) in body


NO_HISTORY = KeptHistory({}, {})


def read_history(connection: Connection, schema: str) -> KeptHistory:
    """Read the triggers and functions of a schema's histories from the system catalogue."""
    triggers: dict[str, list[str]] = {}
    for table, name in connection.execute(
        "select c.relname, t.tgname from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid "
        "join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and t.tgname = any(%s) and t.tgenabled in ('O', 'A')",
        (schema, list(TRIGGERS)),
    ).fetchall():
        triggers.setdefault(str(table), []).append(str(name))
    bodies = connection.execute(
        "select p.proname, p.prosrc from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace "
        "where n.nspname = %s and (starts_with(p.proname, 'canvas_sync_history') or right(p.proname, 6) = '_as_of')",
        (schema,),
    ).fetchall()
    return KeptHistory(triggers, {str(name): str(body) for name, body in bodies})


def as_of_name(table: str) -> str:
    """Return the name of the function that returns a table's rows as they were.

    >>> as_of_name("enrollments")
    'enrollments_as_of'
    """
    return object_name(table, "as_of")


def history_statements(
    schema: str,
    models: Iterable[Model],
    tables: Mapping[str, Mapping[str, str]],
    kept: KeptHistory,
) -> Iterator[Statement]:
    """Yield the statements that begin, adapt and end histories.

    Args:
        schema: The tenant's.
        models: Those that the tenant syncs.
        tables: Table or history that exists → its columns in their order → type.
        kept: What the schema has.
    """
    wanted = [_History(schema, model, tables) for model in models if model.history]
    if wanted:
        yield from _function(kept, schema, COVERS, "about text, moment timestamptz", "boolean", wanted[0].covers_body())
    for history in wanted:
        yield from history.statements(kept)
    for model in models:
        if not model.history and kept.triggers.get(model.table):
            yield from _ended(schema, model, kept)


def _function(
    kept: KeptHistory, schema: str, name: str, arguments: str, returned: str, body: str
) -> Iterator[Statement]:
    """Yield the statement that makes a function with its owner's rights, unless it is there."""
    if kept.bodies.get(name) != body:
        yield Statement(
            _text(
                "create or replace function {}(" + arguments + ") returns " + returned + " language plpgsql "
                "{} security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as {}",
                sql.Identifier(schema, name),
                sql.SQL("volatile" if returned == "trigger" else "stable"),
                sql.SQL(_quoted(body)),
            ),
            f"create function {name}",
        )


def _ended(schema: str, model: Model, kept: KeptHistory) -> Iterator[Statement]:
    table, function = sql.Identifier(schema, model.table), sql.Identifier(schema, _recorder(model.table))
    for name in kept.triggers[model.table]:
        yield Statement(_text("drop trigger {} on {}", sql.Identifier(name), table))
    yield Statement(_text("drop function if exists {}()", function))
    yield Statement(
        _text(
            "delete from {} where name = {}",
            sql.Identifier(schema, "canvas_sync_remembered"),
            sql.Literal(beginning_of(model.table)),
        ),
        f"end the history of {model.table}; {history_table_name(model.table)} is kept",
    )


def _protection(model: Model) -> str:
    """Return the line of the recording function from which a sync knows what it leaves out."""
    names = ", ".join(json.dumps(each.column.name) for each in model.protected)
    return f"-- Columns that are excluded or hashed, and so not recorded: {names or 'none'}."


def _recorder(table: str) -> str:
    return object_name("canvas_sync_history", table)


class _History:
    """The history of one table.

    Args:
        schema: The tenant's.
        model: Whose rows the table has.
        tables: Table or history that exists → its columns in their order → type.
    """

    def __init__(self, schema: str, model: Model, tables: Mapping[str, Mapping[str, str]]) -> None:
        self._schema, self._model = schema, model
        self._types = tables.get(model.table, {})
        declared = [column.name for column in model.columns]
        self._table = sql.Identifier(schema, model.table)
        self._history = sql.Identifier(schema, history_table_name(model.table))
        self._protected = [each.column.name for each in model.protected]
        existing = [*tables.get(history_table_name(model.table), [*declared, *HISTORY_COLUMNS])]
        self._order = [*existing, *(name for name in declared if name not in existing)]
        # What was recorded once is recorded further, such as a column that `unknown_columns: add` has added.
        stored = {*declared, *(self._types.keys() - HISTORY_COLUMNS.keys())}
        self._columns = [name for name in self._order if name in stored]

    def statements(self, kept: KeptHistory) -> Iterator[Statement]:
        """Yield what is missing: the recording function, the triggers, the beginning, the function for readers."""
        table, recorder = self._model.table, _recorder(self._model.table)
        body = self.recorder_body()
        yield from _function(kept, self._schema, recorder, "", "trigger", body)
        if self._protected and kept.bodies.get(recorder, body) != body:
            yield self._without_protected()
        if not kept.has_triggers(table):
            for name, when in TRIGGERS.items():
                yield Statement(_text("drop trigger if exists {} on {}", sql.Identifier(name), self._table))
                yield Statement(
                    _text(
                        "create trigger {} " + when + " for each statement execute function {}()",
                        sql.Identifier(name),
                        self._table,
                        sql.Identifier(self._schema, recorder),
                    )
                )
            # The triggers wait for open transactions that write to the table, so the history begins after now().
            yield Statement(
                _text(
                    "insert into {} (name, value) values ({}, "
                    "to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) "
                    "on conflict (name) do update set value = excluded.value, updated_at = now()",
                    sql.Identifier(self._schema, "canvas_sync_remembered"),
                    sql.Literal(beginning_of(table)),
                ),
                f"begin the history of {table} in {history_table_name(table)}",
            )
        name, body = as_of_name(table), self.as_of_body()
        if kept.bodies.get(name) != body:
            yield Statement(
                _text(
                    "create or replace function {}(moment timestamptz) returns setof {} language sql stable as {}",
                    sql.Identifier(self._schema, name),
                    self._history,
                    sql.SQL(_quoted(body)),
                ),
                f"create function {name}",
            )

    def _without_protected(self) -> Statement:
        """Return the statement that removes what was recorded before a column was protected."""
        columns = [sql.Identifier(name) for name in self._protected]
        statement = _text(
            "update {} set {} where {}",
            self._history,
            sql.SQL(", ").join(sql.SQL("{} = null").format(column) for column in columns),
            sql.SQL(" or ").join(sql.SQL("{} is not null").format(column) for column in columns),
        )
        name = history_table_name(self._model.table)
        return Statement(statement, f"remove {', '.join(self._protected)} from {name}")

    def recorder_body(self) -> str:
        """Return the body of the function that the triggers call."""
        parts: dict[str, sql.Composable] = {
            "history": self._history,
            "columns": _names(self._columns),
            "old": sql.SQL(", ").join(
                sql.SQL("null") if name in self._protected else sql.Identifier("o", name) for name in self._columns
            ),
            "latest": self._latest("o"),
            "began": sql.SQL(BEGAN).format(known_since=self._known_since("o")),
        }
        update = sql.SQL(UPDATE).format(
            **parts,
            same_key=self._same_key("n", "o"),
            is_gone=sql.SQL("n.{} is null").format(sql.Identifier(self._model.key[0])),
            is_observed=sql.SQL("$1 in ({}) or n.observed_at is distinct from o.observed_at").format(
                sql.SQL(", ").join(map(sql.Literal, OBSERVING))
            ),
            differs=self._differs(),
        )
        delete = sql.SQL(DELETE).format(**parts, rows=sql.SQL("old_rows"))
        truncate = sql.SQL(DELETE).format(**parts, rows=self._table)
        return _text(
            RECORD,
            protection=sql.SQL(_protection(self._model)),
            setting=sql.Literal(SETTING),
            off=sql.Literal(OFF),
            **{name: sql.Literal(_text("{}", part)) for name, part in
               (("update", update), ("delete", delete), ("truncate", truncate))},
        )  # fmt: skip

    def as_of_body(self) -> str:
        """Return the body of the function that returns the rows as they were."""
        known_since = self._known_since("t")
        latest = self._latest("t")
        ended = sql.SQL("null")
        began = sql.SQL("(select {} from (select) as one left join ({}) l on true)").format(
            sql.SQL(BEGAN).format(known_since=known_since), latest
        )
        present: dict[str, sql.Composable] = {name: sql.Identifier("t", name) for name in self._columns}
        present |= {"valid_from": began}
        return _text(
            AS_OF,
            history_columns=_names(self._order, "h"),
            history=self._history,
            table=self._table,
            table_columns=sql.SQL(", ").join(present.get(name, ended) for name in self._order),
            covers=sql.Identifier(self._schema, COVERS),
            name=sql.Literal(self._model.table),
            same_key=self._same_key("h", "t"),
            known_since=known_since,
            latest=latest,
        )

    def covers_body(self) -> str:
        """Return the body of the function that refuses times before a history began."""
        return _text(
            COVERS_BODY,
            remembered=sql.Identifier(self._schema, "canvas_sync_remembered"),
            prefix=sql.Literal(beginning_of("")),
        )

    def _latest(self, alias: str) -> sql.Composed:
        return sql.SQL(LATEST).format(history=self._history, same_key=self._same_key("h", alias))

    def _same_key(self, one: str, other: str) -> sql.Composed:
        return sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier(one, name), sql.Identifier(other, name))
            for name in self._model.key
        )

    def _known_since(self, alias: str) -> sql.Composed:
        """Return when a row with its present content was first known; tables of Rails have times without a zone, in UTC."""
        times = [
            sql.SQL("{} at time zone 'UTC'" if self._types.get(name) == "timestamp without time zone" else "{}").format(
                sql.Identifier(alias, name)
            )
            for name in ("updated_at", "observed_at")
        ]
        return sql.SQL("least({})").format(sql.SQL(", ").join(times))

    def _differs(self) -> sql.Composable:
        rest = [name for name in self._columns if name not in {*self._model.key, *self._protected}]
        if not rest:
            return sql.SQL("false")
        new, old = (sql.SQL(", ").join(self._comparable(alias, name) for name in rest) for alias in ("n", "o"))
        return sql.SQL("({}) is distinct from ({})").format(new, old)

    def _comparable(self, alias: str, name: str) -> sql.Composable:
        """Return a column as an expression whose values can be compared; those of json cannot."""
        as_json = sql.SQL("::jsonb" if self._types.get(name) == "json" else "")
        return sql.Identifier(alias, name) + as_json


def _names(columns: Sequence[str], alias: str = "") -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns)


def _quoted(body: str) -> str:
    return f"$canvas_sync${body}$canvas_sync$"


def _text(statement: str, *parts: sql.Composable, **named: sql.Composable) -> str:
    """Return a statement as text. Names are quoted alike on every connection; `psycopg` needs none for them."""
    return sql.SQL(statement).format(*parts, **named).as_string(None)
