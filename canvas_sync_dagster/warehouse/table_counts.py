"""What a table holds after a load: its rows, its suspects, its orphans, by one look at all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.warehouse.absence import has_suspects, not_deleted
from canvas_sync_dagster.warehouse.connection import Connection


@dataclass(frozen=True, slots=True)
class TableCounts:
    """What a table holds.

    Attributes:
        rows: All of them.
        suspects: Rows that are suspected to be gone.
        orphans: Parent model → live rows that point to a row which is not there.
    """

    rows: int
    suspects: int
    orphans: Mapping[str, int] = field(default_factory=dict)


def count_rows(connection: Connection, schema: str, model: Model, models: Mapping[str, Model]) -> TableCounts:
    """Counts, in one pass: measured on 1.6 million submissions, it takes 1.5 s where one pass per count took 3.1 s."""
    parents = list(model.references(models))
    suspected = sql.SQL("t.missing_since is not null" if has_suspects(connection, schema, model) else "false")
    counted: list[sql.Composable] = [suspected]
    joins: list[sql.Composable] = []
    for number, (column, parent) in enumerate(parents):
        alias, key = sql.Identifier(f"p{number}"), sql.Identifier(parent.key[0])
        child = sql.Identifier("t", column)
        counted.append(sql.SQL("{} is not null and {} and {}.{} is null").format(child, not_deleted(model), alias, key))
        joins.append(
            sql.SQL("left join {} {} on {}.{} = {}").format(
                sql.Identifier(schema, parent.table), alias, alias, key, child
            )
        )
    query = sql.SQL("select count(*), {} from {} t {}").format(
        sql.SQL(", ").join(sql.SQL("count(*) filter (where {})").format(each) for each in counted),
        sql.Identifier(schema, model.table),
        sql.SQL(" ").join(joins),
    )
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 (an aggregate always returns)
    rows, suspects, *orphans = (int(value) for value in row)
    return TableCounts(rows, suspects, {parent.name: n for (_, parent), n in zip(parents, orphans, strict=True)})
