"""Absence is not deletion: rows that a complete source no longer lists become suspects, unless too many vanish at once.

A suspect keeps its content and carries `missing_since`. It is marked as deleted only if Canvas confirms the deletion of
the single object.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from psycopg import sql

from canvas_sync_dagster.errors import VolumeGateError
from canvas_sync_dagster.warehouse.key_comparison import compare_keys
from canvas_sync_dagster.warehouse.listed_keys import ListedKeys
from canvas_sync_dagster.warehouse.loading.system_columns import assignments, not_observed_after
from canvas_sync_dagster.warehouse.loading.target import system_columns
from canvas_sync_dagster.warehouse.reading.source import Source, described
from canvas_sync_dagster.warehouse.row_conditions import EVERY_ROW, has_key_of, in_scope
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.suspects import SUSPICION
from canvas_sync_dagster.warehouse.warehouse import Table


@dataclass(frozen=True, slots=True)
class VolumeGate:
    """Share of a scope that may vanish at once.

    Attributes:
        minimum: Rows; fewer are always believed to be missing, though still not to be deleted.
        hold: Share of the scope's rows above which nothing is marked.
        refuse: Share above which the whole load is refused.
    """

    minimum: int = 5
    hold: float = 0.2
    refuse: float = 0.5


GATE = VolumeGate()
"""A course list does not shrink by a fifth between two syncs; a filter, a lagging replica or a cut file makes it."""


@dataclass(frozen=True, slots=True)
class Absence:
    """What a complete source no longer lists.

    Attributes:
        expected: Live rows that the table has in the scope.
        missing: Those of them that the source does not list.
        held: Why they were not marked; empty if they were.
    """

    expected: int = 0
    missing: int = 0
    held: str = ""


def judge(expected: int, missing: int, gate: VolumeGate = GATE) -> str:
    """Return what to do about missing rows: `mark` them, `hold` them back, or `refuse` the load.

    >>> [judge(100, 3), judge(100, 30), judge(100, 90), judge(4, 4)]
    ['mark', 'hold', 'refuse', 'mark']
    """
    if missing < gate.minimum or missing <= gate.hold * expected:
        return "mark"
    return "hold" if missing <= gate.refuse * expected else "refuse"


def mark_missing(
    table: Table,
    source: Source,
    listed: ListedKeys,
    *,
    gate: VolumeGate | None = GATE,
    among: sql.Composable = EVERY_ROW,
    values: Mapping[str, str] | None = None,
) -> Absence:
    """Mark the rows of a scope that a complete source does not list, in the load's transaction.

    Args:
        table: Of the rows.
        source: Complete; its scope is a term, or empty for all rows.
        listed: Key of each record of the source.
        gate: None accepts any number of missing rows, after a person confirmed the drop.
        among: SQL condition on rows `t`: the source covers the row.
        values: Written to the missing rows in place of a suspicion, where the source alone is proof enough.

    Raises:
        VolumeGateError: So much is missing that the source itself is in doubt.
    """
    system = system_columns(table)
    if source.is_outdated or not (values or system >= SUSPICION):
        return Absence()
    seen = not_observed_after(source.observed_at, system)
    difference = compare_keys(table, source.scope, listed, among=among, seen=seen)
    expected, missing = difference.expected, difference.gone.height
    verdict = judge(expected, missing, gate) if gate else "mark"
    drop = f"{missing:,} of {expected:,} rows are missing at once" if verdict == "hold" else None
    Watermarks(table.warehouse).keep_held(table.model.name, source.scope, drop)
    if verdict == "mark":
        if source.scope:
            watermarks = Watermarks(table.warehouse)
            watermarks.keep_out_of_scope_keys(table.model.name, source.scope, difference.out_of_scope)
        _mark(table, difference.gone, _written(source, system, values))
        return Absence(expected, missing)
    problem = (
        f"{described(table.model.name, source)}: {missing:,} of {expected:,} rows are missing at once. "
        "A filter, a lagging replica or a truncated file is more likely than so many deletions"
    )
    if verdict == "hold":
        return Absence(expected, missing, f"{problem}; none was marked.")
    raise VolumeGateError(
        f"{problem}. Nothing was published. Look at the report in Canvas; if it is right, run again with "
        "`accept_shrinkage: true` in sync_options."
    )


def _written(source: Source, system: Collection[str], values: Mapping[str, str] | None) -> dict[str, sql.Composable]:
    """Return what is written to a missing row: a suspicion, or the values that the source proves."""
    if not values:
        return {"missing_since": sql.SQL("now()")}
    written: dict[str, sql.Composable] = {name: sql.Literal(value) for name, value in values.items()}
    ours = {"updated_at": sql.SQL("now()"), "observed_at": sql.Literal(source.observed_at), "row_hash": sql.SQL("null")}
    return written | {name: value for name, value in ours.items() if name in system}


def _mark(table: Table, gone: pl.DataFrame, written: Mapping[str, sql.Composable]) -> None:
    if gone.is_empty():
        return
    sets = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in written.items())
    # A suspect keeps the time since when it is one, and is not written again.
    unmarked = sql.SQL("t.missing_since is null") if "missing_since" in written else EVERY_ROW
    keys, same_key = has_key_of(table.model, gone)
    table.connection.execute(
        sql.SQL("update {} t set {} from {} where {} and {}").format(table.name, sets, keys, same_key, unmarked)
    )


def clear_unlisted(
    table: Table,
    source: Source,
    *,
    columns: Sequence[str],
    listed: ListedKeys,
    among: sql.Composable = EVERY_ROW,
) -> int:
    """Set columns that only an enriching table of the report fills to null, on the rows that it no longer lists.

    Args:
        table: Of the rows.
        source: Complete; its scope is a term, or empty for all rows.
        columns: Columns that the enriching table fills.
        listed: Keys that it lists.
        among: SQL condition on rows `t`: the source covers the row.

    Returns:
        Number of changed rows.
    """
    system = system_columns(table)
    filled = sql.SQL(" or ").join(sql.SQL("t.{} is not null").format(sql.Identifier(name)) for name in columns)
    keys, same_key = has_key_of(table.model, listed.frame())
    cursor = table.connection.execute(
        sql.SQL("update {} t set {} where ({}) and {} and {} and {} and not exists (select from {} where {})").format(
            table.name,
            assignments(dict.fromkeys(columns), system, ["updated_at"]),
            filled,
            in_scope(table, source.scope),
            among,
            not_observed_after(source.observed_at, system),
            keys,
            same_key,
        )
    )
    return cursor.rowcount
