"""Collects what a run that is executed in this process reports to Dagster, and passes it on as progress."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import dagster as dg

from canvas_sync_dagster.orchestration.identifiers import SKIPPED

OUR_CLASS = re.compile(r"^canvas_sync_dagster\.errors\.\w+: ")
"""Dagster puts the class before the message of an exception; the messages of ours are complete without it."""
NOT_STARTED = "Not executing."
"""End of Dagster's message for each step after a failed one; these steps are listed once, at the end of the sync."""
FOLLOWS_SKIPPED = "it follows a model that is skipped"


class Progress(Protocol):
    """Receives what happens during a sync, as it happens."""

    def expect(self, tables: int) -> None:
        """Receive how many more tables will be loaded."""

    def begin(self, title: str, number: int) -> None:
        """Receive that a run begins, and how many tables it loads."""

    def log(self, line: str) -> None:
        """Receive a line of the run's log, for example what Canvas is doing, with its percentage."""

    def table_done(self, model: str, term: str | None, metadata: Mapping[str, Any]) -> None:
        """Receive the metadata of a table that was loaded; `term` is None outside term runs."""

    def skipped(self, reasons: Mapping[str, str]) -> None:
        """Receive model → why it is skipped, once per sync."""

    def failed(self, title: str, models: Sequence[str], message: str) -> None:
        """Receive which models of the run with this title failed, and why; each message once per sync."""


@dataclass
class RunListener:
    """Listens to the events of one run.

    Attributes:
        title: Name of the run for people.
        term: Id of its term; None if it is no term run.
        progress: Receives what happens.
        steps: Asset → step that makes it, for all assets of the run.
        name_of: Returns the name of the model or step behind an asset.
        shown: Messages of failures that were shown already, in this run or an earlier one of the sync.
        done: Assets that were materialized.
        skipped: Asset → why Canvas cannot feed it.
        failed: Step → why it failed.
        failures: Events of the failed steps.
        started: Steps that were started.
        interrupted: Whether a person ended the run.
    """

    title: str
    term: str | None
    progress: Progress
    steps: Mapping[dg.AssetKey, str]
    name_of: Callable[[dg.AssetKey], str]
    shown: set[str]
    done: set[dg.AssetKey] = field(default_factory=set)
    skipped: dict[dg.AssetKey, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    failures: list[dg.DagsterEvent] = field(default_factory=list)
    started: set[str] = field(default_factory=set)
    interrupted: bool = False

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Receive one event of the run."""
        event = entry.dagster_event
        if event is None:
            if NOT_STARTED not in entry.user_message:
                self.progress.log(entry.user_message)
        elif event.is_step_start:
            self.started.add(str(event.step_key))
        elif event.is_step_materialization:
            self._table_done(event.step_materialization_data.materialization)
        elif event.is_asset_observation:
            self._skip(event.asset_observation_data.asset_observation)
        elif event.is_step_failure:
            self.failures.append(event)
            self._fail(event)
        elif event.is_run_failure and not self.failed:
            # The run itself failed, before or between its steps.
            self._show([self.name_of(key) for key in self.steps if not self._has_ended(key)], event.message or "")

    def failed_models(self) -> list[str]:
        """Return the models that failed; if all models of the failed steps were loaded, the names of these steps."""
        failed = [key for key, step in self.steps.items() if step in self.failed and not self._has_ended(key)]
        if not self.failed:
            failed = [key for key in self.steps if not self._has_ended(key)]
        return [self._title(self.name_of(key)) for key in sorted(failed)] or [
            self._title(step) for step in sorted(self.failed)
        ]

    def blocked_models(self) -> list[str]:
        """Return the models that were not started because a step before them failed."""
        return [self._title(self.name_of(key)) for key in sorted(self._not_started())] if self.failed else []

    def skipped_models(self, *, succeeded: bool) -> dict[str, str]:
        """Return model → why it was skipped. In a run that succeeded, a step that was not started follows a skipped model."""
        following = dict.fromkeys(self._not_started(), FOLLOWS_SKIPPED) if succeeded else {}
        return {self.name_of(key): why for key, why in sorted({**self.skipped, **following}.items())}

    def _not_started(self) -> list[dg.AssetKey]:
        return [key for key, step in self.steps.items() if step not in self.started]

    def _title(self, name: str) -> str:
        return f"{name} of term {self.term}" if self.term else name

    def _has_ended(self, key: dg.AssetKey) -> bool:
        return key in self.done or key in self.skipped

    def _table_done(self, made: dg.AssetMaterialization) -> None:
        self.done.add(made.asset_key)
        metadata: dict[str, Any] = {name: value.value for name, value in made.metadata.items()}
        self.progress.table_done(self.name_of(made.asset_key), self.term, metadata)

    def _skip(self, observed: dg.AssetObservation) -> None:
        if SKIPPED in observed.metadata:
            self.skipped[observed.asset_key] = str(observed.metadata[SKIPPED].value)

    def _fail(self, event: dg.DagsterEvent) -> None:
        step, source = str(event.step_key), event.step_failure_data.error_source
        self.interrupted = self.interrupted or (source is not None and source.name == "INTERRUPT")
        self.failed[step] = why = message_of(event)
        if not self.interrupted:
            self._show([self.name_of(key) for key, each in self.steps.items() if each == step], why)

    def _show(self, models: Sequence[str], why: str) -> None:
        if why not in self.shown:
            self.shown.add(why)
            self.progress.failed(self.title, sorted(models), why)


def message_of(event: dg.DagsterEvent) -> str:
    """Return the message of a failed step's event, without the name of a class of ours."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    return OUR_CLASS.sub("", (error.cause or error).message.strip()) if error else ""
