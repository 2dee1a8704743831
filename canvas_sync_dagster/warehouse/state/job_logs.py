"""SQL on `canvas_sync_job_logs`, the journal: what ran, when, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from canvas_sync_dagster.redaction import summary, trace
from canvas_sync_dagster.warehouse.state.state_rows import NOW, OUR_JOBS, as_json, insert, is_row, update
from canvas_sync_dagster.warehouse.warehouse import Warehouse

JOB_LOGS = "canvas_sync_job_logs"
TEXT_LIMIT = 20_000
"""Characters of a message or backtrace that the journal keeps; enough for any stack."""

CANCELLED = "cancelled before it was done"
"""Value of the column `exception` of a job that was ended by a person or a shutdown, and not by an error.
Its status is `error`, because readers that come with the gem know no other status of a job that ended without success."""


@dataclass(frozen=True, slots=True)
class JobLog:
    """An open row of the journal. Its methods write in the caller's transaction.

    Attributes:
        id: Of the row.
        only_errors: Whether the row is deleted when the job succeeds.
    """

    id: int
    only_errors: bool = False

    def beat(self, warehouse: Warehouse) -> None:
        """Write a heartbeat."""
        running = sql.SQL("{} and status = 'running'").format(is_row(self.id))
        update(warehouse, JOB_LOGS, {}, running)

    def succeed(self, warehouse: Warehouse, metadata: Mapping[str, Any]) -> None:
        """Record that the job succeeded, in the transaction of its changes."""
        if self.only_errors:
            query = sql.SQL("delete from {} where id = %s").format(warehouse.identifier(JOB_LOGS))
            warehouse.connection.execute(query, (self.id,))
            return
        self._end(warehouse, "success", metadata=metadata)

    def fail(self, warehouse: Warehouse, error: BaseException) -> None:
        """Record how the job failed, or that it was cancelled."""
        if not isinstance(error, Exception):
            # Ctrl-C, a shutdown, or Dagster's own interrupt: none is an error, and none has a message.
            self._end(warehouse, "error", exception=CANCELLED)
            return
        self._end(warehouse, "error", exception=summary(error)[:TEXT_LIMIT], backtrace=trace(error)[-TEXT_LIMIT:])

    def _end(self, warehouse: Warehouse, status: str, **values: object) -> None:
        update(warehouse, JOB_LOGS, {"status": status, "completed_at": NOW, **values}, is_row(self.id))


@dataclass(frozen=True, slots=True)
class LastSync:
    """How the last sync of a model in a scope ended.

    Attributes:
        source: Canvas's name of the report, or `rest:` and the model.
        status: running, success, error, skipped (this Canvas cannot feed the model) or cancelled.
        at: When it ended, or began.
        mode: Full or incremental; None if it failed before that was decided.
        reason: Reason of the mode, or why the model was skipped.
        rows: Rows of the report or list.
        superseded: Rows for which the table had newer content.
        error: Message of the error.
        feed: `report` or `rest`; None if it failed.
        feed_reason: Why it was read over REST.
        requests: Requests of the walk over REST; None for a report.
    """

    source: str
    status: str
    at: datetime
    mode: str | None
    reason: str | None
    rows: int | None
    superseded: int | None
    error: str | None
    feed: str | None = None
    feed_reason: str | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class JobLogs:
    """The journal of a tenant. Rows that the gem wrote into the table are ignored."""

    warehouse: Warehouse

    def start(self, job_class: str, arguments: Mapping[str, Any], job_id: str, *, only_errors: bool = False) -> JobLog:
        """Record that a job is running, in the caller's transaction.

        Args:
            job_class: Name of the job, such as that of a report.
            arguments: What it works on.
            job_id: Dagster's run that it is part of.
            only_errors: Whether the row is deleted when the job succeeds.
        """
        values = {"job_class": job_class, "job_arguments": arguments, "job_id": job_id, "status": "running"}
        return JobLog(insert(self.warehouse, JOB_LOGS, {**values, "started_at": NOW}), only_errors)

    def write_batch(self, key: str, arguments: Mapping[str, Any], started_at: datetime, error: str | None) -> None:
        """Record that a batch ended, in the caller's transaction; `error` is None if it was completed."""
        values = {"job_class": "sync_batch", "job_arguments": arguments, "job_id": key, "exception": error}
        times = {"started_at": started_at, "completed_at": NOW}
        insert(self.warehouse, JOB_LOGS, {**values, **times, "status": "error" if error else "success"})

    def silences(self) -> dict[str, timedelta]:
        """Measure the time since the last heartbeat of each run with a running job.

        Returns:
            Run → the time since then or since the server was started, as no heartbeat is written while it is down;
            empty if the table does not exist yet.
        """
        if not self.warehouse.has(JOB_LOGS):
            return {}
        query = sql.SQL(
            "select job_id, min(clock_timestamp() - greatest(updated_at, pg_postmaster_start_time())) from {} "
            "where status = 'running' and {} group by job_id"
        ).format(self._table, sql.SQL(OUR_JOBS))
        return {str(job_id): silence for job_id, silence in self.warehouse.connection.execute(query).fetchall()}

    def close_orphaned(self, job_id: str, reason: str) -> dict[str, Any] | None:
        """Record the failure of a run's running jobs, whose process died before it could.

        Args:
            job_id: Dagster's run.
            reason: What the journal reports as their error.

        Returns:
            `id`, `job_class`, `status` and `exception` of the run's last failed job, or else of its last job; None if
            it has none.
        """
        if not self.warehouse.has(JOB_LOGS):
            return None
        running = sql.SQL("job_id = {} and status = 'running'").format(sql.Literal(job_id))
        values = {"status": "error", "exception": reason[:TEXT_LIMIT], "completed_at": NOW}
        update(self.warehouse, JOB_LOGS, values, running)
        query = sql.SQL(
            "select id, job_class, status, exception from {} where job_id = %s "
            "order by (status = 'error') desc, id desc limit 1"
        ).format(self._table)
        row = self.warehouse.connection.execute(query, (job_id,)).fetchone()
        return dict(zip(("id", "job_class", "status", "exception"), row, strict=True)) if row else None

    def were_full(self, job_ids: Sequence[str]) -> bool | None:
        """Return whether all reports of these runs were full; None if they had no report."""
        query = sql.SQL(
            "select bool_and({metadata}->>'mode' = 'full') from {table} where job_id = any(%s) "
            "and {metadata}->>'report_id' is not null"
        ).format(table=self._table, metadata=sql.SQL(as_json("metadata", OUR_JOBS)))
        row = self.warehouse.connection.execute(query, (list(job_ids),)).fetchone()
        return row[0] if row else None

    def last_syncs(self) -> dict[tuple[str, str], LastSync]:
        """Read the last sync of each model in each scope.

        Returns:
            Model and scope → how it ended.
        """
        query = sql.SQL(
            "select distinct on (fed.model, scope) fed.model, j.arguments->>'scope' as scope, j.job_class, "
            "case when skipped ? fed.model then 'skipped' when j.exception = %s then 'cancelled' else j.status end, j.at, "
            "j.metadata->>'mode', coalesce(skipped->>fed.model, j.metadata->>'mode_reason'), "
            "(j.metadata->'models'->fed.model->>'rows_in_report')::bigint, "
            "(j.metadata->'models'->fed.model->>'superseded')::bigint, j.exception, "
            "j.metadata->>'feed', j.metadata->>'feed_reason', (j.metadata->>'requests')::bigint from (select id, job_class, status, "
            "exception, coalesce(completed_at, started_at)::timestamptz as at, {} as arguments, {} as metadata from {}) j "
            "cross join lateral (select coalesce(j.metadata->'skipped', '{{}}')) as left_out(skipped) "
            "cross join lateral (select jsonb_array_elements_text(j.arguments->'models') "
            "union all select jsonb_object_keys(skipped) "
            "union all select substr(j.job_class, 6) where j.job_class like 'rest:%%') as fed(model) "
            "where j.arguments->>'scope' is not null order by fed.model, scope, j.id desc"
        ).format(sql.SQL(as_json("job_arguments", OUR_JOBS)), sql.SQL(as_json("metadata", OUR_JOBS)), self._table)
        rows = self.warehouse.connection.execute(query, (CANCELLED,)).fetchall()
        return {(str(model), str(scope)): LastSync(*rest) for model, scope, *rest in rows}

    def errors_since(self, since: datetime, limit: int) -> list[str]:
        """Return the first lines of the errors of jobs that began since a time, each once, without batches."""
        query = sql.SQL(
            "select min(id), split_part(exception, chr(10), 1) as error from {} where created_at::timestamptz >= %s "
            "and status = 'error' and exception <> %s and job_class <> 'sync_batch' and {} group by error order by 1 limit %s"
        ).format(self._table, sql.SQL(OUR_JOBS))
        rows = self.warehouse.connection.execute(query, (since, CANCELLED, limit)).fetchall()
        return [str(error) for _, error in rows]

    @property
    def _table(self) -> sql.Identifier:
        return self.warehouse.identifier(JOB_LOGS)
