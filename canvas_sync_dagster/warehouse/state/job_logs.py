"""SQL on `canvas_sync_job_logs`, the journal: what ran, when, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from canvas_sync_dagster.redaction import summary, trace
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.state.state_rows import NOW, OUR_JOBS, as_json, insert, is_row, update

JOB_LOGS = "canvas_sync_job_logs"
TEXT_LIMIT = 20_000
"""Characters of a message or backtrace that the journal keeps; enough for any stack, bounded for any accident."""

CANCELLED = "cancelled before it was done"
"""What the column `exception` of the journal holds for work that was ended by a person or a shutdown, and not by an error.
Its status is `error`, because the gem's readers know no other word for work that is over and was not done."""


@dataclass(frozen=True, slots=True)
class JobLog:
    """A line of the journal that has been opened."""

    schema: str
    id: int
    only_errors: bool = False

    @classmethod
    def start(
        cls,
        connection: Connection,
        schema: str,
        job_class: str,
        arguments: Mapping[str, Any],
        job_id: str,
        *,
        only_errors: bool = False,
    ) -> JobLog:
        """Writes that a job runs; the caller commits."""
        values = {"job_class": job_class, "job_arguments": arguments, "job_id": job_id, "status": "running"}
        return cls(schema, insert(connection, schema, JOB_LOGS, {**values, "started_at": NOW}), only_errors)

    @staticmethod
    def write_batch(
        connection: Connection,
        schema: str,
        key: str,
        arguments: Mapping[str, Any],
        started_at: datetime,
        error: str | None,
    ) -> None:
        """Writes that a whole batch is over, in the caller's transaction."""
        values = {"job_class": "sync_batch", "job_arguments": arguments, "job_id": key, "exception": error}
        times = {"started_at": started_at, "completed_at": NOW}
        insert(connection, schema, JOB_LOGS, {**values, **times, "status": "error" if error else "success"})

    def beat(self, connection: Connection) -> None:
        """Writes a sign of life."""
        running = sql.SQL("{} and status = 'running'").format(is_row(self.id))
        update(connection, self.schema, JOB_LOGS, {}, running)

    def succeed(self, connection: Connection, metadata: Mapping[str, Any]) -> None:
        """Writes that it ended well, in the transaction of what it did; a quiet one leaves no line."""
        if self.only_errors:
            query = sql.SQL("delete from {} where id = %s")
            connection.execute(query.format(sql.Identifier(self.schema, JOB_LOGS)), (self.id,))
            return
        self._end(connection, "success", metadata=metadata)

    def fail(self, connection: Connection, error: BaseException) -> None:
        """Write how it failed, or that it was cancelled; the caller commits."""
        if not isinstance(error, Exception):
            # Ctrl-C, a shutdown, or Dagster's own interrupt: none is an error, and none has a message.
            self._end(connection, "error", exception=CANCELLED)
            return
        self._end(connection, "error", exception=summary(error)[:TEXT_LIMIT], backtrace=trace(error)[-TEXT_LIMIT:])

    def _end(self, connection: Connection, status: str, **values: object) -> None:
        told = {"status": status, "completed_at": NOW, **values}
        update(connection, self.schema, JOB_LOGS, told, is_row(self.id))


def journal_silences(connection: Connection, schema: str) -> dict[str, timedelta]:
    """Measures how long the running jobs of each run have given no sign of life; nobody can while the server is down."""
    query = sql.SQL(
        "select job_id, min(clock_timestamp() - greatest(updated_at, pg_postmaster_start_time())) from {} "
        "where status = 'running' and {} group by job_id"
    ).format(sql.Identifier(schema, JOB_LOGS), sql.SQL(OUR_JOBS))
    return {str(job_id): silence for job_id, silence in connection.execute(query).fetchall()}


def close_lost_jobs(connection: Connection, schema: str, job_id: str, reason: str) -> dict[str, Any] | None:
    """Writes into the journal that a run's jobs failed whose process died before it could; returns its last failed one, else its last."""
    table = sql.Identifier(schema, JOB_LOGS)
    running = sql.SQL("job_id = {} and status = 'running'").format(sql.Literal(job_id))
    update(
        connection,
        schema,
        JOB_LOGS,
        {"status": "error", "exception": reason[:TEXT_LIMIT], "completed_at": NOW},
        running,
    )
    row = connection.execute(
        sql.SQL(
            "select id, job_class, status, exception from {} where job_id = %s "
            "order by (status = 'error') desc, id desc limit 1"
        ).format(table),
        (job_id,),
    ).fetchone()
    return dict(zip(("id", "job_class", "status", "exception"), row, strict=True)) if row else None


def were_all_full(connection: Connection, schema: str, runs: Sequence[str]) -> bool | None:
    """Return whether all reports of these runs were full; None if they read no report.

    Args:
        connection: In a transaction.
        schema: The tenant's.
        runs: Ids of the runs.
    """
    query = sql.SQL(
        "select bool_and({metadata}->>'mode' = 'full') from {table} where job_id = any(%s) "
        "and {metadata}->>'report_id' is not null"
    ).format(table=sql.Identifier(schema, JOB_LOGS), metadata=sql.SQL(as_json("metadata", OUR_JOBS)))
    row = connection.execute(query, (list(runs),)).fetchone()
    return row[0] if row else None
