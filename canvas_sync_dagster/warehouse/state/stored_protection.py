"""Apply changed settings `exclude` and `hash` to what is stored already, in one transaction per tenant."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.catalogue.keyed_hash import HASHED, KeyedHash
from canvas_sync_dagster.warehouse.reading.payloads import PayloadProtection
from canvas_sync_dagster.warehouse.reading.protection import hashed
from canvas_sync_dagster.warehouse.schema.ddl import INBOX
from canvas_sync_dagster.warehouse.schema.existing import read_columns
from canvas_sync_dagster.warehouse.state.rejected_rows import TABLE as REJECTED_ROWS
from canvas_sync_dagster.warehouse.state.remembered import remember, remembered
from canvas_sync_dagster.warehouse.state.walks import Walks
from canvas_sync_dagster.warehouse.warehouse import Warehouse

NAME = "protected_columns"
"""Name under which the settings that are applied are remembered."""
VALUES = 100_000
"""Distinct values that are hashed at once, about 20 MB; each time, the table is read once."""
EVENTS = 5_000
"""Events that are read at once, about 10 MB."""
HISTORY = "_history"
"""Suffix of the tables with earlier states of rows."""


def protect_stored(warehouse: Warehouse, models: Iterable[Model], unsynced: Iterable[Model] = ()) -> tuple[str, ...]:
    """Remove or hash the stored values of protected columns, if the settings have changed since this was last done.

    Excluded columns become null and texts of hashed columns become hashes, in the data tables and their history. Payloads of
    live events are cleaned. Rejected rows of the models are deleted, and so is what interrupted walks have staged: the
    next full sync reads those rows again.

    Args:
        warehouse: The tenant's, in a transaction.
        models: Models that the tenant syncs, with its columns excluded or hashed.
        unsynced: The other models, likewise. Live events about them are cleaned; a table of that name may belong to another
            application, and is left alone.

    Returns:
        The columns that were cleaned, as `model.column`; empty if the settings have not changed.
    """
    synced = [model for model in models if model.protected]
    others = [model for model in unsynced if model.protected]
    protected = [*synced, *others]
    wanted = _described(synced) + (f" in events only: {_described(others)}" if others else "")
    if (remembered(warehouse, NAME) or "") == wanted:
        return ()
    warehouse.lock("protect")
    if (remembered(warehouse, NAME) or "") == wanted:
        return ()
    for model in synced:
        _clean_tables(warehouse, model)
    if protected:
        names = [model.name for model in protected]
        statement = sql.SQL("delete from {} where model = any(%s)").format(warehouse.identifier(REJECTED_ROWS))
        warehouse.connection.execute(statement, (names,))
        Walks(warehouse).remove_all()
        _clean_events(warehouse, PayloadProtection.of(protected))
    remember(warehouse, NAME, wanted)
    return tuple(f"{model.name}.{each.column.name}" for model in protected for each in model.protected)


def _described(models: Sequence[Model]) -> str:
    """Return the settings as text, with the id of the key in place of the key."""
    parts = [
        f"{model.name}.{each.column.name}={'excluded' if each.hash is None else each.hash.id}"
        for model in models
        for each in model.protected
    ]
    return " ".join(sorted(parts))


def _clean_tables(warehouse: Warehouse, model: Model) -> None:
    # The history comes last: it may get the earlier states of the rows that are cleaned here.
    for table in (model.table, model.table + HISTORY):
        columns = read_columns(warehouse.connection, warehouse.schema, table)
        touched = sql.SQL(", updated_at = now()") if "updated_at" in columns else sql.SQL("")
        for each in model.protected:
            if each.column.name not in columns:
                continue
            if each.hash is not None:
                _hash_column(warehouse, table, each.column.name, each.hash, touched)
                continue
            statement = sql.SQL("update {table} set {column} = null{touched} where {column} is not null").format(
                table=warehouse.identifier(table), column=sql.Identifier(each.column.name), touched=touched
            )
            warehouse.connection.execute(statement)


def _hash_column(warehouse: Warehouse, table: str, column: str, hash_of: KeyedHash, touched: sql.SQL) -> None:
    names = {"table": warehouse.identifier(table), "column": sql.Identifier(column), "touched": touched}
    query = sql.SQL("select distinct {column} from {table} where {column} !~ %s limit %s").format(**names)
    statement = sql.SQL(
        "update {table} t set {column} = h.hash{touched} from unnest(%s::text[], %s::text[]) as h (value, hash) "
        "where t.{column} = h.value"
    ).format(**names)
    pattern = f"^{HASHED.pattern}$"
    while values := [value for (value,) in warehouse.connection.execute(query, (pattern, VALUES)).fetchall()]:
        warehouse.connection.execute(statement, (values, [hashed(value, hash_of) for value in values]))


def _clean_events(warehouse: Warehouse, protection: PayloadProtection) -> None:
    connection, table = warehouse.connection, warehouse.identifier(INBOX)
    query = sql.SQL("select id, event_name, payload from {} where id > %s order by id limit %s").format(table)
    statement = sql.SQL(
        "update {} t set payload = n.payload::jsonb from unnest(%s::bigint[], %s::text[]) as n (id, payload) where t.id = n.id"
    ).format(table)
    last = 0
    while rows := connection.execute(query, (last, EVENTS)).fetchall():
        last = rows[-1][0]
        changed: dict[int, Mapping[str, object]] = {}
        for number, name, payload in rows:
            if (new := protection.applied(name, payload)) != payload:
                changed[number] = new
        if changed:
            connection.execute(statement, (list(changed), [json.dumps(payload) for payload in changed.values()]))
