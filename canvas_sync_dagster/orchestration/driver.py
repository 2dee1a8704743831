"""Drives a batch: reads its state, decides the next step, executes it. The sensor ticks it, the command runs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import dagster as dg

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.orchestration.batch_service import BatchService, last_sync_of
from canvas_sync_dagster.orchestration.callbacks import OnSync, call_on_sync
from canvas_sync_dagster.orchestration.identifiers import (
    BATCH_TAG,
    GENRE_TAG,
    MODE_TAG,
    TENANT_TAG,
    TERM_TAG,
    end_job,
    root_job,
    term_job,
)
from canvas_sync_dagster.orchestration.next_step import (
    BatchState,
    Close,
    DetermineTerms,
    Executor,
    LaunchEnd,
    LaunchRoot,
    LaunchTerms,
    Step,
    Wait,
    next_step,
)
from canvas_sync_dagster.orchestration.run_states import BatchRuns, read_runs, start_failed
from canvas_sync_dagster.orchestration.term_partitions import register_terms
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.state.job_logs import CANCELLED
from canvas_sync_dagster.warehouse.state.sync_batches import Batch

POLL_SECONDS = 1.0
"""Pause of a command between two looks at a run of its batch that another process executes, for example a re-execution
that a person launched in the UI."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchParts:
    """The parts that a batch consists of.

    Attributes:
        has_root: Whether anything belongs to no term.
        has_terms: Whether anything is synced per term.
        has_end: Whether there are steps at the end.
        start: Names of the steps at the start; if one fails, the batch ends.
    """

    has_root: bool = True
    has_terms: bool = True
    has_end: bool = False
    start: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """A run to launch.

    Attributes:
        part: Part of the batch.
        key: Identifies the launch: a repeated one must not make a second run.
        job: Name of the job.
        tags: Tags of the run.
        term: Id of the term, which is the partition of the run; None for the root run and the end.
    """

    part: Literal["root", "term", "end"]
    key: str
    job: str
    tags: Mapping[str, str]
    term: str | None = None


class Launcher(Protocol):
    """Launches runs: by requests to Dagster's daemon, or by executing them in this process."""

    @property
    def unmet(self) -> Sequence[str]:
        """Models that were asked for by name and that this Canvas cannot feed; as far as known."""

    def launch(self, run: Launch) -> None:
        """Request a run, or execute it."""

    def terms_known(self, terms: Sequence[str]) -> None:
        """Receive the ids of the terms of the batch before they are stored; may raise to refuse the batch."""


