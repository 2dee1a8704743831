"""SQL conditions on the rows of a table, which has the alias `t` in the statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl
from psycopg import sql

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.catalogue.model import CONTEXTS
from canvas_sync_dagster.warehouse.warehouse import Table

EVERY_ROW = sql.SQL("true")
NO_ROW = sql.SQL("false")
ACCOUNT = "canvas_account_id"
"""Column of a course with the id of its account."""


def in_scope(table: Table, scope: str) -> sql.Composable:
    """Return the condition that a row belongs to a term.

    Args:
        table: Of the row.
        scope: Canvas term id; empty for all rows. A row without a complete path to its term belongs to none.
    """
    if not scope:
        return EVERY_ROW
    if not _finds_term(table):
        return NO_ROW
    column, *parent = table.model.term_by
    if not parent:
        return sql.SQL("{} = {}").format(sql.Identifier("t", column), sql.Literal(int(scope)))
    above = table.sibling(parent[0])
    return sql.SQL("{} in (select t.{} from {} t where {})").format(
        sql.Identifier("t", column), sql.Identifier(above.model.key[0]), above.name, in_scope(above, scope)
    )


def has_term(table: Table) -> sql.Composable:
    """Return the condition that the tables show which term a row belongs to."""
    if not _finds_term(table):
        return NO_ROW
    column, *parent = table.model.term_by
    if not parent:
        return sql.SQL("{} is not null").format(sql.Identifier("t", column))
    above = table.sibling(parent[0])
    return sql.SQL("coalesce({} in (select t.{} from {} t where {}), false)").format(
        sql.Identifier("t", column), sql.Identifier(above.model.key[0]), above.name, has_term(above)
    )


def _finds_term(table: Table) -> bool:
    """Return whether the tables show the terms of a model's rows; false if a parent on the path is not synced."""
    path = table.model.term_by
    return bool(path) and all(name in table.warehouse.models for name in path[1:])


def below_accounts(table: Table, accounts: Sequence[int]) -> sql.Composable:
    """Return the condition that the course of a row belongs to one of some accounts, or to an account below one of them.

    Args:
        table: Of the row. A row without a complete path to its course's account belongs to none.
        accounts: Canvas ids. Accounts below them are found in the table of accounts, if that is synced.
    """
    if not _finds_term(table):
        return NO_ROW
    column, *parent = table.model.term_by
    if parent:
        above = table.sibling(parent[0])
        return sql.SQL("{} in (select t.{} from {} t where {})").format(
            sql.Identifier("t", column),
            sql.Identifier(above.model.key[0]),
            above.name,
            below_accounts(above, accounts),
        )
    if not any(each.name == ACCOUNT for each in table.model.columns):
        return NO_ROW
    given = sql.SQL("select unnest({}::bigint[])").format(sql.Literal(list(accounts)))
    if "accounts" not in table.warehouse.models:
        return sql.SQL("t.{} in ({})").format(sql.Identifier(ACCOUNT), given)
    tree = table.sibling("accounts")
    return sql.SQL(
        "t.{} in (with recursive c (id) as ({} union select a.{} from {} a join c on a.canvas_parent_account_id = c.id) "
        "select id from c)"
    ).format(sql.Identifier(ACCOUNT), given, sql.Identifier(tree.model.key[0]), tree.name)


def not_deleted(model: Model) -> sql.Composable:
    """Return the condition that a row is not marked as deleted."""
    conditions: list[sql.Composable] = [
        sql.SQL("{} is distinct from {}").format(sql.Identifier("t", name), sql.Literal(value))
        for name, value in model.deleted_values.items()
    ]
    return sql.SQL("({})").format(sql.SQL(" or ").join(conditions)) if conditions else EVERY_ROW


