"""Launches the runs of a batch by executing them in this process, one after the other."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.callbacks import FailedRun, OnFailure, call_on_failure
from canvas_sync_dagster.orchestration.driver import BatchParts, Launch
from canvas_sync_dagster.orchestration.run_errors import raised
from canvas_sync_dagster.orchestration.run_listener import Progress, RunListener

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Run config: Dagster prints nothing, because the progress shows what matters."""


@dataclass(frozen=True, slots=True)
class BatchAssets:
    """The assets of a batch.

    Attributes:
        root: Assets of the root run.
        term: Assets of each term run.
        end: Steps at the end.
        start: Names of the steps at the start; their assets are among `root`.
        name_of: Returns the name of the model or step behind an asset.
    """

    root: Sequence[dg.AssetKey]
    term: Sequence[dg.AssetKey]
    end: Sequence[dg.AssetKey]
    start: Sequence[str]
    name_of: Callable[[dg.AssetKey], str]

    @property
    def parts(self) -> BatchParts:
        """The parts that the batch consists of."""
        return BatchParts(bool(self.root), bool(self.term), bool(self.end), self.start)


@dataclass(slots=True)
class InProcess:
    """Executes the runs of a batch and collects what failed.

    Attributes:
        instance: The Dagster instance that stores the runs.
        service: The tenant's batches.
        job: Returns the job of a name.
        assets: The assets of the batch.
        options: Run config of the resource `sync_options`.
        progress: Receives what happens.
        named: Names of the models that were asked for by name: each must be fed.
        on_failure: The user's functions for failed runs. The sensor sees only runs that Dagster's daemon launched.
        unmet: Of the named models, those that this Canvas cannot feed.
        failed: What failed, as people call it.
        blocked: What was not started because something before it failed.
    """

    instance: dg.DagsterInstance
    service: BatchService
    job: Callable[[str], dg.JobDefinition]
    assets: BatchAssets
    options: Mapping[str, Any]
    progress: Progress
    named: frozenset[str] = frozenset()
    on_failure: Sequence[OnFailure] = ()
    unmet: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    _skipped: set[str] = field(default_factory=set)
    _shown: set[str] = field(default_factory=set)

    def terms_known(self, terms: Sequence[str]) -> None:
        """Refuse terms that do not exist, unless the root run failed; else announce the tables of the term runs.

        Raises:
            SettingError: The settings or the command name a term that does not exist.
        """
        if self.assets.term and not self.failed:
            # Only after the root run is it known which terms exist.
            self.service.terms.refuse_unknown()
        self.progress.expect(len(self.assets.term) * len(terms))

    def launch(self, run: Launch) -> None:
        """Execute a run.

        Raises:
            KeyboardInterrupt: A person interrupted the run.
        """
        keys = {"root": self.assets.root, "term": self.assets.term, "end": self.assets.end}[run.part]
        title = f"{self.service.tenant.slug} {f'term {run.term}' if run.term else run.part}"
        self.progress.begin(title, len(keys))
        job = self.job(run.job)
        steps = {key: job.asset_layer.get_op_output_handle(key).node_handle.path[0] for key in keys}
        listener = RunListener(title, run.term, self.progress, steps, self.assets.name_of, self._shown)
        result = self._execute(run, job, keys, listener)
        if listener.interrupted:
            # Dagster reports Ctrl-C within an op as a failure of the op, and the next run would begin.
            raise KeyboardInterrupt
        self._collect(listener, result)

    def _execute(
        self, run: Launch, job: dg.JobDefinition, keys: Sequence[dg.AssetKey], listener: RunListener
    ) -> dg.ExecuteInProcessResult:
        run_id = str(uuid.uuid4())
        self.instance.add_event_listener(run_id, listener)
        # The job of the steps at the end does not have the resource.
        config = {} if run.part == "end" else {"resources": {"sync_options": {"config": dict(self.options)}}}
        return job.execute_in_process(
            instance=self.instance,
            run_config={**QUIET, **config},
            partition_key=run.term,
            tags=dict(run.tags),
            raise_on_error=False,
            asset_selection=list(keys),
            run_id=run_id,
        )

    def _collect(self, listener: RunListener, result: dg.ExecuteInProcessResult) -> None:
        skipped = listener.skipped_models(succeeded=result.success)
        new = {name: why for name, why in skipped.items() if name not in self._skipped}
        self._skipped |= set(new)
        if new:
            self.progress.skipped(new)
        if not result.success:
            self._call_on_failure(listener, result.run_id)
            self.blocked += listener.blocked_models()
            self.failed += listener.failed_models()
        unmet = sorted(set(new) & self.named)
        self.unmet += unmet
        self.failed += unmet

    def _call_on_failure(self, listener: RunListener, run_id: str) -> None:
        run = self.instance.get_run_by_id(run_id)
        if run is None or not self.on_failure:
            return
        job_log = self.service.close_journal(run_id, "the run ended")
        error = raised(listener.failures, "the run failed")
        failed = FailedRun(run, error, self.service.tenant.slug, job_log, self.service)
        call_on_failure(self.on_failure, failed)
