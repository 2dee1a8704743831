"""Terms that come into scope: when they are synced at once, and how Canvas is asked for them."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from canvas_sync_dagster.errors import CanvasUnavailableError
from canvas_sync_dagster.orchestration import term_watch
from canvas_sync_dagster.orchestration.new_terms import TermSituation, terms_to_sync
from canvas_sync_dagster.orchestration.term_watch import TermWatch
from canvas_sync_dagster.sync.scope import Term

READY = TermSituation(
    in_scope=["118", "119"],
    synced={"117", "118"},
    has_completed=True,
    scheduled=True,
    until_tick=timedelta(hours=2),
)


@pytest.mark.parametrize(
    ("changes", "synced"),
    [
        ({}, ("119",)),
        ({"until_tick": None}, ("119",)),
        ({"synced": {"118", "119"}}, ()),
        ({"tried": {"119"}}, ()),
        ({"wanted": False}, ()),
        ({"has_completed": False}, ()),
        ({"under_way": True}, ()),
        ({"scheduled": False}, ()),
        ({"until_tick": timedelta(minutes=29)}, ()),
        ({"in_scope": [str(number) for number in range(200, 210)]}, tuple(map(str, range(200, 210)))),
        ({"in_scope": [str(number) for number in range(200, 211)]}, ()),
    ],
)
def test_when_new_terms_are_synced_at_once(changes: dict[str, Any], synced: tuple[str, ...]) -> None:
    assert terms_to_sync(replace(READY, **changes)) == synced


def test_a_reading_is_returned_once_and_not_repeated_before_it_is_due() -> None:
    read: list[int] = []
    watch = TermWatch()

    def terms() -> list[Term]:
        read.append(1)
        return [Term("118")]

    assert watch.look("canvas", terms) == [Term("118")]
    assert watch.look("canvas", terms) is None
    assert watch.look("other", terms) == [Term("118")]
    assert len(read) == 2


def test_a_slow_canvas_delays_no_tick_and_its_answer_is_used_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(term_watch, "WAIT", 0.0)
    watch, answered, finished = TermWatch(), threading.Event(), threading.Event()

    def slow() -> list[Term]:
        answered.wait(30)
        return [Term("118")]

    assert watch.look("canvas", slow) is None
    assert watch.look("canvas", slow) is None
    answered.set()
    while (found := watch.look("canvas", slow)) is None:
        finished.wait(0.01)
    assert found == [Term("118")]


@pytest.mark.parametrize("error", [CanvasUnavailableError("away"), ValueError("a function of the user")])
def test_a_canvas_that_cannot_be_read_fails_no_tick(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(term_watch, "EVERY", 0.0)
    watch = TermWatch()

    def fails() -> list[Term]:
        raise error

    assert watch.look("canvas", fails) is None
    assert watch.look("canvas", lambda: [Term("1")]) == [Term("1")]
