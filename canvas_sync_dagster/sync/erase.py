"""Erase one person from data tables, rejected rows, the inbox of live events and the journal, in one transaction."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from canvas_sync_dagster.catalogue import ColumnType, Model
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.erasure import USERS, mentions, names_erased, owners
from canvas_sync_dagster.warehouse.history import unrecorded
from canvas_sync_dagster.warehouse.schema.ddl import INBOX
from canvas_sync_dagster.warehouse.schema.names import history_table_name
from canvas_sync_dagster.warehouse.state import free_texts
from canvas_sync_dagster.warehouse.state.digests_beside import remove_digests_without_row
from canvas_sync_dagster.warehouse.state.erased_events import ErasedEvents
from canvas_sync_dagster.warehouse.state.erased_objects import Erased, lock_for_erasure, read_erased, remember_erased
from canvas_sync_dagster.warehouse.state.rejected_rows import TABLE as REJECTED_ROWS
from canvas_sync_dagster.warehouse.state.rejected_rows import RejectedRows
from canvas_sync_dagster.warehouse.state.walks import Walks
from canvas_sync_dagster.warehouse.warehouse import Table, Warehouse

ERASED = "[erased]"
SHORTEST_NAME = 4
"""Characters of a name or login that texts are searched for; a shorter one is part of too many other words."""


@dataclass(slots=True)
class Erasure:
    """What was erased.

    Attributes:
        removed: Table → rows that were removed.
        blanked: Table → rows that stay without the person's data.
    """

    removed: Counter[str] = field(default_factory=Counter)
    blanked: Counter[str] = field(default_factory=Counter)


def erase_user(url: str, schema: str, models: Sequence[Model], user: int) -> Erasure:
    """Erase a person, now and for what syncs and events bring later.

    Args:
        url: Of the database.
        schema: The tenant's.
        models: With their mappings, parents first.
        user: Canvas id of the person.

    Raises:
        SchemaError: Another table refers to the rows in a way that lets them be neither removed nor blanked.
    """
    by_name = {model.name: model for model in models}
    with transaction(url, f"erasing user {user}") as connection, unrecorded(connection):
        warehouse = Warehouse(connection, schema, by_name)
        lock_for_erasure(warehouse)
        present = _columns(warehouse)
        names = _names(warehouse, user, present)
        remember_erased(warehouse, USERS, [user])
        erasure = _from_tables(warehouse, {USERS: frozenset([user])}, present)
        erasure.removed[REJECTED_ROWS] += _from_rejects(warehouse, user, names)
        # Staged rows are compressed. Their walks begin again.
        Walks(warehouse).remove_all()
        events = ErasedEvents(warehouse, user, names)
        erasure.removed[INBOX] += events.remove_waiting() + events.remove_deferred()
        erasure.blanked[INBOX] += events.remove_actor() + events.remove_deferred_actor()
        erasure.removed[INBOX] += events.remove_settled()
        for table in free_texts.TABLES:
            if table in present:
                erasure.blanked[table] += free_texts.replace_names(
                    warehouse, table, present[table], names, lambda text: without_names(text, names)
                )
    return erasure


def sweep(warehouse: Warehouse) -> Erasure:
    """Remove what has come to refer to erased people since, such as scores that were loaded before their enrollment."""
    erased = read_erased(warehouse)
    if not erased:
        return Erasure()
    with unrecorded(warehouse.connection):
        return _from_tables(warehouse, erased, _columns(warehouse))


def drop_events_of_erased(warehouse: Warehouse) -> int:
    """Remove waiting events about erased people before they are applied; return how many."""
    removed = 0
    for user in read_erased(warehouse).get(USERS, frozenset()):
        events = ErasedEvents(warehouse, user)
        removed += events.remove_waiting()
        events.remove_actor()
    return removed


def _columns(warehouse: Warehouse) -> dict[str, dict[str, str]]:
    """Return table → column → type of what the schema really has."""
    rows = warehouse.connection.execute(
        "select table_name, column_name, data_type from information_schema.columns where table_schema = %s",
        (warehouse.schema,),
    )
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in rows.fetchall():
        columns.setdefault(str(table), {})[str(column)] = str(kind)
    return columns


def _names(warehouse: Warehouse, user: int, present: Mapping[str, Collection[str]]) -> list[str]:
    """Return the names, logins and addresses of a person, the longest first."""
    found: set[str] = set()
    stored = [(model, name) for model in warehouse.models.values() for name in _tables_of(model, present)]
    for model, table in stored:
        columns = present[table]
        owned = [name for name, parent in owners(model).items() if parent == USERS and name in columns]
        texts = [column.name for column in model.columns if column.identifies and column.name in columns]
        if owned and texts:
            query = sql.SQL("select {} from {} where {}").format(
                sql.SQL(", ").join(map(sql.Identifier, texts)),
                warehouse.identifier(table),
                _any_of({name: [user] for name in owned}),
            )
            found |= {str(value) for row in warehouse.connection.execute(query).fetchall() for value in row if value}
    return sorted((name for name in found if len(name) >= SHORTEST_NAME), key=lambda name: (-len(name), name))


def _tables_of(model: Model, present: Collection[str]) -> list[str]:
    """Return the tables that have rows of a model: its own, and its history even if the setting has ended it."""
    return [name for name in (model.table, history_table_name(model.table)) if name in present]


def _from_tables(warehouse: Warehouse, erased: Erased, present: Mapping[str, Collection[str]]) -> Erasure:
    done, ids = Erasure(), {model: set(numbers) for model, numbers in erased.items()}
    tables = [warehouse.table(model) for model in warehouse.models.values() if model.table in present]
    for table in tables:
        for name in _tables_of(table.model, present):
            _collect(table, warehouse.identifier(name), ids, present[name])
    for table in reversed(tables):
        name, columns = table.model.table, present[table.model.table]
        if condition := _owned(table.model, ids, columns):
            removed, blanked = _removed_or_blanked(table, condition, columns)
            done.removed[name] += removed
            done.blanked[name] += blanked
        done.blanked[name] += _without_mentions(table, table.name, ids.get(USERS, set()), columns)
        history = history_table_name(name)
        if history in present:
            removed, blanked = _from_history(table, history, ids, present[history])
            done.removed[history] += removed
            done.blanked[history] += blanked
    for model, numbers in ids.items():
        remember_erased(warehouse, model, numbers)
    return done


def _owned(model: Model, ids: Mapping[str, Collection[int]], there: Collection[str]) -> sql.Composable | None:
    wanted = {n: sorted(ids[p]) for n, p in owners(model).items() if n in there and ids.get(p)}
    return _any_of(wanted) if wanted else None


def _any_of(wanted: Mapping[str, Sequence[int]]) -> sql.Composable:
    return sql.SQL(" or ").join(
        sql.SQL("{} = any({}::bigint[])").format(sql.Identifier(name), sql.Literal(list(numbers)))
        for name, numbers in wanted.items()
    )


def _collect(table: Table, stored: sql.Identifier, ids: dict[str, set[int]], present: Collection[str]) -> None:
    """Add the ids of a model's rows that are about the person: rows of other models belong to them."""
    model = table.model
    condition = _owned(model, ids, present)
    if condition is None or model.key != ("canvas_id",):
        return
    query = sql.SQL("select canvas_id from {} where {}").format(stored, condition)
    found = {int(number) for (number,) in table.connection.execute(query).fetchall()}
    if found:
        ids[model.name] = ids.get(model.name, set()) | found


