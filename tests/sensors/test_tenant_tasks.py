"""Tasks of many tenants: each once at a time, and none waits for one that hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from canvas_sync_dagster.errors import DatabaseUnavailableError
from canvas_sync_dagster.sensors.tenant_tasks import TaskLimits, TenantTasks

SHORT = TaskLimits(threads=1, wait_seconds=0.2, slow_seconds=0.1, retry_seconds=3600.0, overdue_seconds=0.0)
LONG = TaskLimits(threads=2, wait_seconds=60.0, slow_seconds=60.0, retry_seconds=0.0)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """A gate that a task waits at, until the test opens it or ends."""
    opened = threading.Event()
    yield opened
    opened.set()


def test_a_task_that_hangs_delays_no_other_and_a_later_tick_gets_its_result(gate: threading.Event) -> None:
    tasks: TenantTasks[object] = TenantTasks("test", SHORT)
    assert tasks.submit("hangs", gate.wait)
    assert tasks.wait() == {}
    assert not tasks.submit("hangs", gate.wait), "it is at work"
    # It is overdue, and has given up its place among the threads.
    assert tasks.submit("quick", lambda: "done")
    assert _value_of(tasks, "quick") == "done"
    gate.set()
    assert _value_of(tasks, "hangs") is True


def test_a_tick_does_not_wait_again_for_one_that_was_slow_or_failed(gate: threading.Event) -> None:
    limits = TaskLimits(wait_seconds=60.0, slow_seconds=60.0, retry_seconds=0.0)
    tasks: TenantTasks[object] = TenantTasks("test", limits)
    tasks.submit("broken", _fail)
    assert tasks.wait()["broken"].problem == "no route to host"
    tasks.submit("broken", gate.wait)
    assert tasks.wait() == {}, "this would last for a minute"
    assert tasks.unfinished() == {"broken"}


def test_what_failed_is_tried_again_after_a_pause() -> None:
    tasks: TenantTasks[object] = TenantTasks("test", SHORT)
    tasks.submit("broken", _fail)
    assert _problem_of(tasks, "broken") == "no route to host"
    assert not tasks.submit("broken", _fail)
    assert tasks.submit("another", lambda: 1)


def test_a_task_may_submit_others_which_begin_by_priority() -> None:
    order: list[str] = []
    tasks: TenantTasks[object] = TenantTasks("test", TaskLimits(threads=1, wait_seconds=60.0, slow_seconds=60.0))

    def look() -> None:
        for name, priority in (("drained lately", 9.0), ("drained long ago", 1.0), ("never drained", 0.0)):
            tasks.submit(name, lambda name=name: order.append(name), priority)  # type: ignore[misc]

    tasks.submit("look", look, -1.0)
    assert set(tasks.wait()) == {"look", "never drained", "drained long ago", "drained lately"}
    assert order == ["never drained", "drained long ago", "drained lately"]


def _fail() -> object:
    raise DatabaseUnavailableError("no route to host")


def _result(tasks: TenantTasks[object], key: str) -> object:
    for _ in range(300):
        if key in (results := tasks.wait()):
            return results[key]
    raise AssertionError(f"{key} has no result")


def _value_of(tasks: TenantTasks[object], key: str) -> object:
    return _result(tasks, key).value  # type: ignore[attr-defined]


def _problem_of(tasks: TenantTasks[object], key: str) -> object:
    return _result(tasks, key).problem  # type: ignore[attr-defined]
