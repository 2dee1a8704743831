"""What becomes of a batch next, decided from its runs alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from canvas_sync_dagster.orchestration.next_step import RunState, Step, next_step

ACTIVE, SUCCESS, FAILURE = RunState.ACTIVE, RunState.SUCCESS, RunState.FAILURE
OVER: dict[str, Any] = {
    "silence": timedelta(0),
    "root": SUCCESS,
    "terms": ["1", "2"],
    "runs": {"1": SUCCESS, "2": SUCCESS},
    "scope": (),
    "concurrency": 4,
    "go_on": True,
}


@pytest.mark.parametrize(
    ("end", "step"),
    [
        (None, Step(end=True, outcome="completed", reason="2 terms done")),
        (ACTIVE, Step(reason="the steps at the end are under way")),
        (SUCCESS, Step(close="completed", reason="2 terms done")),
        (FAILURE, Step(close="failed", reason="2 terms done; the steps at the end failed")),
    ],
)
def test_the_end_runs_once_all_terms_are_over_and_only_then_the_batch_is_closed(
    end: RunState | None, step: Step
) -> None:
    assert next_step(**OVER, has_end=True, end=end) == step


def test_the_end_runs_after_failed_terms_too_and_waits_for_those_under_way() -> None:
    failed = next_step(**{**OVER, "runs": {"1": FAILURE, "2": SUCCESS}}, has_end=True)
    assert (failed.end, failed.outcome, failed.close) == (True, "failed", None)
    assert not next_step(**{**OVER, "runs": {"1": ACTIVE, "2": SUCCESS}}, has_end=True).end
    assert not next_step(**{**OVER, "runs": {"1": SUCCESS}}, has_end=True).end


def test_after_a_failed_start_no_term_begins_and_the_end_runs() -> None:
    step = next_step(
        **{**OVER, "root": FAILURE, "terms": None, "runs": {}, "scope": ["1"], "go_on": False}, has_end=True
    )
    assert (list(step.launch), step.end, step.outcome) == ([], True, "failed")
    assert step.reason == "the root run failed; 1 were not begun"
