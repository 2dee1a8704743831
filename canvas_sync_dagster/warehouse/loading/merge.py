"""The statements that move rows: to a temporary table, from there to the target, or directly to an empty target."""

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
from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.history import unrecorded
from canvas_sync_dagster.warehouse.loading.target import Target
from canvas_sync_dagster.warehouse.state.digests_beside import record_digests

HASH = Column("row_hash", ColumnType.BIGINT)
OBSERVED = Column("observed_at", ColumnType.TIMESTAMP)
MANY = 100_000
"""Minimum number of staged rows for which existing rows are updated in one pass along the key."""
INTEGERS = ("bigint", "integer", "smallint")
"""Types that Polars orders as PostgreSQL does; the order of texts depends on a collation."""
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

    @property
    def rows(self) -> int:
        """How many rows that is."""
        return self.inserted + self.updated + self.unchanged + self.superseded

    def __add__(self, other: Merged) -> Merged:
        return Merged(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.superseded + other.superseded,
        )


NOTHING = Merged()


def names(columns: Iterable[str], alias: str | None = None) -> sql.Composed:
    """Return a list of columns: `"a", "b"`, or `t."a", t."b"`."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns)


def copy_frame(connection: Connection, table: sql.Composable, frame: pl.DataFrame) -> int:
    """Copy a frame into a table by the names of its columns, and return the number of rows."""
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
    """A temporary table that holds what may differ, until the transaction ends.

    Args:
        target: Where the rows go in the end.
        columns: What is loaded.
        timed: Whether each row has its own observation, in `observed_at`.
    """

    def __init__(self, target: Target, columns: Sequence[Column], *, timed: bool = False) -> None:
        self._connection = connection = target.connection
        self._timed = timed
        self._target = target
        self._content = [column.name for column in columns]
        self._rest = [name for name in self._content if name not in target.key]
        self.rows = 0
        # An observation in the future is a clock's error, and counts as none.
        self._horizon = sql.Literal(horizon())
        self.name = sql.Identifier("pg_temp", "canvas_sync_stage")
        declared = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type.value))
            for column in (*columns, HASH, *([OBSERVED] if timed else []))
        )
        connection.execute("drop table if exists pg_temp.canvas_sync_stage")
        connection.execute(sql.SQL("create temporary table canvas_sync_stage ({}) on commit drop").format(declared))

    def add(self, frame: pl.DataFrame) -> None:
        """Adds rows; a key may come only once."""
        self.rows += copy_frame(self._connection, self.name, frame)

    def clear(self) -> None:
        """Forget all rows."""
        self._connection.execute(sql.SQL("truncate {}").format(self.name))
        self.rows = 0

    def merge_records(self, observed_at: datetime) -> Merged:
        """Merge records of a report: those that differ and have no newer observation.

        Several merges into one table lock its rows in the order of the key, so that they wait for each other instead of
        deadlocking.

        Args:
            observed_at: How fresh the rows are; they were added in the order of the key.

        Raises:
            SchemaError: A trigger of the table left rows out.
        """
        if not self.rows:
            return NOTHING
        self._analyze()
        # Where digests have picked the rows, a join that drops equal ones costs more than it spares.
        filtered = not self._target.has_digest_column
        digest = sql.SQL("excluded.row_hash")
        touched = [] if filtered else [sql.SQL("t.row_hash is distinct from excluded.row_hash")]
        is_large = self.rows >= MANY and self._target.has_digest_column
        done = self._updated(observed_at, digest, touched) if is_large else NOTHING
        # Rows that were just written are equal now, and an upsert would lock them again.
        filtered = filtered or done.rows > 0
        is_ordered = not filtered and all(self._target.types[name] in INTEGERS for name in self._target.key)
        merged = self._upserted(observed_at, filtered, is_ordered, digest, touched, done)
        if merged.superseded and self._target.has_digest_column:
            self._forget_wrong_digests()
        if self._target.digests_beside is not None:
            is_equal = sql.SQL("not ({})").format(self._differs("o", "s"))
            record_digests(self._target.table, self._target.digests_beside, self.name, is_equal)
        return merged

    def _forget_wrong_digests(self) -> None:
        """Remove digests of superseded rows that differ from the record that the digest is of.

        A load that ignores digests stages such rows: a column was emptied, and the row has a newer observation than the
        report. Without a digest, the next report that lists the row fills it.
        """
        condition = sql.SQL(" and ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(n)) for n in self._target.key)
        statement = sql.SQL("update {} t set row_hash = null from {} s where {} and t.row_hash = s.row_hash and {}")
        self._connection.execute(statement.format(self._target.name, self.name, condition, self._differs("t", "s")))

    def merge_rows(self, observed_at: datetime, *, refresh: bool) -> Merged:
        """Merge rows of REST; a changed row loses its digest, because its content is not that of a report's record.

        Args:
            observed_at: How fresh the rows are.
            refresh: Whether equal rows get the new observation, too. Needed where no watermark has it: else an older
                report that comes later would bring its older content back.
        """
        if not self.rows:
            return NOTHING
        self._analyze()
        digest = sql.SQL("case when {} then null else t.row_hash end").format(self._differs("t", "excluded"))
        refresh = refresh and "observed_at" in self._target.system
        touched = [sql.SQL("t.observed_at is distinct from excluded.observed_at")] if refresh else []
        return self._upserted(observed_at, not refresh, False, digest, touched)

    def update_existing(self, observed_at: datetime) -> Merged:
        """Set the columns on the rows that the target has, and leave their digests; absent rows count as superseded.

        Args:
            observed_at: How fresh the rows are.
        """
        if not self.rows:
            return NOTHING
        self._analyze()
        known = self._count(sql.SQL(""))
        sets, condition = self._assignments(None, [])
        row = self._connection.execute(
            sql.SQL(
                "with s as materialized (select s.*, {observed} as observed_at from {stage} s join {target} o "
                "using ({key}) where {differs} order by {ordered} for no key update of o), "
                "written as (update {target} t set {sets} from s as excluded where ({mine}) = ({theirs}) and {condition} "
                "returning 1) select count(*) from written"
            ).format(
                observed=sql.SQL("{}::timestamptz").format(observed_at),
                stage=self.name,
                target=self._target.name,
                key=names(self._target.key),
                differs=self._differs("o", "s"),
                ordered=names(self._target.key, "s"),
                sets=sets,
                mine=names(self._target.key, "t"),
                theirs=names(self._target.key, "excluded"),
                condition=condition,
            )
        ).fetchone()
        updated = int(row[0]) if row else 0
        superseded = self._count_superseded(observed_at)
        return Merged(0, updated, known - updated - superseded, superseded + self.rows - known)

    def _upserted(
        self,
        observed_at: datetime,
        filtered: bool,
        is_ordered: bool,
        digest: sql.Composable,
        touched: Sequence[sql.Composable],
        done: Merged = NOTHING,
    ) -> Merged:
        if done.rows == self.rows:
            self._refuse_left_out()
            return done
        row = self._connection.execute(
            self._upsert(filtered, is_ordered, digest, touched), {"observed_at": observed_at}
        ).fetchone()
        assert row is not None  # noqa: S101 (an aggregate always returns)
        done = done + Merged(*(int(value) for value in row))
        self._refuse_left_out()
        left = self.rows - done.rows
        superseded = self._count_superseded(observed_at) if left else 0
        return done + Merged(unchanged=left - superseded, superseded=superseded)

    def _updated(self, observed_at: datetime, digest: sql.Composable, touched: Sequence[sql.Composable]) -> Merged:
        """Write what differs to the existing rows, in one pass along the key.

        When all of a million rows change it takes 11.0 s, an upsert 12.5 s. Where few change the upsert is quicker.
        """
        sets, condition = self._assignments(digest, touched)
        statement = sql.SQL(
            "with written as (update {target} t set {sets} from (select s.*, {observed} as observed_at from {stage} s "
            "order by {ordered}) as excluded where ({mine}) = ({theirs}) and {condition} "
            "returning {returned}, false as inserted) "
            "select count(*) filter (where {updated}), count(*) filter (where not {updated}) from {written}"
        ).format(
            target=self._target.name,
            sets=sets,
            observed=sql.SQL("{}::timestamptz").format(observed_at),
            stage=self.name,
            ordered=names(self._target.key, "s"),
            mine=names(self._target.key, "t"),
            theirs=names(self._target.key, "excluded"),
            condition=condition,
            **self._judged(),
        )
        with without_hash_joins(self._connection):
            row = self._connection.execute(statement).fetchone()
        updated, seen = (int(value) for value in row or (0, 0))
        return Merged(updated=updated, unchanged=seen)

    def _judged(self) -> dict[str, sql.Composable]:
        """Return the parts of a statement that count the rows which it wrote.

        Whether a row's content changed is seen by its `updated_at`, which the statement set. Where a trigger may set it,
        too, or there is none, the row is compared with what it was when the statement began. A row that was changed by
        another transaction in between is then counted by its older content.
        """
        if "updated_at" in self._target.system and not self._target.triggers:
            return {
                "returned": sql.SQL("t.updated_at = now() as updated"),
                "updated": sql.SQL("updated"),
                "written": sql.SQL("written"),
            }
        return {
            "returned": names(self._target.key, "t"),
            "updated": self._differs("o", "s"),
            "written": sql.SQL("written join {stage} s using ({key}) left join {target} o using ({key})").format(
                stage=self.name, key=names(self._target.key), target=self._target.name
            ),
        }

    def _refuse_left_out(self) -> None:
        """Refuse a table whose trigger dropped rows or gave them other keys: they would be counted, and lost.

        Raises:
            SchemaError: Names table and triggers.
        """
        if not self._target.triggers:
            return
        condition = sql.SQL(" and ").join(
            sql.SQL("o.{0} = s.{0}").format(sql.Identifier(name)) for name in self._target.key
        )
        query = sql.SQL("select count(*) from {} s where not exists (select from {} o where {})").format(
            self.name, self._target.name, condition
        )
        row = self._connection.execute(query).fetchone()
        if row and row[0]:
            table = self._target.name.as_string(self._connection).replace('"', "")
            raise SchemaError(
                f"{table}: {row[0]} of {self.rows} rows were left out by a trigger of the table "
                f"({', '.join(self._target.triggers)}). Nothing was published. Let the trigger return every row with its key."
            )

    def _upsert(
        self, filtered: bool, is_ordered: bool, digest: sql.Composable, touched: Sequence[sql.Composable]
    ) -> sql.Composed:
        stamps = [name for name in ("observed_at", "created_at", "updated_at") if name in self._target.system]
        digests = ["row_hash"] if self._target.has_digest_column else []
        written = [*self._content, *digests, *stamps]
        values: list[sql.Composable] = [sql.Identifier("s", name) for name in (*self._content, *digests)]
        observed = sql.SQL("s.observed_at") if self._timed else sql.SQL("%(observed_at)s")
        values += [observed if name == "observed_at" else sql.SQL("now()") for name in stamps]
        sets, condition = self._assignments(digest, touched)
        action = sql.SQL("update set {} where {}").format(sets, condition) if self._rest else sql.SQL("nothing")
        return sql.SQL(
            "with written as (insert into {target} as t ({columns}) {overriding} select {values} from {stage} s {source} "
            "{order} on conflict ({key}) do {action} returning t.xmax = 0 as inserted, {returned}) "
            "select count(*) filter (where inserted), count(*) filter (where not inserted and {updated}), "
            "count(*) filter (where not inserted and not {updated}) from {written}"
        ).format(
            target=self._target.name,
            columns=names(written),
            values=sql.SQL(", ").join(values),
            stage=self.name,
            source=self._only_differing() if filtered else sql.SQL(""),
            order=sql.SQL("") if is_ordered else sql.SQL("order by {}").format(names(self._target.key, "s")),
            key=names(self._target.key),
            action=action,
            overriding=sql.SQL("overriding system value" if self._target.overrides_identity else ""),
            **self._judged(),
        )

    def _assignments(
        self, digest: sql.Composable | None, touched: Sequence[sql.Composable]
    ) -> tuple[sql.Composable, sql.Composable]:
        """Return what is written to an existing row, and the condition: it differs and has no newer observation."""
        system, changed = self._target.system, self._differs("t", "excluded")
        sets: list[sql.Composable] = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in self._rest]
        conditions: list[sql.Composable] = [changed, *touched]
        if "updated_at" in system:
            sets.append(sql.SQL("updated_at = case when {} then now() else t.updated_at end").format(changed))
        if "row_hash" in system and digest is not None:
            sets.append(sql.SQL("row_hash = {}").format(digest))
        if "missing_since" in system:
            sets.append(sql.SQL("missing_since = null"))
            conditions.append(sql.SQL("t.missing_since is not null"))
        condition = sql.SQL("({})").format(sql.SQL(" or ").join(conditions))
        if "observed_at" in system:
            sets.append(sql.SQL("observed_at = excluded.observed_at"))
            order = sql.SQL("(t.observed_at is null or t.observed_at <= excluded.observed_at or {}) and ({} or {})")
            future = self._observed_in_future("t")
            condition = order.format(future, condition, future)
        return sql.SQL(", ").join(sets), condition

    def _only_differing(self) -> sql.Composed:
        """Return a join that keeps equal rows away from the upsert, which would lock them and so write WAL."""
        anyway: list[sql.Composable] = [self._differs("o", "s")]
        if "missing_since" in self._target.system:
            anyway.append(sql.SQL("o.missing_since is not null"))
        if "observed_at" in self._target.system:
            anyway.append(self._observed_in_future("o"))
        return sql.SQL("left join {} o using ({}) where o.{} is null or {}").format(
            self._target.name,
            names(self._target.key),
            sql.Identifier(self._target.key[0]),
            sql.SQL(" or ").join(anyway),
        )

    def _observed_in_future(self, alias: str) -> sql.Composable:
        return sql.SQL("{} > {}").format(sql.Identifier(alias, "observed_at"), self._horizon)

    def _differs(self, one: str, other: str) -> sql.Composable:
        if not self._rest:
            return sql.SQL("false")
        mine, theirs = (
            sql.SQL(", ").join(self._target.comparable(alias, name) for name in self._rest) for alias in (one, other)
        )
        return sql.SQL("({}) is distinct from ({})").format(mine, theirs)

    def _count_superseded(self, observed_at: datetime) -> int:
        if "observed_at" not in self._target.system:
            return 0
        observed: sql.Composable = sql.SQL("s.observed_at") if self._timed else sql.Literal(observed_at)
        newer = sql.SQL("where o.observed_at > {} and not {} and {}")
        return self._count(newer.format(observed, self._observed_in_future("o"), self._differs("o", "s")))

    def _count(self, condition: sql.Composable) -> int:
        query = sql.SQL("select count(*) from {} s join {} o using ({}) {}").format(
            self.name, self._target.name, names(self._target.key), condition
        )
        row = self._connection.execute(query).fetchone()
        return int(row[0]) if row else 0

    def _analyze(self) -> None:
        """Give the planner the number of rows and the distribution of keys; other columns do not matter for the plan."""
        self._connection.execute(sql.SQL("analyze {} ({})").format(self.name, names(self._target.key)))


@contextmanager
def without_hash_joins(connection: Connection) -> Iterator[None]:
    """Keep joins in the order of the key: rows are locked in that order, and written where they are on disk."""
    (before,) = connection.execute("select current_setting('enable_hashjoin')").fetchone() or ("on",)
    connection.execute("set local enable_hashjoin = off")
    yield
    connection.execute("select set_config('enable_hashjoin', %s, true)", (before,))


@contextmanager
def empty_table(target: Target) -> Iterator[bool]:
    """Lock an empty table for loading into it directly; its secondary indexes are built at the end.

    Yields:
        Whether the table is plain and empty, and no other transaction holds it.
    """
    if not target.plain or not _is_empty(target) or not _locked(target) or not _is_empty(target):
        yield False
        return
    connection, definitions = target.connection, _secondary_indexes(target)
    for name, _ in definitions:
        connection.execute(sql.SQL("drop index {}").format(name))
    yield True
    connection.execute(sql.SQL("set local maintenance_work_mem = {}").format(MAINTENANCE_MEMORY))
    for _, definition in definitions:
        connection.execute(sql.SQL(definition))
    connection.execute(sql.SQL("analyze {}").format(target.name))


def _is_empty(target: Target) -> bool:
    return target.connection.execute(sql.SQL("select 1 from {} limit 1").format(target.name)).fetchone() is None


def delete_all(target: Target) -> None:
    """Delete the rows of a table that was taken empty; TRUNCATE would need a right more, and no foreign key to it."""
    with unrecorded(target.connection):
        target.connection.execute(sql.SQL("delete from {}").format(target.name))


def _locked(target: Target) -> bool:
    try:
        with target.connection.transaction():
            target.connection.execute(sql.SQL("lock table {} in access exclusive mode nowait").format(target.name))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        return False
    return True


def _secondary_indexes(target: Target) -> list[tuple[sql.Identifier, str]]:
    """Return the indexes that guard nothing and that their definition restores completely."""
    rows = target.connection.execute(
        "select n.nspname, c.relname, pg_get_indexdef(i.indexrelid) from pg_index i join pg_class c on c.oid = i.indexrelid "
        "join pg_namespace n on n.oid = c.relnamespace where i.indrelid = %s::regclass and i.indisvalid "
        "and not i.indisunique and not i.indisexclusion and not i.indisclustered and not i.indisreplident "
        "and not c.relispartition and c.reltablespace = 0 and obj_description(c.oid, 'pg_class') is null "
        "and pg_get_userbyid(c.relowner) = current_user",
        (target.name.as_string(target.connection),),
    ).fetchall()
    return [(sql.Identifier(str(schema), str(name)), str(definition)) for schema, name, definition in rows]
