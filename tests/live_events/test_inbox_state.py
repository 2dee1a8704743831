"""When a look at an inbox is worth its query."""

from __future__ import annotations

from canvas_sync_dagster.live_events.inbox_state import LOOK_SECONDS, SETTLED_SECONDS, looked, needs_look, seen
from canvas_sync_dagster.warehouse.state.inbox import Backlog

EMPTY = Backlog()


def test_an_inbox_is_looked_at_when_its_number_has_grown_and_until_late_commits_are_there() -> None:
    state = seen(None, 7, now=0.0)
    assert needs_look(state, 0.0)
    state = looked(state, EMPTY, 0.0, spread=1.0)
    assert needs_look(seen(state, 7, 1.0), 1.0), "an event with this number may be uncommitted"
    assert not needs_look(seen(state, 7, SETTLED_SECONDS), SETTLED_SECONDS)
    assert needs_look(seen(state, 8, SETTLED_SECONDS), SETTLED_SECONDS)
    assert needs_look(seen(state, 3, SETTLED_SECONDS), SETTLED_SECONDS), "the database was restored"


def test_an_inbox_whose_number_is_hidden_or_that_is_not_empty_is_always_looked_at() -> None:
    for position, backlog in ((None, EMPTY), (7, Backlog(3, 1))):
        state = looked(seen(None, position, 0.0), backlog, 0.0, spread=1.0)
        assert needs_look(state, 100.0)


def test_failed_events_are_looked_at_when_they_are_due_again_and_all_inboxes_now_and_then() -> None:
    state = looked(seen(None, 7, 0.0), Backlog(0, None, next_in=40.0), 0.0, spread=1.0)
    assert [needs_look(state, now) for now in (39.0, 40.0)] == [False, True]
    state = looked(state, EMPTY, 0.0, spread=0.0)
    assert [needs_look(state, now) for now in (LOOK_SECONDS / 2 - 1, LOOK_SECONDS / 2)] == [False, True]