@dataclass(slots=True)
class Driver:
    """Drives one batch.

    Attributes:
        instance: The Dagster instance that has the runs.
        service: The tenant's batches, with the settings of the batch's genre.
        batch: The batch, as it was read or opened.
        parts: What it consists of.
        launcher: Launches its runs.
        executor: What executes its runs.
        callbacks: `on_sync` functions.
        log: Receives what a callback raises.
    """

    instance: dg.DagsterInstance
    service: BatchService
    batch: Batch
    parts: BatchParts
    launcher: Launcher
    executor: Executor
    callbacks: Sequence[OnSync] = ()
    log: logging.Logger = LOG

    def tick(self) -> Step:
        """Execute the next step of the batch, and return it.

        Raises:
            CanvasSyncError: The database cannot be reached. The next tick continues.
        """
        runs = self._read_runs()
        state = self._state(runs)
        step = next_step(state)
        if isinstance(step, DetermineTerms):
            self._determine_terms()
            step = next_step(replace(state, terms=self.batch.terms, last_sync=last_sync_of(self.batch)))
        elif runs.root is not None and self.executor is not Executor.ELSEWHERE:
            # Not without a root run: another Dagster instance on this warehouse does not know the runs of the batch, and
            # must not renew its heartbeat.
            self.service.note(self.batch, {})
        self._execute(step, runs)
        return step

    def run(self) -> Close:
        """Execute the batch to its end, and return how it ended.

        Raises:
            CanvasSyncError: The batch cannot continue; it is closed as failed.
            KeyboardInterrupt: A person interrupted it; it is closed as cancelled.
        """
        try:
            while not isinstance(step := self.tick(), Close):
                if isinstance(step, Wait):
                    time.sleep(POLL_SECONDS)
        except BaseException as error:
            self.stop(str(error) if isinstance(error, CanvasSyncError) else CANCELLED)
            raise
        return step

    def stop(self, reason: str) -> None:
        """Cancel the runs that have not ended, and close the batch as failed.

        Args:
            reason: One sentence for people.
        """
        runs = self._read_runs()
        for run in filter(None, map(self.instance.get_run_by_id, runs.ids)):
            if not run.is_finished:
                self.instance.report_run_canceled(run, message=reason)
        self._close(Close("failed", reason), runs)

    def _read_runs(self) -> BatchRuns:
        awaits_retries = self.executor is not Executor.HERE
        return read_runs(self.instance, self._slug, self.batch.key, awaits_retries=awaits_retries)

    def _state(self, runs: BatchRuns) -> BatchState:
        tenant, here = self.service.tenant, self.executor is Executor.HERE
        return replace(
            liveness(self.service, self.batch, runs, self.executor),
            terms=self.batch.terms,
            last_sync=last_sync_of(self.batch),
            unmet=self.launcher.unmet,
            has_root=self.parts.has_root,
            has_end=self.parts.has_end,
            start_failed=start_failed(self.instance, self._slug, runs, self.parts.start),
            concurrency=1 if here else tenant.term_concurrency,
            on_failed_term=tenant.on_failed_term,
        )

    def _determine_terms(self) -> None:
        terms = self.service.terms.of_batch(self.batch.key) if self.parts.has_terms else []
        self.launcher.terms_known(terms)
        self.batch = self.service.note_terms(self.batch, terms)

    def _execute(self, step: Step, runs: BatchRuns) -> None:
        match step:
            case LaunchRoot():
                self.launcher.launch(Launch("root", self.batch.key, root_job(self._slug), self._tags))
            case LaunchTerms():
                self._launch_terms(step)
            case LaunchEnd():
                self.service.note_outcome(self.batch, step.outcome, step.reason)
                key = f"{self.batch.key}:end:{runs.end_count}"
                self.launcher.launch(Launch("end", key, end_job(self._slug), self._tags))
            case Close():
                self._close(step, runs)
            case _:
                pass

    def _launch_terms(self, step: LaunchTerms) -> None:
        # A person may have named a term that is not in scope.
        register_terms(self.instance, self._slug, step.terms)
        names = self.service.terms.names()
        for term in step.terms:
            tags = {**self._tags, TERM_TAG: names.get(term) or term}
            if term in step.in_full:
                tags[MODE_TAG] = "full"
            self.launcher.launch(Launch("term", f"{self.batch.key}:{term}", term_job(self._slug), tags, term))

    def _close(self, step: Close, runs: BatchRuns) -> None:
        close(self.service, self.batch, step, runs, self.callbacks, self.log)

    @property
    def _slug(self) -> str:
        return self.service.tenant.slug

    @property
    def _tags(self) -> dict[str, str]:
        return batch_tags(self.service.tenant, self.batch)


def batch_tags(tenant: TenantSettings, batch: Batch) -> dict[str, str]:
    """Return the tags of the runs of a batch."""
    return {BATCH_TAG: batch.key, GENRE_TAG: batch.genre, TENANT_TAG: tenant.slug}


def executor_of(batch: Batch) -> Executor:
    """Return what executes the runs of a batch that another process may have opened."""
    return Executor.ELSEWHERE if batch.details.get("trigger") == "command" else Executor.DAEMON


def liveness(service: BatchService, batch: Batch, runs: BatchRuns, executor: Executor) -> BatchState:
    """Return that part of a batch's state from which follows whether anything still works on it."""
    return BatchState(
        root=runs.root,
        runs=runs.terms,
        end=runs.end,
        executor=executor,
        silence=batch.silence,
        lost_after=service.tenant.lost_after,
        process_gone=executor is not Executor.HERE and service.has_lost_its_process(batch),
    )


def close(
    service: BatchService,
    batch: Batch,
    step: Close,
    runs: BatchRuns,
    callbacks: Sequence[OnSync],
    log: logging.Logger = LOG,
) -> None:
    """Close a batch and call the user's `on_sync` functions, unless another process has closed it.

    Args:
        service: The tenant's batches.
        batch: The batch.
        step: How it ended.
        runs: Its runs.
        callbacks: `on_sync` functions.
        log: Receives what a callback raises.
    """
    if service.close(batch, step.status, step.reason, runs.ids):
        call_on_sync(callbacks, service, batch, step, log)
