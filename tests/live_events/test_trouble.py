"""What goes wrong while events are applied costs the one event that it befalls, or none if Canvas itself is away."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.errors import CanvasUnavailableError
from canvas_sync_dagster.live_events import canvas_reads
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.handlers import EventHandlers
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.session import Session
from tests.live_events.test_drain import due, put, put_and_drain, states
from tests.truth import actual, sync_structure

NO_NUMBERS = ["abc", "", [], [1], {}, {"a": 1}, True, 1.5, "9" * 23, "9" * 5000, "1e5", "12\n", "٣", "7~12", "../../x"]


@pytest.fixture
def hurried(canvas: SimulatedCanvas, session: Session) -> Iterator[Session]:
    """A session whose requests are not tried again."""
    with Canvas(canvas.base_url, canvas.token, retry_seconds=0.01) as client:
        yield replace(session, canvas=client)


@contextlib.contextmanager
def away(session: Session) -> Iterator[Session]:
    """The same session while nobody listens at Canvas's address."""
    with Canvas("http://127.0.0.1:9", "token", retry_seconds=0.01) as client:
        yield replace(session, canvas=client)


@contextlib.contextmanager
def mute(session: Session) -> Iterator[Session]:
    """The same session while Canvas takes connections and never answers."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Canvas(f"http://127.0.0.1:{listener.getsockname()[1]}", "token", retry_seconds=0.01) as client,
    ):
        yield replace(session, canvas=client)


def renamed(canvas: SimulatedCanvas, **body: object) -> dict[str, Any]:
    told = {"course_id": global_id(2003), "name": "x", **body}
    return event("course_updated", told, canvas.now + timedelta(hours=1))


def test_events_that_nobody_can_read_fail_alone(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    later = canvas.now + timedelta(hours=1)
    bad = [event("course_updated", {"course_id": each}, later) for each in NO_NUMBERS]
    bad += [
        event("submission_updated", {"submission_id": "5", "assignment_id": each, "user_id": "7"}, later)
        for each in NO_NUMBERS
    ]
    done = put_and_drain(session, [*bad, renamed(canvas)], canvas)
    assert done.events == {"failed": len(bad), "applied": 1}
    with psycopg.connect(session.database_url) as connection:
        errors = connection.execute("select distinct error from canvas.canvas_sync_live_events where error is not null")
        assert {str(error) for (error,) in errors} == {
            "the event's body contains no integer for canvas_id",
            "the event's body contains no integer for canvas_assignment_id",
        }


def test_a_row_that_the_users_own_constraint_refuses_fails_alone(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    with psycopg.connect(session.database_url) as connection:
        connection.execute("alter table canvas.courses add check (name <> 'Renamed')")
    canvas.university.set("courses", pl.col("id") == 2003, name="Renamed")
    later = canvas.now + timedelta(hours=1)
    events = [event("course_updated", {"course_id": global_id(number)}, later) for number in (2003, 2005, 2006, 2007)]
    assert put_and_drain(session, events, canvas).events == {"failed": 1, "applied": 3}


def test_an_object_that_canvas_cannot_show_fails_alone(canvas: SimulatedCanvas, hurried: Session) -> None:
    sync_structure(hurried)
    put(hurried, [renamed(canvas)], canvas)
    canvas.faults.add("broken_object", times=20)
    assert drain(hurried).events == {"failed": 1}
    canvas.faults.clear()
    due(hurried)
    assert drain(hurried).events == {"applied": 1}


def test_while_canvas_is_away_no_event_loses_a_try(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    seen: list[str] = []
    handlers = EventHandlers(subscribers=[(frozenset({"user_updated"}), lambda each: seen.append(each.name))])
    own = replace(session, extensions=Extensions(events=handlers))
    user = event("user_updated", {"user_id": global_id(1002)}, canvas.now + timedelta(hours=1))
    for each in (renamed(canvas), user):
        put(own, [each], canvas)
        with away(own) as lonely:
            for _ in range(3):
                with pytest.raises(CanvasUnavailableError):
                    drain(lonely)
        assert states(own)["pending"] == 1
        assert drain(own).events == {"applied": 1}
    assert seen == ["user_updated"]
    with psycopg.connect(own.database_url) as connection:
        assert connection.execute("select max(attempts) from canvas.canvas_sync_live_events").fetchone() == (0,)


def test_a_drain_ends_in_time_though_canvas_does_not_answer(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    put(session, [renamed(canvas), event("quizzes_next_cloned", {"x": 1}, canvas.now)], canvas)
    with mute(session) as silent:
        start = time.monotonic()
        done = drain(silent, budget=0.5)
        assert time.monotonic() - start < 5
    assert (done.left, states(session)) == (True, {"pending": 1, "ignored": 1})
    assert drain(session).events == {"applied": 1}


def test_more_objects_than_canvas_is_asked_for_at_once_take_several_turns(
    canvas: SimulatedCanvas, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvas_reads, "READS_AT_ONCE", 3)
    sync_structure(session)
    later = canvas.now + timedelta(hours=1)
    courses = canvas.university.courses.get_column("id").to_list()[:10]
    put(session, [event("course_updated", {"course_id": global_id(number)}, later) for number in courses], canvas)
    members = [
        {"group_id": global_id(8004), "user_id": str(30_000_000_000_000 + n), "group_membership_id": global_id(n)}
        for n in range(8)
    ]
    put(
        session,
        [event("group_membership_created", {**each, "workflow_state": "accepted"}, later) for each in members],
        canvas,
    )
    assert drain(session).events == {"applied": 18}


def test_a_column_that_an_event_leaves_out_is_asked_for(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    canvas.advance(hours=1)
    canvas.university.set("sections", pl.col("id") == 4006, sis_id="SEC-OLD")
    canvas.university.set("sections", pl.col("id") == 4006, nonxlist_course_id=2007)
    put_and_drain(
        session, [each for each in canvas.take_events() if "section" in each["metadata"]["event_name"]], canvas
    )
    canvas.take_events()
    canvas.advance(hours=1)
    canvas.university.set("sections", pl.col("id") == 4006, nonxlist_course_id=None)
    (told,) = canvas.take_events()
    told["body"] = {name: value for name, value in told["body"].items() if value is not None}
    put_and_drain(session, [told], canvas)
    with psycopg.connect(session.database_url) as connection:
        row = connection.execute("select canvas_nonxlist_course_id from canvas.sections where canvas_id = 4006")
        assert row.fetchone() == (None,)


def test_a_text_that_canvas_cut_is_not_believed(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    before = actual(session.database_url, "sections")[4006]["name"]
    canvas.take_events()
    (told,) = [each for each in canvas.save_again("sections", 100) if each["body"]["course_section_id"] == "4006"]
    told["body"]["name"] = "x" * 8189 + "..."
    told["metadata"]["event_time"] = (canvas.now + timedelta(hours=1)).isoformat()
    assert put_and_drain(session, [told], canvas).events == {"applied": 1}
    assert actual(session.database_url, "sections")[4006]["name"] == before


def test_a_submission_whose_event_tells_no_course_is_found_by_its_assignment(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync_structure(session)
    row = canvas.university.submissions().row(0, named=True)
    body = {
        "submission_id": global_id(row["id"]),
        "assignment_id": global_id(row["assignment_id"]),
        "user_id": global_id(row["user_id"]),
        "workflow_state": row["state"],
    }
    told = event("submission_updated", body, canvas.now + timedelta(hours=1))
    # Nothing is known of the assignment yet: what the event says is better than nothing.
    assert put_and_drain(session, [told], canvas).events == {"applied": 1}
    task = canvas.university.assignments.filter(pl.col("id") == row["assignment_id"]).row(0, named=True)
    course = {
        "assignment_id": body["assignment_id"],
        "context_id": global_id(task["course_id"]),
        "context_type": "Course",
    }
    put_and_drain(session, [event("assignment_updated", course, canvas.now + timedelta(hours=1))], canvas)
    told["body"]["late"] = True
    asked = len(canvas.requests)
    put_and_drain(session, [told], canvas)
    path = f"/api/v1/courses/{task['course_id']}/assignments/{row['assignment_id']}/submissions/{row['user_id']}"
    assert path in {each.path for each in list(canvas.requests)[asked:]}
    assert actual(session.database_url, "submissions")[row["id"]]["canvas_course_id"] == task["course_id"]


def test_functions_of_one_name_are_all_called(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    seen: list[int] = []
    handlers = EventHandlers(subscribers=[(frozenset(), lambda _, n=n: seen.append(n)) for n in range(3)])  # type: ignore[misc]
    own = replace(session, extensions=Extensions(events=handlers))
    assert put_and_drain(own, [renamed(canvas)], canvas).events == {"applied": 1}
    assert seen == [0, 1, 2]
