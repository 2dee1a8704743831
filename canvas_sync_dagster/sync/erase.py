"""Erases one person: from data tables, rejected rows, the inbox of live events, and the journal, in one transaction."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from canvas_sync_dagster.catalogue import ColumnType, Model
from canvas_sync_dagster.warehouse.connection import Connection, transaction
from canvas_sync_dagster.warehouse.erasure import USERS, mentions, names_erased, owners
from canvas_sync_dagster.warehouse.state.erased_objects import Erased, lock_for_erasure, read_erased, remember_erased
from canvas_sync_dagster.warehouse.state.rejected_rows import RejectedRows
from canvas_sync_dagster.warehouse.warehouse import Warehouse

ERASED = "[erased]"
SHORTEST_NAME = 4
"""Characters of a name or login that texts are searched for; a shorter one stands in too many other words."""
INBOX, REJECTS = "canvas_sync_live_events", "canvas_sync_rejected_rows"
JOURNALS = ("canvas_sync_job_logs", "canvas_sync_sync_batches", "canvas_sync_reports", "canvas_sync_audits")
FREE_TEXT = frozenset(("exception", "backtrace", "metadata", "job_arguments", "failure", "error"))
"""Columns of the journal that hold what functions of users raise and return."""
USER_KEY = r'"[a-z_]*(?:user|student|observer|assessor|actor|member)[a-z_]*"\s*:\s*'
"""Keys of events whose value is the id of a user."""
ACTOR = ("user_id", "user_login", "user_sis_id", "user_account_id", "real_user_id", "client_ip", "user_agent", "session_id",
         "referrer", "url", "hostname", "request_id")  # fmt: skip
"""Metadata of an event that speak of the person who caused it, and not of the object that changed."""


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
    with transaction(url, f"erasing user {user}") as connection:
        warehouse = Warehouse(connection, schema)
        lock_for_erasure(warehouse)
        there = _columns(connection, schema)
        names = _names(connection, schema, models, user, there)
        remember_erased(warehouse, USERS, [user])
        done = _from_tables(connection, schema, models, {USERS: frozenset([user])}, there)
        done.removed[REJECTS] += _from_rejects(warehouse, user, names)
        _from_inbox(connection, schema, user, names, done)
        for table in JOURNALS:
            if table in there:
                done.blanked[table] += _from_journal(connection, schema, table, names, there[table])
    return done


def sweep(connection: Connection, schema: str, models: Sequence[Model]) -> Erasure:
    """Remove what has come to refer to erased people since, such as scores that were loaded before their enrollment."""
    erased = read_erased(Warehouse(connection, schema))
    return _from_tables(connection, schema, models, erased, _columns(connection, schema)) if erased else Erasure()


def drop_events_of_erased(connection: Connection, schema: str) -> int:
    """Remove waiting events about erased people before they are applied; return how many."""
    done, users = Erasure(), read_erased(Warehouse(connection, schema)).get(USERS, frozenset())
    for user in users:
        _from_inbox(connection, schema, user, [], done, only_waiting=True)
    return done.removed[INBOX]


def _columns(connection: Connection, schema: str) -> dict[str, dict[str, str]]:
    """Return table → column → type of what really is in a schema."""
    rows = connection.execute(
        "select table_name, column_name, data_type from information_schema.columns where table_schema = %s", (schema,)
    )
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows.fetchall():
        found.setdefault(str(table), {})[str(column)] = str(kind)
    return found


def _names(
    connection: Connection, schema: str, models: Iterable[Model], user: int, there: Mapping[str, Collection[str]]
) -> list[str]:
    """Return the names, logins and addresses of a person, the longest first."""
    found: set[str] = set()
    for model in models:
        owned = [
            name for name, parent in owners(model).items() if parent == USERS and name in there.get(model.table, ())
        ]
        texts = [c.name for c in model.columns if c.identifies and c.name in there.get(model.table, ())]
        if owned and texts:
            query = sql.SQL("select {} from {} where {}").format(
                sql.SQL(", ").join(map(sql.Identifier, texts)),
                sql.Identifier(schema, model.table),
                _any_of({name: [user] for name in owned}),
            )
            found |= {str(value) for row in connection.execute(query).fetchall() for value in row if value}
    return sorted((name for name in found if len(name) >= SHORTEST_NAME), key=lambda name: (-len(name), name))


def _from_tables(
    connection: Connection,
    schema: str,
    models: Sequence[Model],
    erased: Erased,
    there: Mapping[str, Collection[str]],
) -> Erasure:
    done, ids = Erasure(), {model: set(numbers) for model, numbers in erased.items()}
    present = [model for model in models if model.table in there]
    for model in present:
        _collect(connection, schema, model, ids, there[model.table])
    for model in reversed(present):
        if condition := _owned(model, ids, there[model.table]):
            removed, blanked = _removed_or_blanked(connection, schema, model, condition, there[model.table])
            done.removed[model.table] += removed
            done.blanked[model.table] += blanked
        done.blanked[model.table] += _without_mentions(
            connection, schema, model, ids.get(USERS, set()), there[model.table]
        )
    for name, numbers in ids.items():
        remember_erased(Warehouse(connection, schema), name, numbers)
    return done


def _owned(model: Model, ids: Mapping[str, Collection[int]], there: Collection[str]) -> sql.Composable | None:
    wanted = {n: sorted(ids[p]) for n, p in owners(model).items() if n in there and ids.get(p)}
    return _any_of(wanted) if wanted else None


def _any_of(wanted: Mapping[str, Sequence[int]]) -> sql.Composable:
    return sql.SQL(" or ").join(
        sql.SQL("{} = any({}::bigint[])").format(sql.Identifier(name), sql.Literal(list(numbers)))
        for name, numbers in wanted.items()
    )


def _collect(
    connection: Connection, schema: str, model: Model, ids: dict[str, set[int]], there: Collection[str]
) -> None:
    """Add the ids of a model's rows that are about the person: rows of other models belong to them."""
    condition = _owned(model, ids, there)
    if condition is None or model.key != ("canvas_id",):
        return
    query = sql.SQL("select canvas_id from {} where {}").format(sql.Identifier(schema, model.table), condition)
    found = {int(number) for (number,) in connection.execute(query).fetchall()}
    if found:
        ids[model.name] = ids.get(model.name, set()) | found


