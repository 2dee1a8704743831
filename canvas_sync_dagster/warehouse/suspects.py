"""Suspects: rows with `missing_since`, because a complete source no longer lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from canvas_sync_dagster.warehouse.loading.target import system_columns
from canvas_sync_dagster.warehouse.warehouse import Table

SUSPICION = frozenset({"missing_since", "observed_at"})
"""System columns without which a table cannot have suspects."""


def has_suspects(table: Table) -> bool:
    """Return whether rows of the table can become suspects; an existing table may lack the columns."""
    return system_columns(table) >= SUSPICION


def count_suspects(table: Table) -> int:
    """Count the suspects of a table."""
    if not has_suspects(table):
        return 0
    query = sql.SQL("select count(*) from {} where missing_since is not null").format(table.name)
    row = table.connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def read_suspects(table: Table, columns: Iterable[str], limit: int) -> list[dict[str, Any]]:
    """Read the key and further columns of suspects, of some of them if there are more than the limit.

    The choice is random: rows that Canvas hides stay suspects, and the oldest would always come before the others.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys([*table.model.key, *columns])))
    query = sql.SQL("select {} from {} where missing_since is not null order by random() limit {}").format(
        names, table.name, sql.Literal(limit)
    )
    with table.connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(query).fetchall())