def _removed_or_blanked(table: Table, condition: sql.Composable, present: Collection[str]) -> tuple[int, int]:
    connection = table.connection
    try:
        with connection.transaction():
            removed = connection.execute(sql.SQL("delete from {} where {}").format(table.name, condition)).rowcount
            if removed:
                remove_digests_without_row(table)
            return removed, 0
    except psycopg.errors.ForeignKeyViolation:
        # One of the user's tables refers to the row, so the row is blanked and kept.
        kept = {*table.model.key, *owners(table.model), "workflow_state"}
        blank = [c.name for c in table.model.columns if c.name in present and c.name not in kept]
        assigned = [
            sql.SQL("{} = null").format(sql.Identifier(name)) for name in (*blank, *({"row_hash"} & set(present)))
        ]
        statement = sql.SQL("update {} set {} where {}").format(table.name, sql.SQL(", ").join(assigned), condition)
        return 0, connection.execute(statement).rowcount


def _from_history(
    table: Table, history: str, ids: Mapping[str, Collection[int]], present: Collection[str]
) -> tuple[int, int]:
    """Remove the earlier states that are about the person, and the mentions in others; return how many of each."""
    name, removed = table.warehouse.identifier(history), 0
    if condition := _owned(table.model, ids, present):
        removed = table.connection.execute(sql.SQL("delete from {} where {}").format(name, condition)).rowcount
    return removed, _without_mentions(table, name, ids.get(USERS, set()), present)


def _without_mentions(table: Table, stored: sql.Identifier, users: Collection[int], present: Collection[str]) -> int:
    """Set mentions of users to null, in the model's table or its history; return the number of rows."""
    changed = 0
    for column in mentions(table.model):
        if column.name not in present or not users:
            continue
        name, numbers = sql.Identifier(column.name), sql.Literal(sorted(users))
        value: sql.Composable
        if column.type is ColumnType.BIGINT_ARRAY:
            value = sql.SQL("array(select u from unnest({}) u where u <> all({}::bigint[]))").format(name, numbers)
            where = sql.SQL("{} && {}::bigint[]").format(name, numbers)
        else:
            value, where = sql.SQL("null"), sql.SQL("{} = any({}::bigint[])").format(name, numbers)
        statement = sql.SQL("update {} set {} = {} where {}").format(stored, name, value, where)
        changed += table.connection.execute(statement).rowcount
    return changed


def _from_rejects(warehouse: Warehouse, user: int, names: Sequence[str]) -> int:
    """Remove rejected rows that name the person: by name or login, or by a value that is the id."""
    erased = {USERS: frozenset([user])}
    return RejectedRows(warehouse).erase(lambda text: names_erased(text, erased) or any(name in text for name in names))


def without_names(text: str, names: Sequence[str]) -> str:
    """Replace names where they are whole words; of a JSON document in its strings only, so that it stays one.

    >>> without_names("no room for anna, annabel", ["anna"]), without_names('{"1234": 1234, "who": "1234"}', ["1234"])
    ('no room for [erased], annabel', '{"1234": 1234, "who": "[erased]"}')
    """
    words = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names))
    try:
        document = json.loads(text)
    except ValueError:
        return words.sub(ERASED, text)
    if not isinstance(document, (dict, list)):
        return words.sub(ERASED, text)
    return json.dumps(_within(document, words))


def _within(value: Any, words: re.Pattern[str]) -> Any:
    match value:
        case str():
            return words.sub(ERASED, value)
        case list():
            return [_within(each, words) for each in value]
        case dict():
            return {key: _within(each, words) for key, each in value.items()}
        case _:
            return value
