"""What becomes of live events, as a table of decisions: no database, no HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.catalogue.protection import Rules
from canvas_sync_dagster.live_events.decisions import (
    conclude,
    decide,
    group_by_object,
    parent_ids,
    without_unread_parents,
)
from canvas_sync_dagster.live_events.event_plan import Change, Facts, Outcome, Plan, Read, TableFacts
from canvas_sync_dagster.sync.object_requests import Answer, Verdict
from canvas_sync_dagster.warehouse.state.inbox import InboxEvent

AT = datetime(2026, 10, 1, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
BY_NAME = {model.name: model for model in BUILT_IN}
MODELS = {name: model for model in BUILT_IN if model.events for name in model.events.names}
COURSE = {"course_id": "70000000000005", "name": "x", "workflow_state": "available"}
MEMBERSHIP = {"group_membership_id": "1", "group_id": "8", "user_id": "9", "workflow_state": "accepted"}


def received(id_: int, name: str, body: dict[str, Any], at: datetime = AT, **metadata: object) -> InboxEvent:
    return InboxEvent(id_, name, at, 0, (), {"metadata": metadata, "body": body})


def planned(event: InboxEvent, facts: Facts | None = None, *, can_read: bool = True) -> Plan:
    grouped = group_by_object([event], MODELS, {}, shard=7)
    return decide(grouped, facts or Facts(), lambda _model, _row: can_read, shard=7)


def chosen(plan: Plan) -> str:
    """Return what is done about the only event of a plan."""
    kinds = {"apply": plan.apply, "read": plan.read, "ignore": plan.ignored, "fail": plan.failed}
    (kind,) = [name for name, found in kinds.items() if found]
    return kind


def facts_of(model: Model, row: dict[str, Any] | None, watermark: datetime | None = None) -> Facts:
    rows = {} if row is None else {tuple(row[name] for name in model.key): row}
    return Facts({model.name: TableFacts(rows, watermark)})


def blank(model: Model, **values: object) -> dict[str, Any]:
    return dict.fromkeys(column.name for column in model.columns) | values


class TestGrouping:
    def test_events_of_one_object_become_one_entry_with_the_latest_body(self) -> None:
        events = [
            received(3, "course_updated", COURSE | {"name": "old"}, AT),
            received(1, "course_updated", COURSE | {"course_id": "5", "name": "new"}, LATER),
            received(2, "course_created", COURSE | {"name": "older"}, AT - timedelta(days=1)),
        ]
        (entry,) = group_by_object(events, MODELS, {}, shard=7).objects
        assert (entry.key, entry.latest.id, entry.values["name"]) == ((5,), 1, "new")
        assert [event.id for event in entry.events] == [3, 1, 2]

    def test_of_events_at_one_moment_the_last_stored_one_counts(self) -> None:
        events = [received(id_, "course_updated", COURSE | {"name": str(id_)}) for id_ in (2, 3, 1)]
        (entry,) = group_by_object(events, MODELS, {}, shard=7).objects
        assert entry.values["name"] == "3"

    def test_objects_of_another_shard_are_other_objects(self) -> None:
        events = [
            received(1, "course_updated", COURSE),
            received(2, "course_updated", COURSE, root_account_id="90000000000001"),
        ]
        keys = {each.key for each in group_by_object(events, MODELS, {}, shard=7).objects}
        assert keys == {(5,), (70000000000005,)}

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ({"course_id": "12 or so"}, "the event's body contains no integer for canvas_id"),
            ({"course_id": True}, "the event's body contains no integer for canvas_id"),
            ({"course_id": None}, "the event's body does not contain canvas_id"),
            ({}, "the event's body does not contain canvas_id"),
        ],
    )
    def test_an_event_that_identifies_no_object_fails(self, body: dict[str, Any], problem: str) -> None:
        (failure,) = group_by_object([received(1, "course_updated", body)], MODELS, {}).failed
        assert (failure.event.id, failure.problem) == (1, problem)

    def test_a_table_that_cannot_be_written_to_fails_its_own_events_alone(self) -> None:
        events = [received(1, "course_updated", COURSE), received(2, "group_membership_created", MEMBERSHIP)]
        grouped = group_by_object(events, MODELS, {"courses": "a key is missing"})
        assert [(each.event.id, each.problem) for each in grouped.failed] == [(1, "a key is missing")]
        assert [each.latest.id for each in grouped.objects] == [2]

    def test_an_event_of_no_model_is_settled(self) -> None:
        grouped = group_by_object([received(1, "quizzes_next_cloned", {"x": 1})], MODELS, {})
        assert ([each.id for each in grouped.ignored], grouped.objects, grouped.failed) == ([1], [], [])


SECTION = {"course_section_id": "4006", "course_id": "2003", "name": "A", "workflow_state": "active"}
SECTIONS, MEMBERSHIPS = BY_NAME["sections"], BY_NAME["group_memberships"]


@pytest.mark.parametrize(
    ("event", "facts", "can_read", "expected"),
    [
        # The body of a membership is always enough, that of a section for known rows, that of a course never.
        (received(1, "group_membership_created", MEMBERSHIP), Facts(), True, "apply"),
        (received(1, "course_updated", COURSE), facts_of(BY_NAME["courses"], blank(BY_NAME["courses"], canvas_id=5)), True, "read"),
        (received(1, "course_section_updated", SECTION), Facts(), True, "read"),
        (received(1, "course_section_updated", SECTION), facts_of(SECTIONS, blank(SECTIONS, canvas_id=4006)), True, "apply"),
        # A column that has a value and is absent from the body may have become null.
        (
            received(1, "course_section_updated", SECTION),
            facts_of(SECTIONS, blank(SECTIONS, canvas_id=4006, canvas_nonxlist_course_id=2007)),
            True,
            "read",
        ),
        # A sync that has observed Canvas after the event knows more than its body.
        (received(1, "group_membership_created", MEMBERSHIP), facts_of(MEMBERSHIPS, None, LATER), True, "read"),
        (received(1, "group_membership_created", MEMBERSHIP), facts_of(MEMBERSHIPS, None, AT), True, "read"),
        (received(1, "group_membership_created", MEMBERSHIP, LATER), facts_of(MEMBERSHIPS, None, AT), True, "apply"),
        # What cannot be read is applied from the body: better than nothing, and the ordering rule still holds.
        (received(1, "course_updated", COURSE), Facts(), False, "apply"),
        (received(1, "group_membership_created", MEMBERSHIP), facts_of(MEMBERSHIPS, None, LATER), False, "apply"),
        (received(1, "quizzes_next_cloned", {"x": 1}), Facts(), True, "ignore"),
        (received(1, "course_updated", {}), Facts(), True, "fail"),
    ],
)  # fmt: skip
def test_body_or_read(event: InboxEvent, facts: Facts, can_read: bool, expected: str) -> None:
    assert chosen(planned(event, facts, can_read=can_read)) == expected


@pytest.mark.parametrize(
    ("observed", "row_hash", "synced", "expected"),
    [
        (timedelta(minutes=2), None, timedelta(hours=2), "known"),
        (timedelta(seconds=59), None, timedelta(hours=2), "read"),
        (-timedelta(minutes=2), None, timedelta(hours=2), "read"),
        # A row of a report may lag behind the time of the report.
        (timedelta(minutes=59), b"x", timedelta(hours=2), "read"),
        (timedelta(minutes=61), b"x", timedelta(hours=2), "known"),
        # An observation after the last sync comes from a read that changed nothing.
        (timedelta(minutes=2), b"x", timedelta(minutes=1), "known"),
    ],
)
def test_an_event_that_is_older_than_the_observation_of_its_row_is_settled_without_a_request(
    observed: timedelta, row_hash: bytes | None, synced: timedelta, expected: str
) -> None:
    courses = BY_NAME["courses"]
    row = blank(courses, canvas_id=5, observed_at=AT + observed, row_hash=row_hash)
    plan = planned(received(1, "course_updated", COURSE), facts_of(courses, row, AT + synced))
    assert [bool(plan.known), bool(plan.read)] == [expected == "known", expected == "read"]
    outcome = conclude(plan, [Answer({}, Verdict.POSTPONED)] * len(plan.read))
    assert [event.id for event in outcome.applied] == ([1] if expected == "known" else [])
    assert outcome.is_empty == (expected != "known")


def test_an_existing_table_that_does_not_record_observations_is_asked_about() -> None:
    courses = BY_NAME["courses"]
    assert planned(received(1, "course_updated", COURSE), facts_of(courses, blank(courses, canvas_id=5))).read


SUBMISSION = {"submission_id": "50", "assignment_id": "60", "user_id": "9"}


@pytest.mark.parametrize(
    ("metadata", "courses", "row", "expected"),
    [
        ({}, {}, {}, None),
        ({}, {60: 2003}, {}, 2003),
        ({"context_type": "Course", "context_id": "70000000002004"}, {}, {}, 2004),
        ({"context_type": "Course", "context_id": "70000000002004"}, {60: 2003}, {}, 2003),
        ({"context_type": "User", "context_id": "70000000002004"}, {}, {}, None),
        ({"context_type": "Course", "context_id": "2004"}, {60: 2003}, {"canvas_course_id": 2005}, 2005),
    ],
)
def test_the_course_of_a_submission_is_found_in_table_assignment_or_context(
    metadata: dict[str, Any], courses: dict[object, object], row: dict[str, object], expected: int | None
) -> None:
    submissions = BY_NAME["submissions"]
    held = facts_of(submissions, blank(submissions, canvas_id=50, **row) if row else None)
    (read,) = planned(received(1, "submission_updated", SUBMISSION, **metadata), Facts(held.tables, courses)).read
    assert (read.row["canvas_id"], read.row.get("canvas_course_id")) == (50, expected)


SUBMISSIONS = BY_NAME["submissions"]
GRADED = SUBMISSION | {
    "submitted_at": "2026-09-30T19:11:21.419Z",
    "graded_at": "2026-10-01T00:00:00Z",
    "score": 99.5,
    "workflow_state": "graded",
}
HANDED_IN = SUBMISSION | {"submitted_at": "2026-10-01T00:00:00Z", "workflow_state": "submitted"}
EXCUSED = SUBMISSION | {"graded_at": "2026-10-01T00:00:00Z", "workflow_state": "graded"}
GRADE = SUBMISSION | {"score": 99.5, "grade": "99.5", "old_score": 4, "student_id": "9"}
SECOND = timedelta(seconds=1)  # fmt: skip


def about_a_submission(row: dict[str, object], *events: tuple[str, dict[str, Any], timedelta]) -> Plan:
    received_events = [received(n, name, body, AT + after) for n, (name, body, after) in enumerate(events)]
    held = blank(SUBMISSIONS, canvas_id=50, canvas_course_id=2003, due_at=AT, observed_at=AT - LATE) | row
    grouped = group_by_object(received_events, MODELS, {}, shard=7)
    return decide(grouped, facts_of(SUBMISSIONS, held, AT - 2 * LATE), lambda _model, _row: True, shard=7)


LATE = timedelta(hours=1)
ZERO = timedelta()


@pytest.mark.parametrize(
    ("row", "events", "expected"),
    [
        # The body has all columns that the event may have changed.
        ({}, [("submission_created", HANDED_IN, ZERO)], "apply"),
        ({"excused": False}, [("submission_updated", GRADED, ZERO)], "apply"),
        # Of a cleared score Canvas omits the column, and an excused student has none.
        ({"score": Decimal(4)}, [("submission_updated", HANDED_IN, ZERO)], "read"),
        ({}, [("submission_updated", EXCUSED, ZERO)], "read"),
        ({}, [("submission_updated", EXCUSED, ZERO), ("submission_created", HANDED_IN, SECOND)], "read"),
        ({"excused": True}, [("submission_updated", GRADED, ZERO)], "read"),
        # A grade alone has neither state nor time; beside the whole submission it adds nothing.
        ({}, [("grade_change", GRADE, ZERO)], "read"),
        ({}, [("submission_updated", GRADED, ZERO), ("grade_change", GRADE, SECOND)], "apply"),
        ({}, [("grade_change", GRADE, ZERO), ("submission_updated", GRADED, SECOND)], "apply"),
        ({}, [("submission_updated", GRADED, ZERO), ("grade_change", GRADE, 6 * SECOND)], "read"),
        ({}, [("submission_updated", GRADED, ZERO), ("grade_change", GRADE | {"score": 5}, SECOND)], "read"),
        # The other event of its change was applied before it.
        ({"score": Decimal("99.5"), "observed_at": AT - SECOND}, [("grade_change", GRADE, ZERO)], "known"),
        ({"score": Decimal("99.5"), "observed_at": AT - 6 * SECOND}, [("grade_change", GRADE, ZERO)], "read"),
        ({"score": Decimal(4), "observed_at": AT - SECOND}, [("grade_change", GRADE, ZERO)], "read"),
        ({"observed_at": AT - SECOND}, [("grade_change", SUBMISSION, ZERO)], "read"),
        # A later body does not show that an earlier event excused the student.
        ({"observed_at": AT + LATE}, [("submission_updated", GRADED, ZERO)], "known"),
        ({"observed_at": AT + LATE}, [("submission_updated", EXCUSED, ZERO)], "read"),
    ],
)
def test_a_submission_is_applied_from_a_body_that_has_all_that_its_event_may_have_changed(
    row: dict[str, object], events: list[tuple[str, dict[str, Any], timedelta]], expected: str
) -> None:
    plan = about_a_submission(row, *events)
    assert {"apply": bool(plan.apply), "read": bool(plan.read), "known": bool(plan.known)} == {
        name: name == expected for name in ("apply", "read", "known")
    }


def test_a_report_contains_what_earlier_bodies_omit() -> None:
    row = blank(SUBMISSIONS, canvas_id=50, observed_at=AT + 2 * LATE, row_hash=1)
    assert planned(received(1, "submission_updated", EXCUSED), facts_of(SUBMISSIONS, row, AT + 2 * LATE)).known


def test_a_body_does_not_lack_a_column_that_is_excluded() -> None:
    model = Rules(exclude=("submissions.excused",)).of(SUBMISSIONS)
    models = dict.fromkeys(SUBMISSIONS.events.names if SUBMISSIONS.events else (), model)
    grouped = group_by_object([received(1, "submission_updated", EXCUSED)], models, {}, shard=7)
    row = blank(SUBMISSIONS, canvas_id=50, canvas_course_id=2003, observed_at=AT - LATE)
    assert decide(grouped, facts_of(SUBMISSIONS, row), lambda _model, _row: True, shard=7).apply


class TestAnswers:
    @staticmethod
    def concluded(name: str, body: dict[str, Any], answer: Answer) -> Outcome:
        (entry,) = group_by_object([received(1, name, body, LATER), received(2, name, body, AT)], MODELS, {}).objects
        return conclude(Plan([], [Read(entry, entry.values)]), [answer])

    @pytest.mark.parametrize(
        ("name", "body", "verdict", "expected"),
        [
            ("course_updated", COURSE, Verdict.FOUND, ([1, 2], [], [])),
            ("course_updated", COURSE, Verdict.GONE, ([1, 2], [], [])),
            ("course_updated", COURSE, Verdict.FORBIDDEN, ([], [], [1, 2])),
            ("course_updated", COURSE, Verdict.FAILED, ([], [], [1, 2])),
            ("course_updated", COURSE, Verdict.POSTPONED, ([], [], [])),
            # A new user without a login is hidden from every token.
            ("user_created", {"user_id": "9"}, Verdict.FORBIDDEN, ([], [1, 2], [])),
            ("user_created", {"user_id": "9"}, Verdict.FAILED, ([], [], [1, 2])),
        ],
    )
    def test_each_answer_ends_all_events_of_its_object(
        self, name: str, body: dict[str, Any], verdict: Verdict, expected: tuple[list[int], list[int], list[int]]
    ) -> None:
        outcome = self.concluded(name, body, Answer({}, verdict, observed_at=AT, problem="broken"))
        applied, ignored = [each.id for each in outcome.applied], [each.id for each in outcome.ignored]
        assert (applied, ignored, [each.event.id for each in outcome.failed]) == expected

    def test_an_answer_is_no_older_than_the_events_that_caused_it(self) -> None:
        outcome = self.concluded("course_updated", COURSE, Answer({}, Verdict.FOUND, observed_at=AT))
        (change,) = outcome.changes
        assert change.answer is not None
        assert change.answer.observed_at == LATER

    def test_the_reasons_of_a_plan_are_kept(self) -> None:
        grouped = group_by_object([received(1, "course_updated", {}), received(2, "unknown", {})], MODELS, {})
        outcome = conclude(Plan([], [], grouped.ignored, grouped.failed), [])
        assert ([each.id for each in outcome.ignored], [each.event.id for each in outcome.failed]) == ([2], [1])


class TestParents:
    @staticmethod
    def outcome() -> Outcome:
        events = [
            received(n, "group_membership_created", MEMBERSHIP | {"group_membership_id": str(n), "group_id": str(n)})
            for n in (1, 2)
        ]
        return Outcome([Change(each) for each in group_by_object(events, MODELS, {}).objects])

    def test_the_parents_of_rows_are_named_per_model(self) -> None:
        rows = [change.values for change in self.outcome().changes]
        assert parent_ids(MEMBERSHIPS, rows, BY_NAME) == {"groups": {1, 2}, "users": {9}}
        assert parent_ids(MEMBERSHIPS, [{"canvas_group_id": None}], BY_NAME) == {}

    @pytest.mark.parametrize(
        ("unread", "left"),
        [({}, [1, 2]), ({"groups": {2}}, [1]), ({"users": {2}}, [1, 2]), ({"users": {9}}, []), ({"groups": {7}}, [1, 2])],
    )  # fmt: skip
    def test_a_row_waits_for_the_parents_that_could_not_be_read_yet(
        self, unread: dict[str, set[int]], left: list[int]
    ) -> None:
        outcome = without_unread_parents(self.outcome(), unread, BY_NAME)
        assert [event.id for event in outcome.applied] == left
