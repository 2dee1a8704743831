"""Work on many tenants at once, in threads, so that a slow or unreachable tenant delays no other one.

A tick of a sensor submits tasks and waits for their results, but not longer than `TaskLimits.wait_seconds`, and not for
a tenant that failed or was slow the last time. A task that takes longer goes on, and a later tick gets its result.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.redaction import summary

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """Limits of the tasks of one sensor.

    Attributes:
        threads: Tasks that are executed at the same time; each holds at most two connections to its database.
        wait_seconds: How long a tick waits for its tasks; Dagster allows a tick 60 seconds.
        slow_seconds: Duration above which the next ticks do not wait for this task.
        retry_seconds: Pause before the next attempt of a task that failed.
        overdue_seconds: Duration after which a task no longer counts as one of `threads`, so that tasks that never end
            cannot occupy all of them.
    """

    threads: int = 8
    wait_seconds: float = 10.0
    slow_seconds: float = 5.0
    retry_seconds: float = 30.0
    overdue_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class TaskResult(Generic[T]):
    """How a task ended.

    Attributes:
        value: What it returned; None if it failed.
        problem: One sentence without row content; None if it succeeded.
        seconds: How long it took.
    """

    value: T | None
    problem: str | None
    seconds: float


class TenantTasks(Generic[T]):
    """The tasks of one sensor: at most one for each key at a time.

    Attributes:
        problems: Key → problem of its last task, as `values` has read it; only of keys whose last task failed.

    Args:
        name: Name of the sensor, for the threads.
        limits: Limits of the tasks.
    """

    def __init__(self, name: str, limits: TaskLimits | None = None) -> None:
        self.limits = limits or TaskLimits()
        self._name = name
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, str, Callable[[], T]]] = []
        self._running: dict[str, float] = {}
        self._results: dict[str, TaskResult[T]] = {}
        self.problems: dict[str, str] = {}
        self._not_awaited: set[str] = set()
        self._retry_at: dict[str, float] = {}
        self._threads = 0

    def submit(self, key: str, work: Callable[[], T], priority: float = 0.0) -> bool:
        """Have work executed in a thread.

        Args:
            key: What it works on, such as the slug of a tenant.
            work: The task.
            priority: Tasks with a lower value begin first.

        Returns:
            False if it is not executed: the last task with this key has not ended, its result was not read, or it
            failed less than `TaskLimits.retry_seconds` ago.
        """
        with self._changed:
            if key in self.unfinished() or key in self._results or time.monotonic() < self._retry_at.get(key, 0.0):
                return False
            heapq.heappush(self._waiting, (priority, next(self._numbers), key, work))
            if self._threads - self._overdue() < self.limits.threads:
                self._threads += 1
                # A daemon thread: a task that never ends must not keep the code server from ending.
                threading.Thread(target=self._work, name=f"{self._name} task", daemon=True).start()
            return True

    def wait(self) -> dict[str, TaskResult[T]]:
        """Wait for the tasks that are awaited, and return the results of all that have ended since the last call."""
        with self._changed:
            self._changed.wait_for(lambda: not self.unfinished() - self._not_awaited, self.limits.wait_seconds)
            results, self._results = self._results, {}
            return results

    def values(self) -> dict[str, T]:
        """Wait as `wait` does, and return what the successful tasks returned; note the problems of the others."""
        returned: dict[str, T] = {}
        for key, result in self.wait().items():
            if result.problem is not None:
                self.problems[key] = result.problem
                continue
            self.problems.pop(key, None)
            returned[key] = cast("T", result.value)
        return returned

    def unfinished(self) -> set[str]:
        """Return the keys of the tasks that wait or are executed."""
        with self._changed:
            return {key for _, _, key, _ in self._waiting} | set(self._running)

    def seconds_of(self, key: str) -> float | None:
        """Return how long a task has been executed; None if it is not."""
        with self._changed:
            start = self._running.get(key)
            return None if start is None else time.monotonic() - start

    def _overdue(self) -> int:
        limit = time.monotonic() - self.limits.overdue_seconds
        return sum(start < limit for start in self._running.values())

    def _work(self) -> None:
        while (task := self._next()) is not None:
            key, work = task
            start = time.monotonic()
            value: T | None = None
            problem: str | None = "the task was ended"
            try:
                value, problem = work(), None
            except CanvasSyncError as error:
                problem = str(error)
            except Exception as error:
                problem = summary(error)
            finally:
                self._end(key, TaskResult(value, problem, time.monotonic() - start))

    def _next(self) -> tuple[str, Callable[[], T]] | None:
        with self._changed:
            if not self._waiting:
                self._threads -= 1
                return None
            _, _, key, work = heapq.heappop(self._waiting)
            self._running[key] = time.monotonic()
            return key, work

    def _end(self, key: str, result: TaskResult[T]) -> None:
        failed = result.problem is not None
        with self._changed:
            del self._running[key]
            self._results[key] = result
            if failed or result.seconds > self.limits.slow_seconds:
                self._not_awaited.add(key)
            else:
                self._not_awaited.discard(key)
            self._retry_at[key] = time.monotonic() + self.limits.retry_seconds if failed else 0.0
            self._changed.notify_all()
