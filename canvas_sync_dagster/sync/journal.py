"""The journal of a piece of work: opened before it, closed with it or with how it failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.sync.heartbeat import beating
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.state.job_logs import JobLog


@contextmanager
def journaled(
    session: Session, job_class: str, arguments: Mapping[str, Any], run_id: str, *, only_errors: bool = False
) -> Iterator[JobLog]:
    """Writes that a job runs, and again and again that it still does; the body writes that it succeeded.

    It does so in the transaction of what it did.

    A failure is written in a transaction of its own; if the database is away, the failure itself is what counts.
    """
    url, schema = session.database_url, session.schema
    with transaction(url, "writing the journal") as connection:
        quiet = only_errors or any(job_class.startswith(name) for name in session.extensions.quiet)
        job = JobLog.start(connection, schema, job_class, arguments, run_id, only_errors=quiet)

    def beat() -> None:
        with transaction(url, "writing the journal") as connection:
            job.beat(connection)

    try:
        with beating(beat, session.tenant.lost_after):
            yield job
    except BaseException as error:
        with suppress(CanvasSyncError), transaction(url, "writing the journal") as connection:
            job.fail(connection, error)
        raise
