"""SQL on the tables of walks: rows that a walk over REST has read and not yet published, and which parents are done.

A walk is a row of `canvas_sync_walks`. Its rows are staged in compressed parts, so that the staging of a walk needs
neither columns of its own nor much disk. A part holds the rows of several parents. Rows of a parent count only if the
same attempt read the parent to its end: what an interrupted attempt left of a parent is read again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from canvas_sync_dagster.warehouse.warehouse import Warehouse

WALKS, PARENTS, ROWS = "canvas_sync_walks", "canvas_sync_walk_parents", "canvas_sync_walk_rows"
RESUMED_FOR = timedelta(days=1)
"""Age above which an interrupted walk starts over: its first lists are too old to be published together with new ones."""
COMPRESSION = 1
"""Level of zlib: the fastest. A hundred JSON objects of one list shrink to about an eighth."""

Row = Mapping[str, object]
Part = Sequence[tuple[int, Sequence[Row]]]
"""Parents with rows of theirs."""


@dataclass(frozen=True, slots=True)
class StagedWalk:
    """A walk that has staged rows.

    Attributes:
        id: Id of the walk.
        attempt: Number of the attempt, from 1.
        observed_at: When the first request of its first attempt was sent, on Canvas's clock.
    """

    id: int
    attempt: int
    observed_at: datetime

    @property
    def key(self) -> str:
        """Name of the lock that shows that a process works on the walk."""
        return f"walk {self.id}"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A walk that may be resumed.

    Attributes:
        walk: The walk with its last attempt.
        locked_at: When the process of that attempt took its lock; None if it could not take one.
        silence: Time since it last wrote something.
    """

    walk: StagedWalk
    locked_at: datetime | None
    silence: timedelta


@dataclass(frozen=True, slots=True)
class Walks:
    """The walks of a tenant, in the caller's transaction."""

    warehouse: Warehouse

    def begin(self, model: str, scope: str, fingerprint: str, observed_at: datetime) -> StagedWalk:
        """Add a walk.

        Args:
            model: Name of the model.
            scope: Canvas term id, or empty.
            fingerprint: What the walk requests and how it maps it; only an equal walk resumes it.
            observed_at: When its first request was sent, on Canvas's clock.
        """
        query = sql.SQL(
            "insert into {} (model, scope, fingerprint, observed_at) values (%s, %s, %s, %s) returning id"
        ).format(self._table(WALKS))
        row = self.warehouse.connection.execute(query, (model, scope, fingerprint, observed_at)).fetchone()
        assert row is not None  # noqa: S101 (an insert returns its row)
        return StagedWalk(int(row[0]), 1, observed_at)

    def interrupted(self, model: str, scope: str, fingerprint: str) -> list[Interrupted]:
        """Return the walks of a model and scope that were not published, the newest first."""
        query = sql.SQL(
            "select id, attempt, observed_at, locked_at, now() - updated_at from {} "
            "where model = %s and scope = %s and fingerprint = %s and created_at > now() - %s::interval order by id desc"
        ).format(self._table(WALKS))
        rows = self.warehouse.connection.execute(query, (model, scope, fingerprint, RESUMED_FOR)).fetchall()
        return [Interrupted(StagedWalk(*rest), locked_at, silence) for *rest, locked_at, silence in rows]

    def resume(self, walk: StagedWalk) -> StagedWalk | None:
        """Begin the next attempt of a walk; None if another process did so."""
        query = sql.SQL(
            "update {} set attempt = attempt + 1, locked_at = null, updated_at = now() where id = %s and attempt = %s"
        ).format(self._table(WALKS))
        taken = self.warehouse.connection.execute(query, (walk.id, walk.attempt)).rowcount
        return replace(walk, attempt=walk.attempt + 1) if taken else None

    def is_current(self, walk: StagedWalk, locked_at: datetime | None) -> bool:
        """Record that a process works on the walk; False if it was removed, or if another process resumed it."""
        query = sql.SQL("update {} set locked_at = %s, updated_at = now() where id = %s and attempt = %s").format(
            self._table(WALKS)
        )
        return self.warehouse.connection.execute(query, (locked_at, walk.id, walk.attempt)).rowcount == 1

    def write(self, walk: StagedWalk, part: Part, results: Mapping[int, str]) -> None:
        """Stage rows, and record parents whose lists were read or refused.

        Args:
            walk: The walk.
            part: Rows, by parent.
            results: Parent → how its list ended.
        """
        with self.warehouse.connection.cursor() as cursor:
            if part:
                content = zlib.compress(json.dumps(part, default=str).encode(), COMPRESSION)
                rows = sql.SQL("insert into {} (walk_id, attempt, content) values (%s, %s, %s)")
                cursor.execute(rows.format(self._table(ROWS)), (walk.id, walk.attempt, content))
            parents = sql.SQL(
                "insert into {} (walk_id, parent, attempt, result) select %s, p, %s, r from unnest(%s::bigint[], %s::text[]) "
                "as k (p, r) on conflict (walk_id, parent) do update set attempt = excluded.attempt, result = excluded.result"
            ).format(self._table(PARENTS))
            cursor.execute(parents, (walk.id, walk.attempt, list(results), list(results.values())))

    def results(self, walk: StagedWalk) -> dict[int, str]:
        """Return the parents that are done: parent → how its list ended."""
        query = sql.SQL("select parent, result from {} where walk_id = %s").format(self._table(PARENTS))
        return {int(parent): str(result) for parent, result in self.warehouse.connection.execute(query, (walk.id,))}

    def parts(self, walk: StagedWalk) -> Iterator[list[dict[str, Any]]]:
        """Yield the staged rows, part by part, in the order in which they were read."""
        connection = self.warehouse.connection
        query = sql.SQL("select parent, attempt from {} where walk_id = %s").format(self._table(PARENTS))
        read_by = {int(parent): int(attempt) for parent, attempt in connection.execute(query, (walk.id,))}
        query = sql.SQL(
            "select id, attempt, content from {} where walk_id = %s and id > %s order by id limit 1"
        ).format(self._table(ROWS))
        last = 0
        while found := connection.execute(query, (walk.id, last)).fetchone():
            last, attempt, content = found
            part: list[tuple[int, list[dict[str, Any]]]] = json.loads(zlib.decompress(content))
            yield [row for parent, rows in part if read_by.get(parent) == attempt for row in rows]

    def remove(self, walk: StagedWalk) -> None:
        """Delete a walk with its rows."""
        self._delete(WALKS, "id", [walk.id])
        self._delete(PARENTS, "walk_id", [walk.id])
        self._delete(ROWS, "walk_id", [walk.id])

    def remove_all(self) -> int:
        """Delete all walks of the tenant with their rows, so that they begin again. Return how many there were."""
        query = sql.SQL("delete from {} returning id").format(self._table(WALKS))
        ids = [int(number) for (number,) in self.warehouse.connection.execute(query)]
        self._delete(PARENTS, "walk_id", ids)
        self._delete(ROWS, "walk_id", ids)
        return len(ids)

    def _delete(self, table: str, column: str, ids: Sequence[int]) -> None:
        statement = sql.SQL("delete from {} where {} = any(%s)").format(self._table(table), sql.Identifier(column))
        self.warehouse.connection.execute(statement, (list(ids),))

    def _table(self, name: str) -> sql.Identifier:
        return self.warehouse.identifier(name)
