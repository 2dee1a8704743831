"""Calls the user's `on_sync` and `on_failure` functions, each once; what they raise is logged and changes nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.redaction import message, trace
from canvas_sync_dagster.signatures import accepts_keyword

if TYPE_CHECKING:
    import dagster as dg

    from canvas_sync_dagster.errors import RunFailedError
    from canvas_sync_dagster.orchestration.batch_service import BatchService
    from canvas_sync_dagster.warehouse.state.sync_batches import Batch

OnSync = tuple[str, Callable[..., object]]
OnFailure = Callable[..., object]
LOG = logging.getLogger(__name__)


def tell_of_batch(
    callbacks: Sequence[OnSync], ours: BatchService, batch: Batch, status: str, reason: str, log: logging.Logger = LOG
) -> None:
    """Call the `on_sync` functions of a batch that was closed.

    Args:
        callbacks: Each with `success`, which is called for completed batches only, or `complete`.
        ours: BatchService of the tenant.
        batch: The batch.
        status: `completed` or `failed`.
        reason: One sentence for people.
        log: Gets what a function raises.
    """
    slug = ours.tenant.slug
    told = {
        "key": batch.key,
        "tenant": slug,
        "genre": batch.genre,
        "status": status,
        "reason": reason,
        "started_at": batch.started_at,
    }
    for when, function in callbacks:
        if when == "complete" or (when == "success" and status == "completed"):
            _call("on_sync", function, told, {"tenant": slug}, ours, log)


def tell_of_failure(
    callbacks: Sequence[OnFailure],
    error: RunFailedError,
    *,
    tenant: str,
    job_log: dict[str, Any] | None,
    run: dg.DagsterRun,
    ours: BatchService | None,
    log: logging.Logger = LOG,
) -> None:
    """Call the `on_failure` functions of a run that failed and is not retried."""
    for function in callbacks:
        _call("on_failure", function, error, {"tenant": tenant, "job_log": job_log, "run": run}, ours, log)


def _call(
    event: str,
    function: Callable[..., object],
    first: object,
    offered: dict[str, object],
    ours: BatchService | None,
    log: logging.Logger,
) -> None:
    """Call a function with those of the keywords that it takes; a session is opened only for one that takes it."""
    try:
        with ExitStack() as stack:
            taken = {name: value for name, value in offered.items() if accepts_keyword(function, name)}
            if accepts_keyword(function, "session"):
                taken["session"] = _session(stack, ours, log)
            function(first, **taken)
    except Exception as error:
        # Not log.exception: the logger's own stack trace would quote values, such as PostgreSQL's DETAIL.
        log.error(f"{event} callback {getattr(function, '__name__', function)} failed:\n{trace(error)}")  # noqa: TRY400


def _session(stack: ExitStack, ours: BatchService | None, log: logging.Logger) -> object:
    if ours is None or ours.connect is None:
        return None
    try:
        return stack.enter_context(ours.connect())
    except CanvasSyncError as error:
        log.warning(f"{ours.tenant.slug}: no session for a callback: {message(error)}")
        return None
