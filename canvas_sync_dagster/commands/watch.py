"""What a run of `canvas-sync sync` reports to Dagster, collected and passed on while it happens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from canvas_sync_dagster.assets.checks import SKIPPED
from canvas_sync_dagster.commands.progress import Teller

if TYPE_CHECKING:
    import dagster as dg

OUR_CLASS = re.compile(r"^canvas_sync_dagster\.errors\.\w+: ")
"""Dagster puts the class before the message of an exception; ours are written for people."""
NOT_STARTED = "Not executing."
"""End of Dagster's message for each step that follows a failed one; they are listed at the end."""
FOLLOWS_SKIPPED = "it follows a model that is skipped"


@dataclass
class Watch:
    """Listens to one run.

    Attributes:
        title: Name of the run for people.
        term: Its term; None for the root run.
        tell: Where progress is shown.
        steps: Asset → step that makes it, for all assets that are wanted.
        said: Messages of failures that were shown already, in this run or an earlier one of the sync.
        landed: Assets that were materialized.
        skipped: Asset → why Canvas cannot feed it.
        failed: Step → why it failed.
        failures: Events of the failed steps.
        started: Steps that were started.
        interrupted: Whether a person ended the run.
    """

    title: str
    term: str | None
    tell: Teller
    steps: Mapping[dg.AssetKey, str]
    said: set[str]
    landed: set[dg.AssetKey] = field(default_factory=set)
    skipped: dict[dg.AssetKey, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    failures: list[dg.DagsterEvent] = field(default_factory=list)
    started: set[str] = field(default_factory=set)
    interrupted: bool = False

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Take one event of the run."""
        event = entry.dagster_event
        if event is None:
            if NOT_STARTED not in entry.user_message:
                self.tell.said(entry.user_message)
        elif event.is_step_start:
            self.started.add(str(event.step_key))
        elif event.is_step_materialization:
            self._land(event.step_materialization_data.materialization)
        elif event.is_asset_observation:
            self._skip(event.asset_observation_data.asset_observation)
        elif event.is_step_failure:
            self.failures.append(event)
            self._fail(event)
        elif event.is_run_failure and not self.failed:
            # The run itself failed, before or between its steps.
            self._show([key.path[-1] for key in self.steps if not self._is_done(key)], event.message or "")

    def failed_models(self) -> list[str]:
        """Return what could not be synced; the names of the steps where all of their models landed before they failed."""
        lost = [key for key, step in self.steps.items() if step in self.failed and not self._is_done(key)]
        if not self.failed:
            lost = [key for key in self.steps if not self._is_done(key)]
        return [self._name(key.path[-1]) for key in sorted(lost)] or [self._name(step) for step in sorted(self.failed)]

    def blocked_models(self) -> list[str]:
        """Return what was not started because a step before it failed."""
        return [self._name(key.path[-1]) for key in sorted(self._not_started())] if self.failed else []

    def skipped_models(self, *, succeeded: bool) -> dict[str, str]:
        """Return model → why it was skipped; a step that a successful run did not start follows a skipped model."""
        following = dict.fromkeys(self._not_started(), FOLLOWS_SKIPPED) if succeeded else {}
        return {key.path[-1]: why for key, why in sorted({**self.skipped, **following}.items())}

    def _not_started(self) -> list[dg.AssetKey]:
        return [key for key, step in self.steps.items() if step not in self.started]

    def _name(self, name: str) -> str:
        return f"{name} of term {self.term}" if self.term else name

    def _is_done(self, key: dg.AssetKey) -> bool:
        return key in self.landed or key in self.skipped

    def _land(self, made: dg.AssetMaterialization) -> None:
        self.landed.add(made.asset_key)
        told: dict[str, Any] = {name: value.value for name, value in made.metadata.items()}
        self.tell.landed(made.asset_key.path[-1], self.term, told)

    def _skip(self, seen: dg.AssetObservation) -> None:
        if SKIPPED in seen.metadata:
            self.skipped[seen.asset_key] = str(seen.metadata[SKIPPED].value)

    def _fail(self, event: dg.DagsterEvent) -> None:
        step, source = str(event.step_key), event.step_failure_data.error_source
        self.interrupted = self.interrupted or (source is not None and source.name == "INTERRUPT")
        self.failed[step] = why = message_of(event)
        if not self.interrupted:
            self._show([key.path[-1] for key, each in self.steps.items() if each == step], why)

    def _show(self, models: Sequence[str], why: str) -> None:
        if why not in self.said:
            self.said.add(why)
            self.tell.failed(self.title, sorted(models), why)


def message_of(event: dg.DagsterEvent) -> str:
    """Return the message of a failed step's event, without the name of a class of ours."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    return OUR_CLASS.sub("", (error.cause or error).message.strip()) if error else ""
