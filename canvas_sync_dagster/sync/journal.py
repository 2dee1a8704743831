"""A job of the journal: recorded before the work begins, and closed with its success or failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.sync.heartbeat import beating
from canvas_sync_dagster.warehouse.state.job_logs import JobLog, JobLogs

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.session import Session

DOING = "writing the journal"


@contextmanager
def journaled(
    session: Session, job_class: str, arguments: Mapping[str, Any], run_id: str, *, only_errors: bool = False
) -> Iterator[JobLog]:
    """Record a job in the journal, with heartbeats while the body runs.

    The body records the success, in the transaction of its changes. A failure is recorded in another transaction; if that
    fails as well, because the database is away, the failure of the body is raised.

    Args:
        session: The tenant's Canvas and database.
        job_class: Name of the job, such as that of a report.
        arguments: What it works on.
        run_id: Dagster's run that it is part of.
        only_errors: Whether the journal keeps the job only if it fails.

    Yields:
        The open row of the journal.
    """
    quiet = only_errors or any(job_class.startswith(name) for name in session.extensions.quiet)
    with session.warehouse(DOING) as warehouse:
        job = JobLogs(warehouse).start(job_class, arguments, run_id, only_errors=quiet)

    def beat() -> None:
        with session.warehouse(DOING) as warehouse:
            job.beat(warehouse)

    try:
        with beating(beat, session.tenant.lost_after):
            yield job
    except BaseException as error:
        with suppress(CanvasSyncError), session.warehouse(DOING) as warehouse:
            job.fail(warehouse, error)
        raise
