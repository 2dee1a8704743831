"""Tells the user's functions what has happened, each once; what they raise hurts nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from canvas_sync_dagster.redaction import trace

if TYPE_CHECKING:
    import dagster as dg

    from canvas_sync_dagster.warehouse.batches import Batch

OnSync = tuple[str, Callable[..., object]]
OnFailure = Callable[..., object]
LOG = logging.getLogger(__name__)


def tell_of_batch(
    callbacks: Sequence[OnSync], batch: Batch, status: str, reason: str, log: logging.Logger = LOG
) -> None:
    """Tells that a batch is over: on `success` those who asked for it, and always those who asked for `complete`."""
    told = {"key": batch.key, "genre": batch.genre, "status": status, "reason": reason, "started_at": batch.started_at}
    for when, function in callbacks:
        if when == "complete" or (when == "success" and status == "completed"):
            try:
                function(told)
            except Exception as error:
                _log_failure(log, "on_sync", function, error)


def tell_of_failure(
    callbacks: Sequence[OnFailure],
    error: str,
    *,
    tenant: str,
    job_log: dict[str, Any] | None,
    run: dg.DagsterRun,
    log: logging.Logger = LOG,
) -> None:
    """Tells that a run failed, and will not be retried."""
    for function in callbacks:
        try:
            function(error, tenant=tenant, job_log=job_log, run=run)
        except Exception as raised:
            _log_failure(log, "on_failure", function, raised)


def _log_failure(log: logging.Logger, event: str, function: Callable[..., object], error: Exception) -> None:
    # Not log.exception: the logger's own stack trace would quote values, such as PostgreSQL's DETAIL.
    log.error(f"{event} callback {getattr(function, '__name__', function)} failed:\n{trace(error)}")
