"""Counts of a table after a load: rows, suspects and orphans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg import errors, sql

from canvas_sync_dagster.warehouse.row_conditions import EVERY_ROW, in_scope, not_deleted
from canvas_sync_dagster.warehouse.suspects import has_suspects
from canvas_sync_dagster.warehouse.warehouse import Table


@dataclass(frozen=True, slots=True)
class TableCounts:
    """Counts of a table.

    Attributes:
        rows: All rows.
        suspects: Rows that a complete source no longer lists.
        orphans: Parent model → live rows that refer to a row of it that does not exist.
    """

    rows: int
    suspects: int
    orphans: Mapping[str, int] = field(default_factory=dict)


def count_rows(table: Table) -> TableCounts:
    """Count in one pass: on 1.6 million submissions it takes 1.5 s, one pass per count 3.1 s."""
    parents = [
        (column, table.sibling(parent.name)) for column, parent in table.model.references(table.warehouse.models)
    ]
    suspected = sql.SQL("t.missing_since is not null" if has_suspects(table) else "false")
    counted: list[sql.Composable] = [suspected]
    joins: list[sql.Composable] = []
    for number, (column, parent) in enumerate(parents):
        child, parent_alias = sql.Identifier("t", column), f"p{number}"
        parent_key = sql.Identifier(parent_alias, parent.model.key[0])
        counted.append(
            sql.SQL("{} is not null and {} and {} is null").format(child, not_deleted(table.model), parent_key)
        )
        joins.append(
            sql.SQL("left join {} {} on {} = {}").format(parent.name, sql.Identifier(parent_alias), parent_key, child)
        )
    query = sql.SQL("select count(*), {} from {} t {}").format(
        sql.SQL(", ").join(sql.SQL("count(*) filter (where {})").format(each) for each in counted),
        table.name,
        sql.SQL(" ").join(joins),
    )
    row = table.connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 (an aggregate always returns)
    rows, suspects, *orphans = (int(value) for value in row)
    names = [parent.model.name for _, parent in parents]
    return TableCounts(rows, suspects, dict(zip(names, orphans, strict=True)))


def count_matching(table: Table, condition: sql.Composable = EVERY_ROW) -> int:
    """Count the rows that match an SQL condition; 0 if the table, or a column of the condition, does not exist."""
    query = sql.SQL("select count(*) from {} where {}").format(table.name, condition)
    try:
        with table.connection.transaction():
            row = table.connection.execute(query).fetchone()
    except (errors.UndefinedTable, errors.UndefinedColumn):
        return 0
    return int(row[0]) if row else 0


def count_outside(table: Table, scope: str, covered: sql.Composable) -> int:
    """Count the live rows of a scope that a source does not cover.

    Args:
        table: Of the rows.
        scope: Canvas term id of the source; empty for all rows.
        covered: SQL condition on rows `t`: the source covers the row.
    """
    query = sql.SQL("select count(*) from {} t where {} and {} and not coalesce({}, false)").format(
        table.name, in_scope(table, scope), not_deleted(table.model), covered
    )
    row = table.connection.execute(query).fetchone()
    return int(row[0]) if row else 0
