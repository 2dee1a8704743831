"""The system columns that a statement sets together with the values of a row, as far as the table has them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from psycopg import sql

from canvas_sync_dagster.clocks import horizon

SYSTEM_VALUES: Mapping[str, sql.Composable] = {
    "updated_at": sql.SQL("now()"),
    "missing_since": sql.SQL("null"),
    "row_hash": sql.SQL("null"),
}


def assignments(
    values: Mapping[str, object], system: Collection[str], wanted: Collection[str], observed_at: datetime | None = None
) -> sql.Composed:
    """Return assignments: the values, and those wanted system columns that the table has.

    Args:
        values: Column → value.
        system: Columns of the system that the table has.
        wanted: System columns to write.
        observed_at: How fresh the row is now; None leaves it.
    """
    assigned: dict[str, sql.Composable] = {name: sql.Literal(value) for name, value in values.items()}
    assigned |= {name: SYSTEM_VALUES[name] for name in wanted if name in system}
    if observed_at is not None and "observed_at" in system:
        assigned["observed_at"] = sql.Literal(observed_at)
    return sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), each) for name, each in assigned.items())


def not_observed_after(observed_at: datetime, system: Collection[str]) -> sql.Composable:
    """Return the SQL condition that row `t` has no newer observation; one in the future is none."""
    if "observed_at" not in system:
        return sql.SQL("true")
    return sql.SQL("(t.observed_at is null or t.observed_at <= {} or t.observed_at > {})").format(
        sql.Literal(observed_at), sql.Literal(horizon())
    )
