"""The statements that move rows: into a temporary table, from there into the target, or straight into an empty one."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import psycopg
from psycopg import sql

from canvas_sync_dagster.catalogue import Column, ColumnType
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.target import Target

HASH = Column("row_hash", ColumnType.BIGINT)
MAINTENANCE_MEMORY = "256MB"
"""For building indexes behind a first load; measured on a million rows, more gained nothing."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did to the target.

    Attributes:
        inserted: Rows that were not there.
        updated: Rows whose content changed.
        unchanged: Rows whose content was the same; at most their digest was written.
        superseded: Rows that differ and were observed later than the source.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0

    def __add__(self, other: Merged) -> Merged:
        return Merged(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.superseded + other.superseded,
        )


def names(columns: Iterable[str], alias: str | None = None) -> sql.Composed:
    """Lists columns: `"a", "b"`, or `t."a", t."b"`."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns)


def copy_frame(connection: Connection, table: sql.Composable, frame: pl.DataFrame) -> int:
    """Sends a frame into a table and returns the number of rows; columns go by name."""
    if frame.is_empty():
        return 0
    text = io.BytesIO()
    # Null is written as nothing and an empty text as "", as COPY reads them.
    frame.write_csv(text, include_header=False)
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(table, names(frame.columns))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(text.getbuffer())
    return frame.height


class Stage:
    """A temporary table that holds what may differ, until the transaction ends."""

    def __init__(self, connection: Connection, target: Target, columns: Sequence[Column]) -> None:
        self._connection = connection
        self._target = target
        self._content = [column.name for column in columns]
        self._rest = [name for name in self._content if name not in target.key]
        self.rows = 0
        self.name = sql.Identifier("pg_temp", "canvas_sync_stage")
        declared = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type.value))
            for column in (*columns, HASH)
        )
        connection.execute("drop table if exists pg_temp.canvas_sync_stage")
        connection.execute(sql.SQL("create temporary table canvas_sync_stage ({}) on commit drop").format(declared))

    def add(self, frame: pl.DataFrame) -> None:
        """Adds rows; a key may come only once."""
        self.rows += copy_frame(self._connection, self.name, frame)

    def merge(
        self, observed_at: datetime, *, sorted_by_key: bool, only_differing: bool = False, only_existing: bool = False
    ) -> Merged:
        """Merges the rows into the target: what differs, and was not observed later by somebody else.

        Args:
            observed_at: How fresh the rows are.
            sorted_by_key: Whether they were added in the order of the key. Several merges into one table lock its rows
                in that order, so that they wait for each other instead of deadlocking.
            only_differing: Whether rows that are equal are kept away from the upsert, which would lock them and so write
                WAL. Where digests have picked the rows, the join costs more than it spares.
            only_existing: Whether rows that the target lacks are left out; the digests of the others stay.
        """
        if not self.rows:
            return Merged()
        self._connection.execute(sql.SQL("analyze {}").format(self.name))
        filtered = only_differing or only_existing or not self._target.has_digests
        offered = self.existing() if only_existing else self.rows
        row = self._connection.execute(
            self._upsert(sorted_by_key, filtered, only_existing), {"observed_at": observed_at}
        ).fetchone()
        assert row is not None  # noqa: S101 (an aggregate always returns)
        inserted, updated, touched = (int(value) for value in row)
        left = offered - inserted - updated - touched
        superseded = self._count_superseded(observed_at) if left else 0
        return Merged(inserted, updated, touched + left - superseded, superseded)

    def _count_superseded(self, observed_at: datetime) -> int:
        if "observed_at" not in self._target.system:
            return 0
        condition = sql.SQL("where o.observed_at > {} and {}").format(observed_at, self._differs("o", "s"))
        return self._count(condition)

    def existing(self) -> int:
        """Counts the staged rows that the target has."""
        return self._count(sql.SQL(""))

    def _upsert(self, sorted_by_key: bool, filtered: bool, only_existing: bool) -> sql.Composed:
        system = self._target.system - ({"row_hash"} if only_existing else set())
        written = [*self._content, *(name for name in ("row_hash", "observed_at") if name in system)]
        values = [sql.SQL("%(observed_at)s") if n == "observed_at" else sql.Identifier("s", n) for n in written]
        updated = sql.SQL("updated_at = now()") if "updated_at" in system else sql.SQL("true")
        return sql.SQL(
            "with written as (insert into {target} as t ({columns}) select {values} from {stage} s {source} {order} "
            "on conflict ({key}) {action} returning xmax = 0 as inserted, {updated} as updated) "
            "select count(*) filter (where inserted), count(*) filter (where not inserted and updated), "
            "count(*) filter (where not inserted and not updated) from written"
        ).format(
            target=self._target.name,
            columns=names(written),
            values=sql.SQL(", ").join(values),
            stage=self.name,
            source=self._source(only_existing) if filtered else sql.SQL(""),
            order=sql.SQL("") if sorted_by_key else sql.SQL("order by {}").format(names(self._target.key, "s")),
            key=names(self._target.key),
            action=self._action(system),
            updated=updated,
        )

    def _action(self, system: frozenset[str]) -> sql.Composable:
        """What happens to a row that is there: nothing, unless it differs and was not observed later."""
        if not self._rest:
            return sql.SQL("do nothing")
        changed = self._differs("t", "excluded")
        sets: list[sql.Composable] = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in self._rest]
        conditions: list[sql.Composable] = [changed]
        if "updated_at" in system:
            sets.append(sql.SQL("updated_at = case when {} then now() else t.updated_at end").format(changed))
        if "missing_since" in system:
            sets.append(sql.SQL("missing_since = null"))
        if "row_hash" in system:
            sets.append(sql.SQL("row_hash = excluded.row_hash"))
            conditions.append(sql.SQL("t.row_hash is distinct from excluded.row_hash"))
        condition: sql.Composable = sql.SQL("({})").format(sql.SQL(" or ").join(conditions))
        if "observed_at" in system:
            sets.append(sql.SQL("observed_at = excluded.observed_at"))
            condition = sql.SQL("(t.observed_at is null or t.observed_at <= excluded.observed_at) and {}").format(
                condition
            )
        return sql.SQL("do update set {} where {}").format(sql.SQL(", ").join(sets), condition)

    def _source(self, only_existing: bool) -> sql.Composed:
        there = sql.SQL("o.{} is not null").format(sql.Identifier(self._target.key[0]))
        rule = sql.SQL("{} and {}") if only_existing else sql.SQL("not {} or {}")
        return sql.SQL("left join {} o using ({}) where {}").format(
            self._target.name, names(self._target.key), rule.format(there, self._differs("o", "s"))
        )

    def _differs(self, one: str, other: str) -> sql.Composable:
        if not self._rest:
            return sql.SQL("false")
        return sql.SQL("({}) is distinct from ({})").format(names(self._rest, one), names(self._rest, other))

    def _count(self, condition: sql.Composable) -> int:
        query = sql.SQL("select count(*) from {} s join {} o using ({}) {}").format(
            self.name, self._target.name, names(self._target.key), condition
        )
        row = self._connection.execute(query).fetchone()
        return int(row[0]) if row else 0


@contextmanager
def empty_table(connection: Connection, target: Target) -> Iterator[bool]:
    """Takes an empty table for loading straight into it, without its secondary indexes until the end.

    Yields:
        Whether it could be taken: it is empty, and nobody else holds it.
    """
    if not _is_empty(connection, target) or not _locked(connection, target) or not _is_empty(connection, target):
        yield False
        return
    definitions = _secondary_indexes(connection, target)
    for name, _ in definitions:
        connection.execute(sql.SQL("drop index {}").format(name))
    yield True
    connection.execute(sql.SQL("set local maintenance_work_mem = {}").format(MAINTENANCE_MEMORY))
    for _, definition in definitions:
        connection.execute(sql.SQL(definition))
    connection.execute(sql.SQL("analyze {}").format(target.name))


def _is_empty(connection: Connection, target: Target) -> bool:
    return connection.execute(sql.SQL("select 1 from {} limit 1").format(target.name)).fetchone() is None


def _locked(connection: Connection, target: Target) -> bool:
    try:
        with connection.transaction():
            connection.execute(sql.SQL("lock table {} in access exclusive mode nowait").format(target.name))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        return False
    return True


def _secondary_indexes(connection: Connection, target: Target) -> list[tuple[sql.Identifier, str]]:
    """Finds the indexes that guard nothing: not unique, not behind a constraint, not a cluster or replica identity."""
    rows = connection.execute(
        "select n.nspname, c.relname, pg_get_indexdef(i.indexrelid) from pg_index i join pg_class c on c.oid = i.indexrelid "
        "join pg_namespace n on n.oid = c.relnamespace where i.indrelid = %s::regclass and i.indisvalid "
        "and not i.indisunique and not i.indisexclusion and not i.indisclustered and not i.indisreplident "
        "and pg_get_userbyid(c.relowner) = current_user",
        (target.name.as_string(connection),),
    ).fetchall()
    return [(sql.Identifier(str(schema), str(name)), str(definition)) for schema, name, definition in rows]
