"""Events reach the tables: in any order, twice, or not at all, and the tables end up as Canvas is."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.live_events.drain import Drained, drain
from canvas_sync_dagster.live_events.event import read_event
from canvas_sync_dagster.live_events.handlers import EventHandlers, LiveEvent
from canvas_sync_dagster.simulator import DeliveryFaults, SimulatedCanvas, event, global_id
from canvas_sync_dagster.simulator.event_feed.event_bodies import EVENT_TABLES
from canvas_sync_dagster.simulator.university.sizes import SHARD
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.object_requests import ask
from canvas_sync_dagster.sync.object_writes import apply_answers
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.state.inbox import MOST_ATTEMPTS, depth, replay, store
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.fix_canvas import Sessions
from tests.truth import FULL, actual, assert_true, expected, live_term_ids, sync_everything, sync_structure


def put(session: Session, events: list[dict[str, Any]], canvas: SimulatedCanvas) -> None:
    with connect(session.database_url) as connection:
        ensure_partitions(Warehouse(connection, session.schema))
        store(
            Warehouse(connection, session.schema), [read_event(each, canvas.now + timedelta(days=1)) for each in events]
        )


def due(session: Session) -> None:
    with psycopg.connect(session.database_url) as connection:
        connection.execute("update canvas.canvas_sync_live_events set next_attempt_at = now() where state = 'failed'")


def states(session: Session) -> dict[str, int]:
    with psycopg.connect(session.database_url) as connection:
        rows = connection.execute("select state, count(*) from canvas.canvas_sync_live_events group by 1").fetchall()
    return {str(state): int(count) for state, count in rows}


def put_and_drain(session: Session, events: list[dict[str, Any]], canvas: SimulatedCanvas) -> Drained:
    put(session, events, canvas)
    return drain(session)


def test_changes_reach_the_tables_by_events_alone(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    canvas.take_events()
    canvas.advance(hours=1)
    canvas.university.set("courses", pl.col("id") == 2003, name="Renamed", state="completed")
    canvas.university.set("enrollments", pl.col("id") == 4_000_002, state="completed")
    canvas.university.set("users", pl.col("id") == 1002, last_name="Married")
    events = canvas.take_events()
    assert [each["metadata"]["event_name"] for each in events] == [
        "user_updated",
        "course_updated",
        "enrollment_updated",
    ]
    done = put_and_drain(session, events, canvas)
    assert done.events == {"applied": 3}
    course = actual(session.database_url, "courses")[2003]
    assert (course["name"], course["workflow_state"]) == ("Renamed", "concluded")
    assert actual(session.database_url, "enrollments")[4_000_002]["workflow_state"] == "concluded"
    assert actual(session.database_url, "users")[1002]["name"].endswith("Married")


def test_submissions_after_events_alone_are_as_after_a_report(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    for group in report_groups(session.models):
        if group.name in {"assignments", "submissions"}:
            for term in live_term_ids(session):
                sync_report(Flow.of(session, FULL, term), group, {model.name for model in group.models})
    canvas.take_events(everything=True)
    canvas.advance(hours=200)
    changed = [
        each for each in canvas.take_events(everything=True) if each["metadata"]["event_name"] == "submission_updated"
    ]
    known = actual(session.database_url, "submissions")
    graded = [each for each in changed if each["body"]["score"] is not None]
    # As Canvas does: a body without nulls, a grade_change in the same moment, and copies of both in any order.
    events = [
        each | {"body": {name: value for name, value in each["body"].items() if value is not None}} for each in changed
    ]
    for each in graded:
        names = ("submission_id", "assignment_id", "user_id", "score")
        events.append(
            event("grade_change", {name: each["body"][name] for name in names}, canvas.now + timedelta(milliseconds=3))
        )
    random.Random(7).shuffle(events)
    before = len(canvas.requests)
    assert put_and_drain(session, events, canvas).events == {"applied": len(events)}
    asked = [each.path for each in list(canvas.requests)[before:] if "/submissions" in each.path]
    excused = sum(known[int(each["body"]["submission_id"]) % SHARD]["excused"] for each in changed)
    assert (len(asked), len(graded) > 50, len(changed) > len(graded)) == (excused, True, True)
    after, reported = actual(session.database_url, "submissions"), expected(canvas, "submissions")
    # A submission that an enrollment has made since is unsubmitted, and Canvas sends no event of it.
    assert {key: row for key, row in after.items() if key in reported} == {
        key: reported[key] for key in reported if key in known
    }


def test_every_kind_of_event_finds_its_object_by_local_and_global_ids(
    canvas: SimulatedCanvas, session: Session
) -> None:
    migrate(session.database_url, "canvas", BUILT_IN)
    assert set(EVENT_TABLES) == {model.name for model in BUILT_IN if model.events}
    for table, source in EVENT_TABLES.items():
        numbers = source.rows(canvas.university).head(5).get_column(source.key).to_list()
        done = put_and_drain(session, canvas.save_again(table, 5), canvas)
        assert (table, done.events) == (table, {"applied": len(numbers)})
        with psycopg.connect(session.database_url) as connection:
            rows = connection.execute(f"select canvas_id from canvas.{table}").fetchall()
        assert set(numbers) <= {number for (number,) in rows}, table
        everything = set(source.rows(canvas.university).get_column(source.key).to_list())
        assert {number for (number,) in rows} <= everything, table


def test_what_a_report_saw_later_is_not_undone_by_a_late_event(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    at = canvas.now - timedelta(hours=2)
    row = canvas.university.enrollments.filter(pl.col("id") == 4_000_002).row(0, named=True)
    before = actual(session.database_url, "enrollments")[4_000_002]
    body = {"enrollment_id": global_id(4_000_002), "user_id": global_id(row["user_id"]), "workflow_state": "deleted"}
    put_and_drain(session, [event("enrollment_updated", body, at)], canvas)
    assert actual(session.database_url, "enrollments")[4_000_002] == before


def test_events_of_one_object_are_applied_in_the_order_of_time_with_one_question(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync_structure(session)
    body = {"course_id": global_id(2003), "name": "x", "workflow_state": "available"}
    events = [event("course_updated", body, canvas.now + timedelta(seconds=n)) for n in range(20)]
    asked = len(canvas.requests)
    done = put_and_drain(session, events, canvas)
    assert done.events == {"applied": 20}
    assert sum(each.path == "/api/v1/courses/2003" for each in list(canvas.requests)[asked:]) == 1


def test_events_older_than_the_last_read_of_their_object_cost_no_request(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync_structure(session)
    body = {"course_id": global_id(2003), "name": "x", "workflow_state": "available"}
    canvas.advance(hours=2)
    put_and_drain(session, [event("course_updated", body, canvas.now)], canvas)
    late = [event("course_updated", body, canvas.now - timedelta(minutes=minutes)) for minutes in (2, 30, 100)]
    asked = len(canvas.requests)
    assert put_and_drain(session, late, canvas).events == {"applied": 3}
    assert len(canvas.requests) == asked
    with psycopg.connect(session.database_url) as connection:
        connection.execute("update canvas.courses set observed_at = now() + interval '2 years'")
    put_and_drain(session, [event("course_updated", body, canvas.now - timedelta(minutes=5))], canvas)
    assert len(canvas.requests) > asked, "a wrong clock settles nothing"


def test_a_section_that_moves_takes_its_enrollments_along(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    canvas.take_events()
    canvas.advance(hours=1)
    canvas.university.set("sections", pl.col("id") == 4006, course_id=2007, nonxlist_course_id=2003)
    put_and_drain(session, canvas.take_events(), canvas)
    with psycopg.connect(session.database_url) as connection:
        rows = connection.execute(
            "select distinct canvas_course_id from canvas.enrollments where canvas_section_id = 4006"
        )
        assert rows.fetchall() == [(2007,)]


def test_parents_that_are_missing_are_fetched(canvas: SimulatedCanvas, session: Session) -> None:
    migrate(session.database_url, "canvas", BUILT_IN)
    row = canvas.university.enrollments.filter(pl.col("id") == 4_000_002).row(0, named=True)
    body = {"enrollment_id": global_id(4_000_002), "user_id": global_id(row["user_id"]), "workflow_state": "active"}
    assert put_and_drain(session, [event("enrollment_created", body, canvas.now)], canvas).events == {"applied": 1}
    assert actual(session.database_url, "enrollments")[4_000_002]["canvas_section_id"] == 4006
    assert set(actual(session.database_url, "sections")) == {4006}
    assert set(actual(session.database_url, "courses")) == {2003}
    assert set(actual(session.database_url, "users")) == {1002}


def test_foreign_ids_stay_global(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    body = {
        "group_id": global_id(8004),
        "user_id": "30000000000077",
        "group_membership_id": global_id(5),
        "workflow_state": "accepted",
    }
    put_and_drain(session, [event("group_membership_created", body, canvas.now + timedelta(hours=1))], canvas)
    with psycopg.connect(session.database_url) as connection:
        row = connection.execute(
            "select canvas_group_id, canvas_user_id from canvas.group_memberships where canvas_id = 5"
        )
        assert row.fetchone() == (8004, 30000000000077)


def test_gone_is_deleted_and_unknown_events_are_kept(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    canvas.university.courses = canvas.university.courses.filter(pl.col("id") != 2005)
    events = [
        event("course_updated", {"course_id": global_id(2005)}, canvas.now + timedelta(hours=1)),
        event("quizzes_next_cloned", {"x": 1}, canvas.now),
    ]
    assert put_and_drain(session, events, canvas).events == {"applied": 1, "ignored": 1}
    assert actual(session.database_url, "courses")[2005]["workflow_state"] == "deleted"


def test_a_user_whom_nobody_may_see_is_no_error_but_a_course_is_tried_again_and_dies(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync_structure(session)
    later = canvas.now + timedelta(hours=1)
    put(session, [event("user_created", {"user_id": global_id(1002)}, later)], canvas)
    canvas.faults.add("unauthorized_object")
    assert drain(session).events == {"ignored": 1}
    put(session, [event("course_updated", {"course_id": global_id(2003)}, later)], canvas)
    for _ in range(MOST_ATTEMPTS):
        canvas.faults.add("unauthorized_object")
        drain(session)
        due(session)
    assert states(session) == {"ignored": 1, "dead": 1}
    canvas.faults.clear()
    with connect(session.database_url) as connection:
        assert replay(Warehouse(connection, "canvas")) == 1
    assert drain(session).events == {"applied": 1}


def test_copies_are_stored_once(canvas: SimulatedCanvas, session: Session) -> None:
    sync_structure(session)
    each = event("course_updated", {"course_id": global_id(2003)}, canvas.now)
    put(session, [each, each], canvas)
    put(session, [each], canvas)
    assert states(session) == {"pending": 1}


def through_any_weather(canvas: SimulatedCanvas, session: Session, seed: int) -> None:
    """Mixes events of all models, late, twice, disordered and lost, with syncs of both modes and single reads."""
    dice = random.Random(seed)
    courses = next(model for model in BUILT_IN if model.name == "courses")
    sync_everything(session)
    canvas.take_events(everything=True)
    late: list[dict[str, Any]] = []
    for day in range(3):
        canvas.advance(days=1)
        delivery = DeliveryFaults(loss=0.2, duplicates=0.3, disorder=True, seed=seed * 100 + day)
        events = [*late, *delivery.apply(canvas.take_events(everything=True))]
        dice.shuffle(events)
        cut = dice.randrange(len(events) + 1)
        now, late = events[:cut], events[cut:]
        for step in dice.sample(["events", "incremental", "structure", "reads"], k=2):
            if step == "events":
                put_and_drain(session, now, canvas)
            elif step == "incremental":
                sync_everything(session, SyncOptions(mode="incremental"))
            elif step == "structure":
                sync_structure(session)
            else:
                numbers = canvas.university.courses.get_column("id").to_list()
                answers = ask(session, courses, [{"canvas_id": number} for number in dice.sample(numbers, 5)])
                with session.warehouse("reading courses") as warehouse:
                    apply_answers(warehouse.table(courses), answers)
        put(session, now, canvas)
    put_and_drain(session, late[::2], canvas)
    sync_everything(session)
    put_and_drain(session, late[1::2], canvas)
    sync_everything(session)
    assert_true(canvas, session.database_url)
    with connect(session.database_url) as connection:
        assert depth(Warehouse(connection, "canvas")).counts == {}


def test_in_any_weather_a_full_sync_makes_the_tables_equal_canvas(canvas: SimulatedCanvas, session: Session) -> None:
    through_any_weather(canvas, session, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 42))
def test_in_very_many_weathers_a_full_sync_makes_the_tables_equal_canvas(
    canvas: SimulatedCanvas, session: Session, seed: int
) -> None:
    through_any_weather(canvas, session, seed)


def test_the_users_functions_have_their_say_each_once(
    canvas: SimulatedCanvas, session: Session, sessions: Sessions
) -> None:
    sync_structure(session)
    seen: list[tuple[str, str]] = []
    broken = True

    def subscriber(each: LiveEvent) -> None:
        seen.append(("subscriber", each.name))

    def failing(each: LiveEvent) -> None:
        if broken:
            raise RuntimeError("not today")
        seen.append(("failing", each.name))

    def handler(each: LiveEvent) -> None:
        seen.append(("handler", each.name))

    def of_courses(each: LiveEvent, super_: Any) -> None:
        seen.append(("model", str(each.row["canvas_id"])))
        super_(each)

    events = EventHandlers(
        {"user_updated": handler},
        [(frozenset(), subscriber), (frozenset({"course_updated"}), failing)],
        {"courses": of_courses},
    )
    own = replace(session, extensions=Extensions(events=events))
    canvas.take_events()
    canvas.advance(hours=1)
    canvas.university.set("courses", pl.col("id") == 2003, name="Renamed")
    canvas.university.set("users", pl.col("id") == 1002, last_name="Married")
    put(own, canvas.take_events(), canvas)
    assert drain(own).events == {"applied": 1, "failed": 1}
    # Both happened at the same moment, so that either may come first; the steps of one event have an order.
    assert [each for each in seen if each[0] == "handler"] == [("handler", "user_updated")]
    assert [each for each in seen if each[0] != "handler"] == [("subscriber", "course_updated"), ("model", "2003")]
    assert actual(own.database_url, "courses")[2003]["name"] == "Renamed"
    assert not actual(own.database_url, "users")[1002]["name"].endswith("Married")
    broken = False
    due(own)
    assert drain(own).events == {"applied": 1}
    assert seen[3:] == [("failing", "course_updated")]


class TestHooks:
    """`before_live_event` and `after_live_event` surround the application of an event, as the gem's callbacks do."""

    @staticmethod
    def own(session: Session, handlers: EventHandlers) -> Session:
        return replace(session, extensions=Extensions(events=handlers))

    @staticmethod
    def renamed(canvas: SimulatedCanvas) -> dict[str, Any]:
        canvas.take_events()
        canvas.advance(hours=1)
        canvas.university.set("courses", pl.col("id") == 2003, name="Renamed")
        (told,) = canvas.take_events()
        return told

    @staticmethod
    def name(session: Session) -> object:
        """Return the name of the course in its table, which begins empty; None until an event has filled it."""
        return actual(session.database_url, "courses").get(2003, {}).get("name")

    def test_a_before_hook_that_raises_stops_the_default_until_it_succeeds(
        self, canvas: SimulatedCanvas, session: Session
    ) -> None:
        seen: list[str] = []
        trouble = [RuntimeError("not yet")]

        def guard(_: LiveEvent) -> None:
            if trouble:
                raise trouble.pop()
            seen.append("before")

        handlers = EventHandlers(
            subscribers=[(frozenset(), lambda _: seen.append("subscriber"))],
            before=[guard],
            after=[lambda _: seen.append("after")],
        )
        own = self.own(session, handlers)
        put(own, [self.renamed(canvas)], canvas)
        assert drain(own).events == {"failed": 1}
        assert seen == ["subscriber"]
        assert self.name(own) is None
        due(own)
        assert drain(own).events == {"applied": 1}
        assert seen == ["subscriber", "before", "after"]
        assert self.name(own) == "Renamed"

    def test_an_after_hook_is_called_once_after_the_try_that_succeeded(
        self, canvas: SimulatedCanvas, session: Session
    ) -> None:
        seen: list[str] = []
        trouble = [RuntimeError("not yet")]

        def of_courses(event: LiveEvent, super_: Any) -> None:
            if trouble:
                raise trouble.pop()
            super_(event)

        def after(_: LiveEvent) -> None:
            seen.append(str(self.name(session)))

        own = self.own(session, EventHandlers(models={"courses": of_courses}, after=[after]))
        put(own, [self.renamed(canvas)], canvas)
        assert drain(own).events == {"failed": 1}
        assert seen == []
        due(own)
        assert drain(own).events == {"applied": 1}
        assert seen == ["Renamed"]

    def test_an_after_hook_that_raises_is_repeated_alone(self, canvas: SimulatedCanvas, session: Session) -> None:
        seen: list[str] = []
        trouble = [RuntimeError("not yet")]

        def first(_: LiveEvent) -> None:
            if trouble:
                raise trouble.pop()
            seen.append("first")

        handlers = EventHandlers(before=[lambda _: seen.append("before")], after=[first, lambda _: seen.append("last")])
        own = self.own(session, handlers)
        put(own, [self.renamed(canvas)], canvas)
        assert drain(own).events == {"failed": 1}
        assert (seen, self.name(own)) == (["before", "last"], "Renamed")
        due(own)
        assert drain(own).events == {"applied": 1}
        assert seen == ["before", "last", "first"]

    def test_there_are_no_hooks_for_a_replaced_event_nor_for_one_of_no_model(
        self, canvas: SimulatedCanvas, session: Session
    ) -> None:
        seen: list[str] = []
        handlers = EventHandlers(
            {"course_updated": lambda _: seen.append("handler")},
            [(frozenset(), lambda _: seen.append("subscriber"))],
            before=[lambda _: seen.append("before")],
            after=[lambda _: seen.append("after")],
        )
        own = self.own(session, handlers)
        put(own, [self.renamed(canvas), event("quizzes_next_cloned", {"x": 1}, canvas.now)], canvas)
        assert drain(own).events == {"applied": 2}
        assert sorted(seen) == ["handler", "subscriber"]
        assert self.name(own) is None
        silent = self.own(session, replace(handlers, subscribers=()))
        put(silent, [event("quizzes_next_cloned", {"x": 2}, canvas.now)], canvas)
        assert drain(silent).events == {"ignored": 1}
