"""Calls the user's `on_sync` and `on_failure` functions, each once. What they raise is logged and has no other effect."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import dagster as dg

from canvas_sync_dagster.errors import CanvasSyncError, RunFailedError
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.next_step import Close
from canvas_sync_dagster.redaction import message, trace
from canvas_sync_dagster.signatures import accepts_keyword
from canvas_sync_dagster.warehouse.state.sync_batches import Batch

OnSync = tuple[str, Callable[..., object]]
"""When a function is called (`success`: for completed batches; `complete`: for all), and the function."""
OnFailure = Callable[..., object]
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that failed and is not retried.

    Attributes:
        run: The run.
        error: What its first failed step raised.
        tenant: Slug of its tenant; empty if it has none.
        job_log: Its last failed entry in the journal, else its last entry; None if it has none.
        service: The tenant's batches; None if the run has no tenant or its database cannot be reached.
    """

    run: dg.DagsterRun
    error: RunFailedError
    tenant: str
    job_log: dict[str, Any] | None
    service: BatchService | None


def call_on_sync(
    callbacks: Sequence[OnSync], service: BatchService, batch: Batch, ended: Close, log: logging.Logger = LOG
) -> None:
    """Call the `on_sync` functions of a batch that was closed.

    Args:
        callbacks: The functions.
        service: The tenant's batches.
        batch: The batch.
        ended: How it ended.
        log: Receives what a function raises.
    """
    slug = service.tenant.slug
    ending = {"genre": batch.genre, "status": ended.status, "reason": ended.reason, "started_at": batch.started_at}
    for when, function in callbacks:
        if when == "complete" or ended.status == "completed":
            _call("on_sync", function, {"key": batch.key, "tenant": slug, **ending}, {"tenant": slug}, service, log)


def call_on_failure(callbacks: Sequence[OnFailure], failed: FailedRun, log: logging.Logger = LOG) -> None:
    """Call the `on_failure` functions of a run that failed and is not retried.

    Args:
        callbacks: The functions.
        failed: The run.
        log: Receives what a function raises.
    """
    offered: dict[str, object] = {"tenant": failed.tenant, "job_log": failed.job_log, "run": failed.run}
    for function in callbacks:
        _call("on_failure", function, failed.error, offered, failed.service, log)


def _call(
    event: str,
    function: Callable[..., object],
    first: object,
    offered: dict[str, object],
    service: BatchService | None,
    log: logging.Logger,
) -> None:
    """Call a function with those of the offered keywords that it accepts; open a session only if it accepts one."""
    try:
        with ExitStack() as stack:
            accepted = {name: value for name, value in offered.items() if accepts_keyword(function, name)}
            if accepts_keyword(function, "session"):
                accepted["session"] = _session(stack, service, log)
            function(first, **accepted)
    except Exception as error:
        # Not log.exception: the logger's own stack trace would quote values, such as PostgreSQL's DETAIL.
        log.error(f"{event} callback {getattr(function, '__name__', function)} failed:\n{trace(error)}")  # noqa: TRY400


def _session(stack: ExitStack, service: BatchService | None, log: logging.Logger) -> object:
    if service is None or service.connect is None:
        return None
    try:
        return stack.enter_context(service.connect())
    except CanvasSyncError as error:
        log.warning(f"{service.tenant.slug}: no session for a callback: {message(error)}")
        return None
