"""Decides what a batch needs next: pure, from the state of the batch and of its runs, without clock, database or Dagster.

The sensor and the command `canvas-sync sync` execute the same steps; they differ only in how a run is launched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Literal

FORGOTTEN = timedelta(hours=1)
"""After this silence a batch without a root run is closed: its runs were deleted, or were never launched."""
SENSOR_SILENCE = timedelta(minutes=1)
"""Shortest silence after which a batch of the daemon counts as abandoned. Between two runs of a batch only the sensor
renews its heartbeat: every 15 seconds, and later if the daemon is busy or was just restarted."""

Outcome = Literal["completed", "failed"]


class RunState(Enum):
    """State of a run of a batch."""

    ACTIVE = "active"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


FAILED = frozenset({RunState.FAILURE, RunState.CANCELLED})
"""States of a run after which its batch fails."""


class Executor(Enum):
    """What executes the runs of a batch."""

    DAEMON = "daemon"
    """Dagster's daemon, to which the sensor of this process gives run requests."""
    HERE = "here"
    """This process: a command that executes its own batch."""
    ELSEWHERE = "elsewhere"
    """A command in another process."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """All that the decision depends on.

    Attributes:
        root: State of the root run; None if there is none.
        terms: Ids of the terms of the batch, in order; None until they are determined, after the root run.
        last_sync: Those of the terms that left the scope: each gets one last sync, in full.
        runs: State of each term run, by term id.
        end: State of the run of the steps at the end; None if there is none since the last other run.
        unmet: Models that were asked for by name and that this Canvas cannot feed.
        executor: What executes the runs.
        has_root: Whether anything of the batch belongs to no term.
        has_end: Whether there are steps at the end of a batch.
        start_failed: Whether a step at the start of the batch failed, so that no term run may follow.
        concurrency: Number of term runs at once.
        on_failed_term: Whether the other terms follow a failed run.
        silence: Time since the last heartbeat of the batch.
        lost_after: Silence after which a process counts as gone.
        process_gone: Whether the lock of the process that executes the batch was released.
    """

    root: RunState | None = None
    terms: Sequence[str] | None = None
    last_sync: Sequence[str] = ()
    runs: Mapping[str, RunState] = field(default_factory=dict)
    end: RunState | None = None
    unmet: Sequence[str] = ()
    executor: Executor = Executor.DAEMON
    has_root: bool = True
    has_end: bool = False
    start_failed: bool = False
    concurrency: int = 1
    on_failed_term: Literal["continue", "stop"] = "continue"
    silence: timedelta = timedelta(0)
    lost_after: timedelta = timedelta(minutes=2)
    process_gone: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until the next tick."""

    reason: str


@dataclass(frozen=True, slots=True)
class LaunchRoot:
    """Launch the root run."""

    reason: str = "the root run begins"


@dataclass(frozen=True, slots=True)
class DetermineTerms:
    """Determine the terms of the batch and store them, then decide again."""

    reason: str = "the terms are determined"


@dataclass(frozen=True, slots=True)
class LaunchTerms:
    """Launch term runs.

    Attributes:
        terms: Ids of the terms, in order.
        in_full: Those of them whose run is a full sync, because it is their last.
        reason: One sentence for people.
    """

    terms: tuple[str, ...]
    in_full: frozenset[str]
    reason: str


@dataclass(frozen=True, slots=True)
class LaunchEnd:
    """Launch the run of the steps at the end.

    Attributes:
        outcome: How the batch went until now.
        reason: Why, in one sentence for people.
    """

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the batch.

    Attributes:
        status: How the batch ended.
        reason: Why, in one sentence for people.
    """

    status: Outcome
    reason: str


Step = Wait | LaunchRoot | DetermineTerms | LaunchTerms | LaunchEnd | Close


def next_step(state: BatchState) -> Step:
    """Return what the batch needs next.

    Args:
        state: The batch and its runs, as they are now.
    """
    if state.executor is Executor.ELSEWHERE:
        abandoned = abandonment(state)
        return Close("failed", abandoned) if abandoned else Wait("a command works on it")
    return _root_step(state) or _term_step(state) or _end_step(state)


def abandonment(state: BatchState) -> str | None:
    """Return why nothing works on a batch any more, in one sentence; None if it is not abandoned."""
    if RunState.ACTIVE in (state.root, state.end, *state.runs.values()):
        return None
    if state.process_gone:
        return "its process is gone"
    by_sensor = state.executor is Executor.DAEMON
    limit = max(state.lost_after, SENSOR_SILENCE) if by_sensor else state.lost_after
    return f"no heartbeat for {round(state.silence.total_seconds())} s" if state.silence > limit else None


def _root_step(state: BatchState) -> Step | None:
    """Return what the batch needs before its term runs; None once the root run has ended."""
    if state.root is RunState.ACTIVE:
        return Wait("the root run is under way")
    if state.root is not None or not state.has_root:
        return None
    if state.executor is Executor.HERE:
        return LaunchRoot()
    return Close("failed", "its root run is gone") if state.silence > FORGOTTEN else Wait("its root run is awaited")


def _term_step(state: BatchState) -> Step | None:
    """Return what the batch needs for its term runs; None once all have ended that are going to run."""
    if state.terms is None:
        return DetermineTerms()
    active = sum(run is RunState.ACTIVE for run in state.runs.values())
    waiting = _waiting(state)
    goes_on = not state.start_failed and (state.on_failed_term == "continue" or not _has_failed(state))
    if waiting and goes_on:
        reason = f"{len(waiting)} of {len(state.terms)} terms wait"
        launched = tuple(waiting[: max(0, state.concurrency - active)])
        in_full = frozenset(launched) & frozenset(state.last_sync)
        return LaunchTerms(launched, in_full, reason) if launched else Wait(reason)
    return Wait(f"{active} term runs are under way") if active else None


def _end_step(state: BatchState) -> Step:
    """Return what the batch needs once its term runs have ended."""
    outcome: Outcome = "failed" if _has_failed(state) else "completed"
    reason = _reason(state)
    if not state.has_end or state.end is RunState.SUCCESS:
        return Close(outcome, reason)
    if state.end is None:
        return LaunchEnd(outcome, reason)
    if state.end is RunState.ACTIVE:
        return Wait("the steps at the end are under way")
    how = "failed" if state.end is RunState.FAILURE else "were cancelled"
    return Close("failed", f"{reason}; the steps at the end {how}")


def _has_failed(state: BatchState) -> bool:
    return bool(state.unmet) or not FAILED.isdisjoint((state.root, *state.runs.values()))


def _waiting(state: BatchState) -> list[str]:
    return [term for term in state.terms or () if term not in state.runs]


def _reason(state: BatchState) -> str:
    """Return in one sentence how a batch went until the steps at its end."""
    runs = {term: state.runs[term] for term in state.terms or () if term in state.runs}
    parts = []
    for kind, verb in ((RunState.FAILURE, "failed"), (RunState.CANCELLED, "were cancelled")):
        if terms := [term for term, run in runs.items() if run is kind]:
            parts.append(f"terms {', '.join(terms)} {verb}")
    if not parts and state.root in FAILED:
        parts.append("the root run failed" if state.root is RunState.FAILURE else "the root run was cancelled")
    if state.unmet:
        parts.append(f"{', '.join(state.unmet)} cannot be synced from this Canvas")
    waiting = _waiting(state)
    if parts and waiting:
        parts.append(f"{len(waiting)} were not begun")
    return "; ".join(parts) or (f"{len(runs)} terms done" if runs else "all done")
