"""Events that need an answer of Canvas are deferred: no other event waits for them, and each object is read once."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.live_events import drain as draining
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.erase import erase_user
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.state.inbox import backlog, claim, depth
from canvas_sync_dagster.warehouse.state.inbox_partitions import age_out
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.live_events.test_drain import put, states
from tests.live_events.test_trouble import mute
from tests.truth import actual, sync_structure


def section(canvas: SimulatedCanvas, hours: float, **body: object) -> dict[str, Any]:
    """Return an event of section 4006 with all columns, so that its body suffices; None leaves a column out."""
    canvas.take_events()
    (saved,) = [each for each in canvas.save_again("sections", 100) if each["body"]["course_section_id"] == "4006"]
    given = {name: value for name, value in (saved["body"] | body).items() if value is not None}
    return saved | {
        "body": given,
        "metadata": saved["metadata"] | {"event_time": (canvas.now + timedelta(hours=hours)).isoformat()},
    }


def courses(canvas: SimulatedCanvas, number: int, hours: float = 1) -> list[dict[str, Any]]:
    """Return events whose objects must be read from Canvas."""
    ids = canvas.university.courses.get_column("id").to_list()[:number]
    return [event("course_updated", {"course_id": global_id(id_)}, canvas.now + timedelta(hours=hours)) for id_ in ids]


def read_paths(canvas: SimulatedCanvas, since: int) -> list[str]:
    return [each.path for each in list(canvas.requests)[since:] if "/courses/" in each.path]


def test_events_whose_bodies_suffice_do_not_wait_for_canvas(
    canvas: SimulatedCanvas, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "READS_PER_TURN", 2)
    sync_structure(session)
    put(session, courses(canvas, 12), canvas)
    put(session, courses(canvas, 12, hours=2), canvas)
    put(session, [section(canvas, 1, name="Renamed")], canvas)
    with mute(session) as silent:
        done = drain(silent, budget=0)
    assert (dict(done.events), done.left) == ({"applied": 1}, True)
    assert actual(session.database_url, "sections")[4006]["name"] == "Renamed"
    with connect(session.database_url) as connection:
        warehouse = Warehouse(connection, session.schema)
        assert claim(warehouse, 100) == []
        assert depth(warehouse).counts == {"deferred": 24}
        assert (backlog(warehouse).due, depth(warehouse).waiting) == (24, 24)
    before = len(canvas.requests)
    assert drain(session).events == {"applied": 24}
    read = read_paths(canvas, before)
    assert len(read) == len(set(read)) == 12
    with connect(session.database_url) as connection:
        assert depth(Warehouse(connection, session.schema)).counts == {}


@pytest.mark.parametrize("order", list(itertools.permutations(["asks", "suffices", "later"])))
def test_the_order_of_deferred_and_other_events_of_one_object_does_not_matter(
    canvas: SimulatedCanvas, session: Session, order: tuple[str, ...]
) -> None:
    sync_structure(session)
    with psycopg.connect(session.database_url) as connection:
        connection.execute("update canvas.sections set canvas_nonxlist_course_id = 2007 where canvas_id = 4006")
    canvas.university.set("sections", pl.col("id") == 4006, name="Third")
    canvas.advance(hours=3)
    events = {
        # Without the column that the table has a value for, only Canvas knows what became of it.
        "asks": section(canvas, -2, name="First", nonxlist_course_id=None),
        "suffices": section(canvas, -1, name="Second", nonxlist_course_id="2007"),
        "later": section(canvas, -0.5, name="Third", nonxlist_course_id=None),
    }
    for name in order:
        put(session, [events[name]], canvas)
        with mute(session) as silent:
            drain(silent, budget=0.2)
    assert set(states(session)) <= {"pending", "applied"}
    drain(session)
    assert states(session) == {"applied": 3}
    true = canvas.university.sections.filter(pl.col("id") == 4006).row(0, named=True)
    with psycopg.connect(session.database_url) as connection:
        query = "select name, canvas_nonxlist_course_id from canvas.sections where canvas_id = 4006"
        assert connection.execute(query).fetchone() == ("Third", true["nonxlist_course_id"])


def test_deferred_events_are_kept_by_retention_and_removed_by_an_erasure(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync_structure(session)
    user = event("user_updated", {"user_id": global_id(1002)}, canvas.now + timedelta(hours=1))
    put(session, [user, *courses(canvas, 1)], canvas)
    with mute(session) as silent:
        drain(silent, budget=0.2)
    assert states(session) == {"pending": 2}
    with connect(session.database_url) as connection:
        # Until tomorrow, so that today's partition is old.
        age_out(Warehouse(connection, session.schema), timedelta(days=-1))
    assert states(session) == {"pending": 2}
    erase_user(session.database_url, session.schema, session.models, 1002)
    assert states(session) == {"pending": 1}
    assert drain(session).events == {"applied": 1}
    assert 1002 not in actual(session.database_url, "users")


def test_submissions_to_one_assignment_are_read_in_one_list_and_one_by_one_where_canvas_refuses_it(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync_structure(session)
    submissions, later = canvas.university.submissions(), canvas.now + timedelta(hours=1)
    task = submissions.group_by("assignment_id").len().sort("len", "assignment_id").row(-1)[0]
    of = canvas.university.assignments.filter(pl.col("id") == task).row(0, named=True)["course_id"]
    rows = submissions.filter(pl.col("assignment_id") == task).to_dicts()
    assert len(rows) > 3

    def graded(row: dict[str, Any]) -> dict[str, Any]:
        body = {"submission_id": row["id"], "assignment_id": task, "user_id": row["user_id"]}
        told = event("grade_change", {name: global_id(value) for name, value in body.items()}, later)
        told["metadata"] |= {"context_type": "Course", "context_id": global_id(of)}
        return told

    def asked(rows: list[dict[str, Any]]) -> tuple[int, int]:
        """Return the requests for lists and for single submissions that these events cause."""
        before = len(canvas.requests)
        put(session, [graded(row) for row in rows], canvas)
        assert drain(session).events == {"applied": len(rows)}
        paths = [each.path for each in list(canvas.requests)[before:] if "/submissions" in each.path]
        lists = [path for path in paths if path.endswith(f"/courses/{of}/students/submissions")]
        return len(lists), len(paths) - len(lists)

    assert asked(rows) == (-(-len(rows) // 100), 0)
    found = actual(session.database_url, "submissions")
    assert {found[row["id"]]["canvas_course_id"] for row in rows} == {of}
    # Canvas refuses a list that names somebody who is not a student of the course.
    later += timedelta(hours=1)
    stranger = {"id": 999_999, "user_id": 999_999}
    assert asked([*rows[:3], stranger]) == (1, 4)
    assert 999_999 not in actual(session.database_url, "submissions")
