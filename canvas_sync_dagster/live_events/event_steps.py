"""Call the user's functions for one live event: each step once, also when the event is tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from canvas_sync_dagster.errors import CanvasSyncError, DataRejectedError, EventPostponedError, FunctionError
from canvas_sync_dagster.live_events.event_plan import Outcome
from canvas_sync_dagster.live_events.handlers import LiveEvent, Step
from canvas_sync_dagster.redaction import summary


@dataclass(slots=True)
class StepResults:
    """What became of the steps of one event.

    Attributes:
        finished: Names of the steps that have succeeded, in this attempt or an earlier one.
        problems: One line per step that raised.
    """

    finished: list[str]
    problems: list[str] = field(default_factory=list)


class DefaultStep:
    """The step that applies one event to the tables.

    A function of the user's that replaces the default may call this step and catch what it raises. `postponed` shows
    nevertheless that the event was not applied.

    Args:
        apply: Applies the event to the tables and returns what was written.
    """

    def __init__(self, apply: Callable[[], Outcome]) -> None:
        self._apply = apply
        self.postponed: EventPostponedError | None = None

    def __call__(self, _: LiveEvent) -> None:
        """Apply the event.

        Raises:
            DataRejectedError: The event or its object cannot be written.
            EventPostponedError: Canvas or the database does not answer, or there is no time left.
        """
        try:
            outcome = self._apply()
        except Exception as error:
            if is_caused_by_events(error):
                raise
            self.postponed = EventPostponedError(error)
            raise self.postponed from error
        if outcome.failed:
            raise DataRejectedError(outcome.failed[0].problem)
        if outcome.is_empty:
            self.postponed = EventPostponedError()
            raise self.postponed


def run_steps(steps: Sequence[Step], event: LiveEvent, finished: Sequence[str], default: DefaultStep) -> StepResults:
    """Call the steps of an event that have not succeeded yet, and whose needs have.

    Args:
        steps: Steps of the event, in their order.
        event: The event as the user's functions get it.
        finished: Names of the steps that have succeeded in an earlier attempt.
        default: The step among them, or called by one of them, that applies the event.

    Returns:
        What became of the steps. After a postponed default no further step is called.
    """
    results = StepResults(list(finished))
    for step in steps:
        if step.name in results.finished or not set(step.needs) <= set(results.finished):
            continue
        try:
            step.call(event)
        except Exception as error:
            problem = f"{step.name}: {summary(error)}"
        else:
            problem = ""
        if default.postponed is not None:
            break
        if problem:
            results.problems.append(problem)
        else:
            results.finished.append(step.name)
    return results


def is_caused_by_events(error: Exception) -> bool:
    """Return whether the content of events caused an error, and not a Canvas or a database that does not answer."""
    if isinstance(error, CanvasSyncError):
        in_values = isinstance(error.__cause__, (psycopg.DataError, psycopg.IntegrityError))
        return in_values or isinstance(error, (DataRejectedError, FunctionError))
    return not isinstance(error, (OSError, psycopg.OperationalError))
