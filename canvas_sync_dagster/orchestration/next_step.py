"""What becomes of a batch next: decided from its runs, without a clock of its own, so that any tick can take it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

FORGOTTEN = timedelta(hours=1)
"""After such a silence a batch without a root run is over: its runs were deleted, or were never launched."""


class RunState(Enum):
    """What a run of a batch is at."""

    ACTIVE = "active"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


FAILED = {RunState.FAILURE, RunState.CANCELLED}
"""Ends after which a batch is not complete."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now.

    Attributes:
        terms: Terms of the whole batch, now that they are known; None leaves them as they are.
        launch: Terms whose runs are to be launched.
        end: Whether the run of the steps at the end is to be launched; `outcome` is then how the batch went.
        outcome: `completed` or `failed`, once all but the end is over.
        close: `completed` or `failed`; None if the batch goes on.
        reason: One sentence for people.
    """

    terms: Sequence[str] | None = None
    launch: Sequence[str] = ()
    end: bool = False
    outcome: str | None = None
    close: str | None = None
    reason: str = ""


def next_step(
    *,
    silence: timedelta,
    root: RunState | None,
    terms: Sequence[str] | None,
    runs: Mapping[str, RunState],
    scope: Sequence[str],
    concurrency: int,
    go_on: bool,
    has_end: bool = False,
    end: RunState | None = None,
) -> Step:
    """Decides what a batch needs.

    Args:
        silence: Since somebody has looked after it who knows its runs.
        root: Its root run; None if it has none.
        terms: Its terms, once they are known, in order.
        runs: Its term runs, by term.
        scope: The terms in scope now, in order; used when they are not known yet.
        concurrency: Term runs at once.
        go_on: Whether a failed term lets the others go on.
        has_end: Whether there are steps at the end of a batch.
        end: Their run; None if there is none since the last other run.
    """
    if root is None:
        return (
            Step(close="failed", reason="its root run is gone")
            if silence > FORGOTTEN
            else Step(reason="its root run is awaited")
        )
    if root is RunState.ACTIVE:
        return Step(reason="the root run is under way")
    planned = list(scope if terms is None else terms)
    failed = root in FAILED or not FAILED.isdisjoint(runs.values())
    active = sum(state is RunState.ACTIVE for state in runs.values())
    waiting = [term for term in planned if term not in runs]
    if waiting and (go_on or not failed):
        launch = waiting[: max(0, concurrency - active)]
        return Step(planned if terms is None else None, launch, reason=f"{len(waiting)} of {len(planned)} terms wait")
    if active:
        return Step(reason=f"{active} term runs are under way")
    reason = _end(root, {term: runs[term] for term in planned if term in runs}, waiting)
    new_terms = planned if terms is None else None
    outcome = "failed" if failed else "completed"
    if not has_end:
        return Step(new_terms, close=outcome, reason=reason)
    return _ending(end, new_terms, outcome, reason)


def _ending(end: RunState | None, terms: Sequence[str] | None, outcome: str, reason: str) -> Step:
    if end is None:
        return Step(terms, end=True, outcome=outcome, reason=reason)
    if end is RunState.ACTIVE:
        return Step(terms, reason="the steps at the end are under way")
    if end in FAILED:
        how = "failed" if end is RunState.FAILURE else "were cancelled"
        return Step(terms, close="failed", reason=f"{reason}; the steps at the end {how}")
    return Step(terms, close=outcome, reason=reason)


def _end(root: RunState, runs: Mapping[str, RunState], waiting: Sequence[str]) -> str:
    """Return in one sentence how a batch ended."""
    parts = []
    for state, verb in ((RunState.FAILURE, "failed"), (RunState.CANCELLED, "were cancelled")):
        if terms := [term for term, each in runs.items() if each is state]:
            parts.append(f"terms {', '.join(terms)} {verb}")
    if not parts and root in FAILED:
        parts.append("the root run failed" if root is RunState.FAILURE else "the root run was cancelled")
    if parts and waiting:
        parts.append(f"{len(waiting)} were not begun")
    return "; ".join(parts) or f"{len(runs)} terms done"