def covered_by_list(feed: RestFeed, unread: Sequence[int]) -> sql.Composable:
    """Return the condition that a row does not belong to a list that could not be read over REST.

    Args:
        feed: Of the lists.
        unread: Ids of the parents whose lists could not be read; their rows are not covered.
    """
    conditions: list[sql.Composable] = [EVERY_ROW]
    if feed.among is not None:
        column, value = feed.among
        conditions.append(sql.SQL("{} = {}").format(sql.Identifier("t", column), sql.Literal(value)))
    if isinstance(feed.holder, str) and unread:
        holder, ids = sql.Identifier("t", feed.holder), sql.Literal(list(unread))
        conditions.append(sql.SQL("({0} is null or {0} <> all({1}))").format(holder, ids))
    return sql.SQL(" and ").join(conditions)


def held_by(table: Table, feed: RestFeed, parents: Sequence[int]) -> sql.Composable:
    """Return the condition that a row belongs to the lists of some parents.

    Args:
        table: Of the row.
        feed: Of the lists.
        parents: Ids of the parents; those of accounts among courses are negative.
    """
    conditions = [covered_by_list(feed, ())]
    if isinstance(feed.holder, str) and feed.per == CONTEXTS:
        conditions.append(_in_context(feed.holder, parents))
    elif isinstance(feed.holder, str):
        conditions.append(_is_one_of(sql.Identifier("t", feed.holder), parents))
    elif feed.holder is not None:
        column, name, holder = feed.holder
        between = table.sibling(name)
        held = _is_one_of(sql.Identifier("h", holder), parents)
        conditions.append(
            sql.SQL("{} in (select h.{} from {} h where {})").format(
                sql.Identifier("t", column), sql.Identifier(between.model.key[0]), between.name, held
            )
        )
    return sql.SQL(" and ").join(conditions)


def _in_context(holder: str, parents: Sequence[int]) -> sql.Composable:
    kinds = {"Course": [number for number in parents if number > 0], "Account": [-each for each in parents if each < 0]}
    either = [
        sql.SQL("(t.canvas_context_type = {} and {})").format(
            sql.Literal(kind), _is_one_of(sql.Identifier("t", holder), ids)
        )
        for kind, ids in kinds.items()
    ]
    return sql.SQL("({})").format(sql.SQL(" or ").join(either))


def _is_one_of(column: sql.Composable, ids: Sequence[int]) -> sql.Composable:
    return sql.SQL("{} = any({}::bigint[])").format(column, sql.Literal(list(ids)))


def written_since(since: datetime, alias: str) -> sql.Composable:
    """Return the condition that this copy of a row was written since a time; the table must have `updated_at`."""
    return sql.SQL("{} >= {}").format(sql.Identifier(alias, "updated_at"), sql.Literal(since))


def refers_to(
    table: Table, other: Table, column: str, condition: sql.Composable = EVERY_ROW, *, own: str | None = None
) -> sql.Composable:
    """Return the condition that a row of another table refers to a row of this one.

    Args:
        table: Table with a key of one column.
        other: The other table; its rows have the alias `r`.
        column: Its column with the key.
        condition: Further SQL condition on rows `r`.
        own: Column of this row that the other one holds; the key if not given.
    """
    return sql.SQL("exists (select from {} r where r.{} = t.{} and {})").format(
        other.name, sql.Identifier(column), sql.Identifier(own or table.model.key[0]), condition
    )


def has_key_of(model: Model, keys: pl.DataFrame) -> tuple[sql.Composed, sql.Composed]:
    """Return keys as a table expression, and the condition that a row has the key of its row, which has the alias `g`."""
    arrays = [
        sql.SQL("{}::{}[]").format(sql.Literal(keys.get_column(name).to_list()), sql.SQL(model[name].type.value))
        for name in model.key
    ]
    table = sql.SQL("(select * from unnest({}) as k ({})) g").format(
        sql.SQL(", ").join(arrays), sql.SQL(", ").join(map(sql.Identifier, model.key))
    )
    equal = [sql.SQL("t.{0} = g.{0}").format(sql.Identifier(name)) for name in model.key]
    return table, sql.SQL(" and ").join(equal)
