"""The life of a report, without waiting for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canvas_sync_dagster.canvas.lifecycle import (
    ATTACHMENT_GRACE,
    FIRST_PAUSE,
    Attachment,
    Fetch,
    GiveUp,
    Limits,
    Missing,
    Seen,
    StartAgain,
    Status,
    Trouble,
    Wait,
    next_step,
    pause,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(timedelta(days=1), timedelta(hours=1), timedelta(hours=2), tries=3, poll=timedelta(seconds=30))
FILE = Attachment("https://x.test/files/1", 1, 10)


@dataclass(frozen=True)
class Memory:
    tries: int = 1
    first_requested_at: datetime = NOW
    requested_at: datetime = NOW
    running_since: datetime | None = None
    completed_at: datetime | None = None


@pytest.mark.parametrize(
    "seen",
    [
        Status(1, "created"),
        Status(1, "running", 99),
        Status(1, "compiling", 3),
        Status(1, "meditating"),
        Status(1, "complete", 100),
        Trouble("502"),
    ],
)
def test_what_looks_strange_and_is_ordinary_is_waited_for(seen: Seen) -> None:
    later = NOW + timedelta(minutes=2)
    memory = Memory(completed_at=NOW)
    assert next_step(memory, seen, later, LIMITS) == Wait(30)


def test_a_young_report_is_asked_after_quickly_then_more_slowly() -> None:
    age, pauses = timedelta(0), list[timedelta]()
    while not pauses or pauses[-1] < LIMITS.poll:
        pauses.append(pause(age, LIMITS.poll))
        age += pauses[-1]
    assert pauses[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert len(pauses) < 25
    assert pause(timedelta(days=1), LIMITS.poll) == pause(timedelta.max, LIMITS.poll) == LIMITS.poll
    assert pause(timedelta(0), timedelta(milliseconds=10)) == timedelta(milliseconds=10)


def test_a_report_that_begins_after_hours_in_the_queue_is_young_again() -> None:
    began = NOW + timedelta(hours=1)
    waiting, running = Status(1, "created"), Status(1, "running")
    assert next_step(Memory(), waiting, began, LIMITS) == Wait(30)
    assert next_step(Memory(running_since=began), running, began, LIMITS) == Wait(FIRST_PAUSE.total_seconds())


def test_a_canvas_in_trouble_is_not_asked_quickly() -> None:
    assert next_step(Memory(), Trouble("502"), NOW, LIMITS) == Wait(30)


def test_a_complete_report_is_fetched_even_without_its_end() -> None:
    status = Status(1, "complete", 100, FILE)
    assert next_step(Memory(tries=3), status, NOW + timedelta(days=3), LIMITS) == Fetch(FILE, status)


@pytest.mark.parametrize(
    "seen", [Status(1, "error", extra_text="ErrorReport:7"), Status(1, "aborted"), Status(1, "deleted"), Missing()]
)
def test_a_failed_try_is_followed_by_another_until_none_is_left(seen: Seen) -> None:
    assert isinstance(next_step(Memory(tries=2), seen, NOW, LIMITS), StartAgain)
    assert isinstance(next_step(Memory(tries=3), seen, NOW, LIMITS), GiveUp)


@pytest.mark.parametrize(
    ("memory", "seen", "later"),
    [
        (Memory(), Status(1, "created"), timedelta(hours=2)),
        (Memory(running_since=NOW), Status(1, "running"), timedelta(hours=1)),
        (Memory(running_since=NOW), Status(1, "compiling"), timedelta(hours=1)),
        (Memory(completed_at=NOW), Status(1, "complete"), ATTACHMENT_GRACE),
    ],
)
def test_each_stage_has_its_deadline(memory: Memory, seen: Seen, later: timedelta) -> None:
    assert isinstance(next_step(memory, seen, NOW + later, LIMITS), Wait)
    assert isinstance(next_step(memory, seen, NOW + later + timedelta(seconds=1), LIMITS), StartAgain)


def test_compiling_does_not_count_the_hours_in_the_queue() -> None:
    memory = Memory(running_since=NOW + timedelta(hours=20))
    assert isinstance(next_step(memory, Status(1, "running"), NOW + timedelta(hours=20, minutes=30), LIMITS), Wait)


seen = (
    st.builds(
        Status,
        st.just(1),
        st.sampled_from(["created", "running", "compiling", "complete", "error", "aborted", "what"]),
        st.integers(0, 100),
        st.none() | st.just(FILE),
    )
    | st.just(Missing())
    | st.just(Trouble("x"))
)


@given(st.lists(seen, min_size=1), st.integers(1, 5))
def test_it_always_ends_within_its_time_and_tries(looks: list[Seen], tries: int) -> None:
    limits = replace(LIMITS, tries=tries)
    memory, now, started = Memory(), NOW, 1
    for number in range(100_000):
        look = looks[number % len(looks)]
        if isinstance(look, Status) and look.state not in {"created", "complete"} and memory.running_since is None:
            memory = replace(memory, running_since=now)
        step = next_step(memory, look, now, limits)
        assert now - NOW <= limits.total + limits.poll
        if isinstance(step, (Fetch, GiveUp)):
            break
        if isinstance(step, Wait):
            assert 0 < step.seconds <= limits.poll.total_seconds()
            now += timedelta(seconds=step.seconds)
        else:
            started += 1
            memory = Memory(tries=memory.tries + 1, requested_at=now)
    assert isinstance(step, (Fetch, GiveUp))
    assert started <= tries


def test_canvas_json_is_read_tolerantly() -> None:
    assert Status.parse({"id": "7", "status": "Running"}) == Status(7, "running")
    full = Status.parse(
        {"id": 7, "status": "complete", "progress": 100, "started_at": "2026-01-01T00:00:00Z", "ended_at": None,
         "parameters": {"extra_text": "Term: X"}, "attachment": {"id": 3, "url": "https://x", "size": "9"}}
    )  # fmt: skip
    assert (full.started_at, full.ended_at, full.attachment) == (NOW, None, Attachment("https://x", 3, 9))
    for body in ({}, {"id": 1}, {"status": "running"}):
        with pytest.raises(ValueError, match="not a report"):
            Status.parse(body)