def _removed_or_blanked(
    connection: Connection, schema: str, model: Model, condition: sql.Composable, there: Collection[str]
) -> tuple[int, int]:
    table = sql.Identifier(schema, model.table)
    try:
        with connection.transaction():
            return connection.execute(sql.SQL("delete from {} where {}").format(table, condition)).rowcount, 0
    except psycopg.errors.ForeignKeyViolation:
        # A table of the user's own refers to the row, which stays as an empty one.
        kept = {*model.key, *owners(model), "workflow_state"}
        blank = [c.name for c in model.columns if c.name in there and c.name not in kept]
        assigned = [
            sql.SQL("{} = null").format(sql.Identifier(name)) for name in (*blank, *({"row_hash"} & set(there)))
        ]
        statement = sql.SQL("update {} set {} where {}").format(table, sql.SQL(", ").join(assigned), condition)
        return 0, connection.execute(statement).rowcount


def _without_mentions(
    connection: Connection, schema: str, model: Model, users: Collection[int], there: Collection[str]
) -> int:
    changed = 0
    for column in mentions(model):
        if column.name not in there or not users:
            continue
        name, numbers = sql.Identifier(column.name), sql.Literal(sorted(users))
        value: sql.Composable
        if column.type is ColumnType.BIGINT_ARRAY:
            value = sql.SQL("array(select u from unnest({}) u where u <> all({}::bigint[]))").format(name, numbers)
            where = sql.SQL("{} && {}::bigint[]").format(name, numbers)
        else:
            value, where = sql.SQL("null"), sql.SQL("{} = any({}::bigint[])").format(name, numbers)
        statement = sql.SQL("update {} set {} = {} where {}")
        table = sql.Identifier(schema, model.table)
        changed += connection.execute(statement.format(table, name, value, where)).rowcount
    return changed


def _from_rejects(warehouse: Warehouse, user: int, names: Sequence[str]) -> int:
    """Remove rejected rows that name the person: by name or login, or by a value that is the id."""
    erased = {USERS: frozenset([user])}
    return RejectedRows(warehouse).erase(lambda text: names_erased(text, erased) or any(name in text for name in names))


def _from_inbox(
    connection: Connection,
    schema: str,
    user: int,
    names: Sequence[str],
    done: Erasure,
    *,
    only_waiting: bool = False,
) -> None:
    """Remove events about the person; of a waiting event that the person caused for something else, remove the cause."""
    table = sql.Identifier(schema, INBOX)
    # Global ids are the shard's number and thirteen digits of the local one.
    number = rf"(?:[0-9]{{1,7}}{user:013d}|{user})"
    pattern = rf'{USER_KEY}"?{number}"?\s*[,}}\]]|canvas:user:{number}"'
    waiting = sql.SQL("state in ('pending', 'failed')")
    about = sql.SQL(
        "({part} ~ %(pattern)s or exists (select from unnest(%(names)s::text[]) n where position(n in {part}) > 0))"
    )
    body, whole = sql.SQL("(payload->'body')::text"), sql.SQL("payload::text")
    given = {"pattern": pattern, "names": list(names), "actor": list(ACTOR)}
    removed = sql.SQL("delete from {} where {} and {}").format(table, waiting, about.format(part=body))
    done.removed[INBOX] += connection.execute(removed, given).rowcount
    stripped = sql.SQL(
        "update {} set payload = jsonb_set(payload, '{{metadata}}', (payload->'metadata') - %(actor)s::text[]) "
        "where {} and {}"
    ).format(table, waiting, about.format(part=whole))
    done.blanked[INBOX] += connection.execute(stripped, given).rowcount
    if not only_waiting:
        settled = sql.SQL("delete from {} where not ({}) and {}").format(table, waiting, about.format(part=whole))
        done.removed[INBOX] += connection.execute(settled, given).rowcount


def _from_journal(
    connection: Connection, schema: str, table: str, names: Sequence[str], there: Mapping[str, str]
) -> int:
    """Replace the person's names and logins in the texts of a state table, which user functions may have written."""
    changed: set[int] = set()
    for column in FREE_TEXT & set(there) if names and "id" in there else ():
        # Escaped as well: a column of type json holds the text that was written.
        searched = [*names, *(json.dumps(name)[1:-1] for name in names)]
        query = sql.SQL(
            "select id, {c}::text from {} where exists (select from unnest(%s::text[]) n where position(n in {c}::text) > 0)"
        )
        found = query.format(sql.Identifier(schema, table), c=sql.Identifier(column))
        update = sql.SQL("update {} set {} = %s where id = %s").format(
            sql.Identifier(schema, table), sql.Identifier(column)
        )
        for number, text in connection.execute(found, (searched,)).fetchall():
            clean = without_names(text, names)
            if clean != text:
                connection.execute(update, (clean, number))
                changed.add(int(number))
    return len(changed)


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
