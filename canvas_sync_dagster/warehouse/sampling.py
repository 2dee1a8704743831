"""Random samples of the rows of a table, and the sizes of the groups that its rows are in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from canvas_sync_dagster.warehouse.loading.target import system_columns
from canvas_sync_dagster.warehouse.row_conditions import EVERY_ROW, in_scope, not_deleted
from canvas_sync_dagster.warehouse.warehouse import Table

SCOPE = "_scope"
"""Name of the value with the scope of a sampled row."""
NO_OBSERVATION = sql.SQL("null::timestamptz as observed_at")


def count_rows(table: Table, scopes: Iterable[str]) -> int:
    """Count the rows of some scopes that are no suspects."""
    parts = [
        sql.SQL("select count(*) as n from {} t where {}").format(table.name, _sampled(table, scope))
        for scope in scopes
    ]
    if not parts:
        return 0
    query = sql.SQL("select sum(n)::bigint from ({}) parts").format(sql.SQL(" union all ").join(parts))
    row = table.connection.execute(query).fetchone()
    return int(row[0] or 0) if row else 0


def sample_rows(table: Table, scopes: Iterable[str], number: int, seed: int) -> list[dict[str, Any]]:
    """Read a simple random sample of the rows of some scopes; suspects are no part of it.

    Args:
        table: The table.
        scopes: Canvas term ids, or only the empty one.
        number: Maximum number of rows.
        seed: Decides which rows; the same seed returns the same rows of the same table.

    Returns:
        Column → value, with `observed_at` and the scope as `SCOPE`.
    """
    columns = [sql.Identifier("t", column.name) for column in table.model.columns]
    seen = sql.SQL("t.observed_at") if "observed_at" in system_columns(table) else NO_OBSERVATION
    key = sql.SQL(", ").join(sql.Identifier("t", name) for name in table.model.key)
    drawn = sql.SQL("hashtextextended(concat_ws(' ', {}), {})").format(key, sql.Literal(seed))
    parts = [
        sql.SQL("(select {}, {}, {}::text as {}, {} as _drawn from {} t where {} order by _drawn limit {})").format(
            sql.SQL(", ").join(columns),
            seen,
            sql.Literal(scope),
            sql.Identifier(SCOPE),
            drawn,
            table.name,
            _sampled(table, scope),
            sql.Literal(number),
        )
        for scope in scopes
    ]
    if not parts:
        return []
    query = sql.SQL("select * from ({}) parts order by _drawn limit {}").format(
        sql.SQL(" union all ").join(parts), sql.Literal(number)
    )
    with table.connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query).fetchall()
    return [{name: value for name, value in row.items() if name != "_drawn"} for row in rows]


def group_sizes(table: Table, parents: Table, column: str, scopes: Iterable[str]) -> list[tuple[int, str, int]]:
    """Count the rows that belong to each row of a parent table which is not marked as deleted.

    Args:
        table: The table.
        parents: Table of the parents.
        column: Column of the table with the parent's id.
        scopes: Scopes of the parents.

    Returns:
        For each parent its id, its scope, and the number of its rows.
    """
    number = sql.Identifier("t", parents.model.key[0])
    found: list[tuple[int, str, int]] = []
    for scope in scopes:
        query = sql.SQL(
            "select {}, coalesce(c.n, 0) from {} t left join (select {} as id, count(*) as n from {} group by 1) c "
            "on c.id = {} where {} and {} order by 1"
        ).format(
            number,
            parents.name,
            sql.Identifier(column),
            table.name,
            number,
            not_deleted(parents.model),
            in_scope(parents, scope) if parents.model.term_by else EVERY_ROW,
        )
        found += [(int(row[0]), scope, int(row[1])) for row in table.connection.execute(query).fetchall()]
    return found


def existing_keys(table: Table, keys: Sequence[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Return those of some keys that the table contains.

    Args:
        table: The table.
        keys: Values of the key's columns, in their order.
    """
    if not keys:
        return set()
    model = table.model
    names = sql.SQL(", ").join(map(sql.Identifier, model.key))
    arrays = sql.SQL(", ").join(
        sql.SQL("{}::{}[]").format(sql.Literal([key[at] for key in keys]), sql.SQL(model[name].type.value))
        for at, name in enumerate(model.key)
    )
    query = sql.SQL("select {} from {} t join unnest({}) as k ({}) using ({})").format(
        sql.SQL(", ").join(sql.Identifier("t", name) for name in model.key), table.name, arrays, names, names
    )
    return {tuple(row) for row in table.connection.execute(query).fetchall()}


def _sampled(table: Table, scope: str) -> sql.Composable:
    """Return the condition that a row `t` of a scope may be in a sample."""
    certain = sql.SQL("t.missing_since is null") if "missing_since" in system_columns(table) else EVERY_ROW
    return sql.SQL("{} and {}").format(certain, in_scope(table, scope))
