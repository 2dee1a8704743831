"""What a batch needs next: the whole table of situations, decided from values alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any, cast

import pytest

from canvas_sync_dagster.orchestration.next_step import (
    FAILED,
    FORGOTTEN,
    SENSOR_SILENCE,
    BatchState,
    Close,
    DetermineTerms,
    Executor,
    LaunchEnd,
    LaunchRoot,
    LaunchTerms,
    RunState,
    Step,
    Wait,
    abandonment,
    next_step,
)

ACTIVE, SUCCESS, FAILURE, CANCELLED = RunState.ACTIVE, RunState.SUCCESS, RunState.FAILURE, RunState.CANCELLED
SECOND, HOURS = timedelta(seconds=1), timedelta(hours=3)
NEW = BatchState()
ROOT_DONE = BatchState(root=SUCCESS)
BETWEEN = BatchState(root=SUCCESS, terms=("1", "2", "3"), concurrency=2)
DONE = replace(BETWEEN, runs=dict.fromkeys("123", SUCCESS))
ONE_FAILED = replace(DONE, runs={"1": SUCCESS, "2": FAILURE, "3": SUCCESS})
COMMAND = BatchState(executor=Executor.HERE)
ELSEWHERE = BatchState(executor=Executor.ELSEWHERE, lost_after=timedelta(minutes=2))


def launch(*terms: str, full: str = "", waiting: int, of: int = 3) -> LaunchTerms:
    return LaunchTerms(terms, frozenset(full), f"{waiting} of {of} terms wait")


SITUATIONS: dict[str, tuple[BatchState, Step]] = {
    # The root run.
    "the daemon has not launched the root run yet": (NEW, Wait("its root run is awaited")),
    "another Dagster instance has the root run": (replace(NEW, silence=FORGOTTEN), Wait("its root run is awaited")),
    "the root run was deleted": (replace(NEW, silence=FORGOTTEN + SECOND), Close("failed", "its root run is gone")),
    "a command launches its root run": (COMMAND, LaunchRoot()),
    "the root run is active": (replace(NEW, root=ACTIVE), Wait("the root run is under way")),
    "the root run is active and silent": (replace(NEW, root=ACTIVE, silence=HOURS), Wait("the root run is under way")),
    "the root run is done": (ROOT_DONE, DetermineTerms()),
    "the root run failed": (replace(NEW, root=FAILURE), DetermineTerms()),
    "a command syncs term models only": (replace(COMMAND, has_root=False), DetermineTerms()),
    # No terms.
    "there are no terms": (replace(ROOT_DONE, terms=()), Close("completed", "all done")),
    "the root run failed and there are no terms": (
        replace(NEW, root=FAILURE, terms=()),
        Close("failed", "the root run failed"),
    ),
    "the root run was cancelled and there are no terms": (
        replace(NEW, root=CANCELLED, terms=()),
        Close("failed", "the root run was cancelled"),
    ),
    # Term runs.
    "terms wait": (BETWEEN, launch("1", "2", waiting=3)),
    "one place is free": (replace(BETWEEN, runs={"1": ACTIVE}), launch("2", waiting=2)),
    "no place is free": (replace(BETWEEN, runs={"1": ACTIVE, "2": ACTIVE}), Wait("1 of 3 terms wait")),
    "more runs are active than the setting allows now": (
        replace(BETWEEN, concurrency=1, runs={"1": ACTIVE, "2": ACTIVE}),
        Wait("1 of 3 terms wait"),
    ),
    "the last runs are active": (
        replace(BETWEEN, runs={"1": SUCCESS, "2": ACTIVE, "3": ACTIVE}),
        Wait("2 term runs are under way"),
    ),
    "the order of the terms counts": (replace(BETWEEN, terms=("3", "1", "2")), launch("3", "1", waiting=3)),
    "a term has left the scope": (replace(BETWEEN, last_sync=("2",)), launch("1", "2", full="2", waiting=3)),
    "a term that left the scope waits": (replace(BETWEEN, last_sync=("3",)), launch("1", "2", waiting=3)),
    "all terms are done": (DONE, Close("completed", "3 terms done")),
    # Failures.
    "a term failed and the others follow": (replace(BETWEEN, runs={"1": FAILURE}), launch("2", "3", waiting=2)),
    "a term failed and no other begins": (
        replace(BETWEEN, runs={"1": FAILURE}, on_failed_term="stop"),
        Close("failed", "terms 1 failed; 2 were not begun"),
    ),
    "a term was cancelled and no other begins": (
        replace(BETWEEN, runs={"1": CANCELLED}, on_failed_term="stop"),
        Close("failed", "terms 1 were cancelled; 2 were not begun"),
    ),
    "a term failed and one that was begun is awaited": (
        replace(BETWEEN, runs={"1": FAILURE, "2": ACTIVE}, on_failed_term="stop"),
        Wait("1 term runs are under way"),
    ),
    "a term failed": (ONE_FAILED, Close("failed", "terms 2 failed")),
    "one term failed and one was cancelled": (
        replace(DONE, runs={"1": CANCELLED, "2": FAILURE, "3": SUCCESS}),
        Close("failed", "terms 2 failed; terms 1 were cancelled"),
    ),
    "the root run failed and the terms follow": (replace(BETWEEN, root=FAILURE), launch("1", "2", waiting=3)),
    "the root run failed and no term follows": (
        replace(BETWEEN, root=FAILURE, on_failed_term="stop"),
        Close("failed", "the root run failed; 3 were not begun"),
    ),
    "the root run failed and all terms are done": (replace(DONE, root=FAILURE), Close("failed", "the root run failed")),
    "a step at the start failed": (
        replace(BETWEEN, root=FAILURE, start_failed=True),
        Close("failed", "the root run failed; 3 were not begun"),
    ),
    # Skipped models: a run that skips models succeeds; a model that was asked for by name must be fed.
    "a named model was skipped": (
        replace(ROOT_DONE, terms=(), unmet=("rubrics",)),
        Close("failed", "rubrics cannot be synced from this Canvas"),
    ),
    "a named model was skipped and the terms follow": (
        replace(BETWEEN, unmet=("rubrics",)),
        launch("1", "2", waiting=3),
    ),
    "a named model was skipped and no term follows": (
        replace(BETWEEN, unmet=("rubrics",), on_failed_term="stop"),
        Close("failed", "rubrics cannot be synced from this Canvas; 3 were not begun"),
    ),
    # Steps at the end.
    "the end follows": (replace(DONE, has_end=True), LaunchEnd("completed", "3 terms done")),
    "the end follows failures, too": (replace(ONE_FAILED, has_end=True), LaunchEnd("failed", "terms 2 failed")),
    "the end follows a failed start": (
        replace(BETWEEN, root=FAILURE, start_failed=True, has_end=True),
        LaunchEnd("failed", "the root run failed; 3 were not begun"),
    ),
    "the end waits for active terms": (
        replace(DONE, has_end=True, runs={"1": SUCCESS, "2": SUCCESS, "3": ACTIVE}),
        Wait("1 term runs are under way"),
    ),
    "the end waits for terms that were not launched": (
        replace(BETWEEN, has_end=True, runs={"1": SUCCESS, "2": SUCCESS}),
        launch("3", waiting=1),
    ),
    "the end is active": (replace(DONE, has_end=True, end=ACTIVE), Wait("the steps at the end are under way")),
    "the end is done": (replace(DONE, has_end=True, end=SUCCESS), Close("completed", "3 terms done")),
    "the end is done after a failure": (
        replace(ONE_FAILED, has_end=True, end=SUCCESS),
        Close("failed", "terms 2 failed"),
    ),
    "the end failed": (
        replace(DONE, has_end=True, end=FAILURE),
        Close("failed", "3 terms done; the steps at the end failed"),
    ),
    "the end was cancelled": (
        replace(DONE, has_end=True, end=CANCELLED),
        Close("failed", "3 terms done; the steps at the end were cancelled"),
    ),
    # A command in another process.
    "a command works": (replace(ELSEWHERE, root=ACTIVE), Wait("a command works on it")),
    "a command is between two runs": (replace(ELSEWHERE, root=SUCCESS), Wait("a command works on it")),
    "a command died": (replace(ELSEWHERE, root=SUCCESS, process_gone=True), Close("failed", "its process is gone")),
    "a command died before its first run": (
        replace(ELSEWHERE, process_gone=True),
        Close("failed", "its process is gone"),
    ),
    "the lock of a command is gone and its run is active": (
        replace(ELSEWHERE, root=SUCCESS, runs={"1": ACTIVE}, process_gone=True),
        Wait("a command works on it"),
    ),
    "a command is silent": (
        replace(ELSEWHERE, silence=timedelta(seconds=121)),
        Close("failed", "no heartbeat for 121 s"),
    ),
    "a command is silent and its run is active": (
        replace(ELSEWHERE, root=ACTIVE, silence=HOURS),
        Wait("a command works on it"),
    ),
}


@pytest.mark.parametrize(("state", "step"), SITUATIONS.values(), ids=SITUATIONS)
def test_each_situation_has_its_step(state: BatchState, step: Step) -> None:
    assert next_step(state) == step


QUICK = BatchState(root=SUCCESS, lost_after=SECOND)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (QUICK, None),
        # The sensor ticks every fifteen seconds, so that a shorter `lost_after` does not count between two runs.
        (replace(QUICK, silence=SENSOR_SILENCE), None),
        (replace(QUICK, silence=SENSOR_SILENCE + SECOND), "no heartbeat for 61 s"),
        (replace(QUICK, silence=HOURS, runs={"1": ACTIVE}), None),
        (replace(QUICK, silence=HOURS, end=ACTIVE), None),
        (replace(QUICK, executor=Executor.ELSEWHERE, silence=2 * SECOND), "no heartbeat for 2 s"),
        (replace(QUICK, executor=Executor.ELSEWHERE, process_gone=True), "its process is gone"),
    ],
)
def test_a_batch_is_abandoned_when_nothing_runs_and_nothing_renews_its_heartbeat(
    state: BatchState, reason: str | None
) -> None:
    assert abandonment(state) == reason


STATES = [
    BatchState(
        root=root, terms=terms, runs=runs, end=end, has_end=has_end, on_failed_term=cast(Any, rule), executor=executor
    )
    for root, terms, runs, end, has_end, rule, executor in product(
        [None, *RunState],
        [None, (), ("1", "2")],
        [{}, {"1": ACTIVE}, {"1": SUCCESS}, {"1": FAILURE}, {"1": SUCCESS, "2": CANCELLED}],
        [None, *RunState],
        [False, True],
        ["continue", "stop"],
        [Executor.DAEMON, Executor.HERE],
    )
]


def test_no_batch_is_closed_while_a_run_is_active_and_none_is_completed_with_a_failed_run() -> None:
    for state in STATES:
        step, runs = next_step(state), [state.root, *state.runs.values()]
        if state.has_end:
            runs.append(state.end)
        if isinstance(step, Close):
            assert ACTIVE not in runs, state
            assert step.status == ("completed" if FAILED.isdisjoint(runs) else "failed"), state


def test_every_batch_comes_to_its_end_once_its_runs_do() -> None:
    for start in STATES:
        state = start
        for _ in range(12):
            step = next_step(state)
            if isinstance(step, Close):
                break
            state = after(state, step)
        assert isinstance(step, Close), start


def after(state: BatchState, step: Step) -> BatchState:
    """Return the state after a step was executed, and all active runs succeeded."""
    match step:
        case LaunchRoot():
            return replace(state, root=SUCCESS)
        case DetermineTerms():
            return replace(state, terms=("1",))
        case LaunchTerms(terms=terms):
            return replace(state, runs={**state.runs, **dict.fromkeys(terms, SUCCESS)})
        case LaunchEnd():
            return replace(state, end=SUCCESS)
        case _:
            ended = {term: SUCCESS if run is ACTIVE else run for term, run in state.runs.items()}
            root = SUCCESS if state.root in {None, ACTIVE} else state.root
            return replace(state, root=root, runs=ended, end=SUCCESS if state.end is ACTIVE else state.end)
