"""Canvas is asked from the user's own functions, and the tables have the answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import psycopg
import pytest

import canvas_sync_dagster
from canvas_sync_dagster import fetch, find_or_fetch, load_objects
from canvas_sync_dagster.errors import CanvasUnauthorizedError, FunctionError, ReportContentError, SettingError
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.extensions import ApiOverride, Extensions
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.object_requests import Verdict
from canvas_sync_dagster.sync.reconciliation import reconcile
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from tests.live_events.test_drain import put_and_drain
from tests.truth import FULL, actual


def overridden(session: Session, **overrides: ApiOverride) -> Session:
    return replace(session, extensions=Extensions(api=overrides))


def asked(canvas: SimulatedCanvas) -> int:
    return sum("/courses/" in each.path for each in canvas.requests)


def test_the_public_names_are_there() -> None:
    assert all(getattr(canvas_sync_dagster, name) for name in canvas_sync_dagster.__all__)


def test_a_row_is_found_or_fetched_once(canvas: SimulatedCanvas, session: Session) -> None:
    course = find_or_fetch(session, "courses", 2003)
    assert course is not None
    assert (course["canvas_id"], course["canvas_term_id"], course["workflow_state"]) == (2003, 118, "active")
    assert find_or_fetch(session, "courses", "2003") == course
    assert asked(canvas) == 1
    assert find_or_fetch(session, "courses", 999_999) is None


def test_what_is_fetched_again_is_written_and_what_is_gone_is_marked(canvas: SimulatedCanvas, session: Session) -> None:
    fetch(session, "courses", 2003, 2007)
    canvas.advance(minutes=1)
    canvas.university.set("courses", pl.col("id") == 2003, name="Renamed")
    canvas.university.courses = canvas.university.courses.filter(pl.col("id") != 2007)
    answers = fetch(session, "courses", 2007, 2003)
    assert [each.verdict for each in answers] == [Verdict.GONE, Verdict.FOUND]
    have = actual(session.database_url, "courses")
    assert (have[2003]["name"], have[2007]["workflow_state"]) == ("Renamed", "deleted")


@pytest.mark.parametrize(
    ("mark_deleted", "state"),
    [
        ({"workflow_state": "vanished"}, "vanished"),
        ("vanished", "vanished"),
        (lambda row: {"workflow_state": f"vanished {row['canvas_id']}"}, "vanished 2007"),
    ],
)
def test_what_a_404_means_is_the_users_to_say(
    canvas: SimulatedCanvas, session: Session, mark_deleted, state: str
) -> None:
    own = overridden(session, courses=ApiOverride(mark_deleted=mark_deleted))
    fetch(own, "courses", 2007)
    canvas.university.courses = canvas.university.courses.filter(pl.col("id") != 2007)
    fetch(own, "courses", 2007)
    assert actual(session.database_url, "courses")[2007]["workflow_state"] == state


def test_fields_of_ones_own_hold_for_objects_and_for_lists(canvas: SimulatedCanvas, session: Session) -> None:
    shout = ApiOverride(fields={"name": lambda body: body["name"].upper(), "sis_id": "uuid"})
    own = overridden(session, accounts=shout)
    sync_list(Flow.of(own, FULL), own.by_name["accounts"])
    load_objects(own, "accounts", [{"id": 77, "name": "late", "uuid": "u"}])
    fetch(own, "accounts", 2)
    with psycopg.connect(session.database_url) as connection:
        rows = connection.execute("select canvas_id, name, sis_id from canvas.accounts where canvas_id in (2, 77)")
        assert sorted(rows.fetchall()) == [(2, "FACULTY OF ARTS", "uuid-of-account-2"), (77, "LATE", "u")]


def test_what_the_path_needs_comes_from_the_row_or_is_given(canvas: SimulatedCanvas, session: Session) -> None:
    number = canvas.university.assignments.filter(pl.col("course_id") == 2003).item(0, "id")
    assert [each.verdict for each in fetch(session, "assignments", number)] == [Verdict.UNASKED]
    assert find_or_fetch(session, "assignments", {"canvas_id": number, "canvas_context_id": 2003}) is not None
    assert [each.verdict for each in fetch(session, "assignments", number)] == [Verdict.FOUND]


def test_an_object_that_does_not_repeat_its_course_is_still_in_it(canvas: SimulatedCanvas, session: Session) -> None:
    group = find_or_fetch(session, "assignment_groups", {"canvas_id": 302_003, "canvas_course_id": 2003})
    assert group is not None
    assert group["canvas_course_id"] == 2003


def test_a_list_is_loaded_with_values_that_it_does_not_tell_and_absent_keys_keep_theirs(
    canvas: SimulatedCanvas, session: Session
) -> None:
    bodies = [{"id": 1, "name": "a", "position": 1}, {"id": 2, "name": "b"}, {"id": 2, "name": "c"}]
    counts = load_objects(session, "assignment_groups", bodies, values={"canvas_course_id": 2003})
    assert (counts.inserted, counts.duplicates) == (2, 1)
    canvas.advance(minutes=1)
    load_objects(session, "assignment_groups", [{"id": 1, "name": "z"}])
    late = load_objects(
        session, "assignment_groups", [{"id": 1, "name": "late"}], observed_at=canvas.now - timedelta(days=1)
    )
    assert late.superseded == 1
    with psycopg.connect(session.database_url) as connection:
        rows = connection.execute("select canvas_id, name, position, canvas_course_id from canvas.assignment_groups")
        assert sorted(rows.fetchall()) == [(1, "z", 1, 2003), (2, "c", None, 2003)]


def test_within_the_transaction_of_a_report_nothing_waits_and_all_is_undone_together(
    canvas: SimulatedCanvas, session: Session
) -> None:
    with pytest.raises(ZeroDivisionError), session.transaction("processing") as connection:
        connection.execute("insert into canvas.courses (canvas_id) values (2003)")
        fetch(session, "courses", 2003, connection=connection)
        load_objects(session, "courses", [{"id": 5, "name": "x"}], connection=connection)
        course = find_or_fetch(session, "courses", 2003, connection=connection)
        assert course is not None
        assert course["canvas_term_id"] == 118
        raise ZeroDivisionError
    assert actual(session.database_url, "courses") == {}


def test_trouble_that_passes_is_waited_out_and_what_does_not_writes_nothing(
    canvas: SimulatedCanvas, session: Session
) -> None:
    canvas.faults.add("bad_gateway", times=2)
    assert find_or_fetch(session, "courses", 2003) is not None
    canvas.faults.add("token_expired", times=3)
    with pytest.raises(CanvasUnauthorizedError):
        fetch(session, "courses", 2003)
    with pytest.raises(ReportContentError, match="the key is empty"):
        load_objects(session, "courses", [{"id": 9}, {"name": "no id"}])
    assert set(actual(session.database_url, "courses")) == {2003}


@pytest.mark.parametrize(("model", "key"), [("coursez", 1), ("group_memberships", 1)])
def test_a_wrong_question_is_one_clear_error(session: Session, model: str, key: int) -> None:
    with pytest.raises(SettingError, match=r"courses|canvas_user_id"):
        fetch(session, model, key)


def test_ids_of_other_shards_stay_whole(canvas: SimulatedCanvas, session: Session) -> None:
    foreign = 30_000_000_000_077
    user = find_or_fetch(session, "users", foreign)
    assert user is not None
    assert user["canvas_id"] == foreign


class TestFunctions:
    """The functions of `sync.api` get the row with all columns, and what they raise is one clear error."""

    def test_fetch_gets_all_columns_of_the_row_or_none_for_those_of_a_row_that_is_not_there(
        self, session: Session
    ) -> None:
        seen: list[dict[str, object]] = []

        def read(client, row):
            seen.append(dict(row))
            return client.get(f"/courses/{row['canvas_id']}")

        own = overridden(session, courses=ApiOverride(fetch=read))
        find_or_fetch(own, "courses", 2003)
        fetch(own, "courses", "2003")
        first, second = seen
        assert (first["canvas_id"], first["name"], first["course_code"]) == (2003, None, None)
        columns = {column.name for column in own.by_name["courses"].columns}
        assert columns <= first.keys()
        assert second.keys() >= columns | {"updated_at", "observed_at"}
        assert (second["canvas_id"], second["canvas_term_id"], second["workflow_state"]) == (2003, 118, "active")

    def test_mark_deleted_gets_all_columns_of_the_row(self, canvas: SimulatedCanvas, session: Session) -> None:
        gone = ApiOverride(mark_deleted=lambda row: {"workflow_state": f"was {row['workflow_state']}"})
        own = overridden(session, courses=gone)
        fetch(own, "courses", 2007)
        canvas.university.courses = canvas.university.courses.filter(pl.col("id") != 2007)
        with session.transaction("suspecting") as connection:
            connection.execute("update canvas.courses set missing_since = now()")
        assert reconcile(own, own.by_name["courses"]).deleted == 1
        assert actual(session.database_url, "courses")[2007]["workflow_state"] == "was active"

    def test_fields_and_apply_get_the_object_and_the_row_for_objects_and_for_lists(self, session: Session) -> None:
        def apply(account, values, row):
            assert account["id"] == row["canvas_id"]
            return {**values, "workflow_state": f"{values['sis_id']} of {account['id']}"}

        own = overridden(
            session,
            accounts=ApiOverride(
                fields={
                    "sis_id": lambda account, row: row["sis_id"] or account.get("uuid"),
                    "name": lambda a: a["name"],
                },
                apply=apply,
            ),
        )
        load_objects(own, "accounts", [{"id": 77, "name": "a", "uuid": "u"}, {"id": 78, "name": "b"}])
        load_objects(own, "accounts", [{"id": 77, "name": "c", "uuid": "changed"}])
        with psycopg.connect(session.database_url) as connection:
            rows = connection.execute("select canvas_id, name, sis_id, workflow_state from canvas.accounts")
            assert sorted(rows.fetchall()) == [(77, "c", "u", "u of 77"), (78, "b", None, "None of 78")]
        fetch(own, "accounts", 2)
        sync_list(Flow.of(own, FULL), own.by_name["accounts"])
        assert find_or_fetch(own, "accounts", 2)["workflow_state"] == "uuid-of-account-2 of 2"  # type: ignore[index]

    def test_apply_may_change_the_values_in_place(self, session: Session) -> None:
        own = overridden(session, accounts=ApiOverride(apply=lambda body, values, row: values.update(name="mine")))
        load_objects(own, "accounts", [{"id": 77, "name": "a"}])
        assert find_or_fetch(own, "accounts", 77)["name"] == "mine"  # type: ignore[index]

    @pytest.mark.parametrize(
        ("override", "says"),
        [
            (ApiOverride(fetch=lambda client, row: row["emial"]), r"fetch \(.*<lambda>\) raised KeyError: 'emial'"),
            (ApiOverride(fetch=lambda client, row: None), r"fetch .* returned NoneType"),
            (ApiOverride(fields={"name": lambda body: body["nam"]}), r"fields\['name'\] .* raised KeyError: 'nam'"),
            (ApiOverride(apply=lambda body, values, row: {"name": 1 / 0}), r"apply .* raised ZeroDivisionError"),
            (ApiOverride(apply=lambda body, values, row: {"nam": 1}), r"apply .* the column 'nam'.*workflow_state"),
        ],
    )
    def test_a_function_that_raises_is_one_error_that_names_it_and_the_row(
        self, session: Session, override: ApiOverride, says: str
    ) -> None:
        own = overridden(session, courses=override)
        with pytest.raises(FunctionError, match=rf'sync.api\("courses"\): {says}.*canvas_id 2003'):
            fetch(own, "courses", 2003)
        assert actual(session.database_url, "courses") == {}

    def test_reconcile_does_the_other_suspects_before_it_names_the_function_that_raised(
        self, canvas: SimulatedCanvas, session: Session
    ) -> None:
        fetch(session, "courses", 2003, 2005, 2007)
        canvas.university.courses = canvas.university.courses.filter(~pl.col("id").is_in([2003, 2005, 2007]))
        with session.transaction("suspecting") as connection:
            connection.execute("update canvas.courses set missing_since = now()")

        def gone(row):
            return {"workflow_state": {2003: "a", 2007: "b"}[row["canvas_id"]]}

        own = overridden(session, courses=ApiOverride(mark_deleted=gone))
        with pytest.raises(FunctionError, match=r"mark_deleted \(gone\) raised KeyError: 2005 .*canvas_id 2005"):
            reconcile(own, own.by_name["courses"])
        states = {number: row["workflow_state"] for number, row in actual(session.database_url, "courses").items()}
        assert states == {2003: "a", 2005: "active", 2007: "b"}

    def test_an_event_for_whose_object_a_function_raises_fails_alone(
        self, canvas: SimulatedCanvas, session: Session
    ) -> None:
        own = overridden(session, courses=ApiOverride(fields={"name": lambda body: {2003: "x", 2007: "y"}[body["id"]]}))
        told = [event("course_updated", {"course_id": global_id(n)}, canvas.now) for n in (2003, 2005, 2007)]
        assert put_and_drain(own, told, canvas).events == {"applied": 2, "failed": 1}
        assert {row["name"] for row in actual(session.database_url, "courses").values()} == {"x", "y"}
