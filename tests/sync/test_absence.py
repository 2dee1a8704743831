"""Absence is not deletion: rows that vanish from reports are suspects until Canvas itself says what became of them."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import CanvasUnauthorizedError, VolumeGateError
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.object_requests import Answer, Verdict
from canvas_sync_dagster.sync.object_writes import apply_answers
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.reconciliation import reconcile
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse import key_comparison
from canvas_sync_dagster.warehouse.key_comparison import KEYS_AT_ONCE
from canvas_sync_dagster.warehouse.suspects import read_suspects
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.truth import FULL

TERM = "118"
MODELS = {model.name: model for model in BUILT_IN}
GROUPS = {group.name: group for group in report_groups(BUILT_IN)}


@pytest.fixture(params=[3, KEYS_AT_ONCE])
def _in_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_comparison, "KEYS_AT_ONCE", request.param)


def sync(session: Session, options: SyncOptions = FULL) -> SyncOutcome:
    names = {"courses", "sections", "enrollments"}
    return sync_report(Flow.of(session, options, TERM), GROUPS["provisioning_term"], names)


def suspects(session: Session, model: str) -> list[int]:
    with psycopg.connect(session.database_url) as connection:
        query = f"select canvas_id from canvas.{model} where missing_since is not null order by 1"
        return [int(row[0]) for row in connection.execute(query).fetchall()]


def state(session: Session, model: str, number: int) -> str:
    with psycopg.connect(session.database_url) as connection:
        row = connection.execute(
            f"select workflow_state from canvas.{model} where canvas_id = %s", (number,)
        ).fetchone()
    assert row is not None
    return str(row[0])


def vanish(canvas: SimulatedCanvas, number: int) -> None:
    """Deletes an enrollment by hand, which reports do not tell."""
    canvas.advance(minutes=1)
    canvas.university.set("enrollments", pl.col("id") == number, state="deleted", by_sis=False)


@pytest.mark.usefixtures("_in_pieces")
def test_a_row_that_vanishes_is_a_suspect_until_canvas_says_it_is_deleted(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync(session)
    vanish(canvas, 4_000_002)
    outcome = sync(session)
    enrollments = next(each for each in outcome.models if each.model.name == "enrollments")
    assert (enrollments.absence.missing, enrollments.suspects) == (1, 1)
    assert suspects(session, "enrollments") == [4_000_002]
    assert state(session, "enrollments", 4_000_002) == "active"
    found = reconcile(session, MODELS["enrollments"])
    assert (found.asked, found.alive, found.left) == (1, 1, 0)
    assert state(session, "enrollments", 4_000_002) == "deleted"


def test_an_incremental_report_makes_no_suspects(canvas: SimulatedCanvas, session: Session) -> None:
    sync(session)
    vanish(canvas, 4_000_002)
    sync(session, SyncOptions(mode="incremental"))
    assert suspects(session, "enrollments") == []


def test_a_row_that_returns_is_no_suspect_any_more(canvas: SimulatedCanvas, session: Session) -> None:
    sync(session)
    vanish(canvas, 4_000_002)
    sync(session)
    canvas.university.set("enrollments", pl.col("id") == 4_000_002, state="active")
    sync(session)
    assert suspects(session, "enrollments") == []
    assert state(session, "enrollments", 4_000_002) == "active"


def test_what_canvas_does_not_find_is_deleted_and_what_it_hides_stays_a_suspect(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync(session)
    gone = canvas.university.enrollments.filter(pl.col("id").is_in([4_000_002, 4_000_003]))
    canvas.university.enrollments = canvas.university.enrollments.join(gone.select("id"), on="id", how="anti")
    sync(session)
    assert suspects(session, "enrollments") == [4_000_002, 4_000_003]
    canvas.faults.add("unauthorized_object", times=2)
    found = reconcile(session, MODELS["enrollments"])
    assert (found.deleted, found.forbidden, found.left) == (0, 2, 2)
    found = reconcile(session, MODELS["enrollments"], limit=1)
    assert (found.deleted, found.left) == (1, 1)
    states = [state(session, "enrollments", number) for number in (4_000_002, 4_000_003)]
    assert sorted(states) == ["active", "deleted"]


def test_a_token_that_expires_deletes_nothing(canvas: SimulatedCanvas, session: Session) -> None:
    sync(session)
    vanish(canvas, 4_000_002)
    sync(session)
    canvas.faults.add("token_expired", times=5)
    with pytest.raises(CanvasUnauthorizedError):
        reconcile(session, MODELS["enrollments"])
    assert suspects(session, "enrollments") == [4_000_002]


@pytest.mark.usefixtures("_in_pieces")
def test_a_sudden_drop_publishes_nothing_until_a_person_says_it_is_right(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync(session)
    canvas.faults.add("volume_drop", times=3)
    with pytest.raises(VolumeGateError, match=r"courses of term 118: 8 of 8 rows.*accept_shrinkage"):
        sync(session)
    assert suspects(session, "courses") == []
    canvas.faults.clear()
    canvas.faults.add("volume_drop", times=3)
    sync(session, SyncOptions(mode="full", accept_shrinkage=True))
    assert len(suspects(session, "courses")) == 8
    canvas.faults.clear()
    sync(session)
    assert suspects(session, "courses") == []


def test_a_moderate_drop_is_published_but_marks_nobody(canvas: SimulatedCanvas, session: Session) -> None:
    sync(session)
    here = canvas.university.sections.join(
        canvas.university.courses.filter(pl.col("term_id") == 118).select(course_id="id"), on="course_id", how="semi"
    )
    people = canvas.university.enrollments.join(here.select(section_id="id"), on="section_id", how="semi")
    some = people.filter(pl.col("state") != "deleted").head(20).get_column("id").implode()
    canvas.university.set("enrollments", pl.col("id").is_in(some), state="deleted", by_sis=False)
    outcome = sync(session)
    enrollments = next(each for each in outcome.models if each.model.name == "enrollments")
    assert 15 <= enrollments.absence.missing <= 20
    assert "none was marked" in enrollments.absence.held
    assert suspects(session, "enrollments") == []


def test_a_section_that_goes_home_is_cross_listed_no_more(canvas: SimulatedCanvas, session: Session) -> None:
    def home() -> object:
        with psycopg.connect(session.database_url) as connection:
            query = "select canvas_nonxlist_course_id from canvas.sections where canvas_id = 4007"
            return (connection.execute(query).fetchone() or [None])[0]

    sync(session)
    assert home() == 2003
    canvas.advance(minutes=1)
    canvas.university.set("sections", pl.col("id") == 4007, course_id=2003, nonxlist_course_id=None)
    sync(session)
    assert home() is None


def test_admins_whom_canvas_no_longer_lists_are_inactive(canvas: SimulatedCanvas, session: Session) -> None:
    sync_list(Flow.of(session, FULL), MODELS["accounts"])
    sync_list(Flow.of(session, FULL), MODELS["admins"])
    assert state(session, "admins", 2000) == "active"
    canvas.advance(days=40)
    sync_list(Flow.of(session, FULL), MODELS["admins"])
    assert state(session, "admins", 2000) == "inactive"
    assert state(session, "admins", 2001) == "active"


def test_a_walk_that_breaks_off_publishes_nothing(canvas: SimulatedCanvas, session: Session) -> None:
    sync_list(Flow.of(session, FULL), MODELS["accounts"])
    canvas.faults.add("token_expired")
    with pytest.raises(CanvasUnauthorizedError):
        sync_list(Flow.of(session, FULL), MODELS["roles"])
    with psycopg.connect(session.database_url) as connection:
        assert connection.execute("select count(*) from canvas.roles").fetchone() == (0,)


def test_an_account_that_canvas_does_not_find_says_nothing_of_its_admins_until_it_is_known_to_be_deleted(
    canvas: SimulatedCanvas, session: Session
) -> None:
    for name in ("accounts", "admins", "roles"):
        sync_list(Flow.of(session, FULL), MODELS[name])
    canvas.advance(minutes=1)
    canvas.university.set("accounts", pl.col("id") == 4, state="deleted")
    outcome = sync_list(Flow.of(session, FULL), MODELS["admins"])
    sync_list(Flow.of(session, FULL), MODELS["roles"])
    assert "does not find accounts 4" in outcome.decision.reason
    assert [state(session, "admins", 4000), state(session, "roles", 104)] == ["active", "active"]
    sync_list(Flow.of(session, FULL), MODELS["accounts"])
    assert reconcile(session, MODELS["accounts"]).deleted == 1
    for name in ("admins", "roles"):
        sync_list(Flow.of(session, FULL), MODELS[name])
    assert [state(session, "admins", 4000), state(session, "roles", 104)] == ["inactive", "inactive"]


def test_lists_that_are_suddenly_empty_make_nobody_inactive(canvas: SimulatedCanvas, session: Session) -> None:
    for name in ("accounts", "roles"):
        sync_list(Flow.of(session, FULL), MODELS[name])
    with psycopg.connect(session.database_url) as connection:
        connection.execute(
            "insert into canvas.roles (canvas_id, canvas_account_id, workflow_state, observed_at) "
            "select 5000 + n, 2, 'active', '2020-01-01' from generate_series(1, 90) n"
        )
    with pytest.raises(VolumeGateError, match=r"90 of 100 rows.*accept_shrinkage"):
        sync_list(Flow.of(session, FULL), MODELS["roles"])
    assert state(session, "roles", 5001) == "active"
    sync_list(Flow.of(session, replace(FULL, accept_shrinkage=True)), MODELS["roles"])
    assert state(session, "roles", 5001) == "inactive"


def test_outcomes_of_courses_are_not_missed_in_the_lists_of_accounts(canvas: SimulatedCanvas, session: Session) -> None:
    for name in ("accounts", "learning_outcomes"):
        sync_list(Flow.of(session, FULL), MODELS[name])
    with psycopg.connect(session.database_url) as connection:
        connection.execute(
            "insert into canvas.learning_outcomes (canvas_id, canvas_context_id, canvas_context_type, observed_at) "
            "select 5000 + n, 2003, 'Course', '2020-01-01' from generate_series(1, 90) n"
        )
    assert sync_list(Flow.of(session, FULL), MODELS["learning_outcomes"]).models[0].suspects == 0


def test_rows_that_canvas_hides_do_not_stand_before_the_others_for_ever(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync(session)
    vanish(canvas, 4_000_002)
    vanish(canvas, 4_000_003)
    sync(session)
    with session.transaction("asking") as connection:
        first = {
            read_suspects(Warehouse(connection, "canvas").table(MODELS["enrollments"]), (), 1)[0]["canvas_id"]
            for _ in range(60)
        }
    assert first == {4_000_002, 4_000_003}


def test_a_table_that_was_there_before_needs_none_of_our_columns(canvas: SimulatedCanvas, session: Session) -> None:
    lacking = {"roles", "admins", "courses", "sections", "enrollments"}
    with psycopg.connect(session.database_url) as connection:
        for table in lacking:
            for column in ("created_at", "updated_at", "observed_at", "missing_since", "row_hash"):
                connection.execute(f"alter table canvas.{table} drop column {column}")
    sync(session)
    for name in ("accounts", "roles", "admins"):
        sync_list(Flow.of(session, FULL), MODELS[name])
    vanish(canvas, 4_000_002)
    canvas.advance(days=40)
    sync(session)
    sync_list(Flow.of(session, FULL), MODELS["admins"])
    assert state(session, "admins", 2000) == "inactive"
    assert reconcile(session, MODELS["enrollments"]).reason == "its table has no column missing_since"
    gone = Answer({"canvas_id": 2003}, Verdict.GONE, observed_at=canvas.now)
    with session.transaction("deleting") as connection:
        assert apply_answers(session.warehouse_on(connection).table(MODELS["courses"]), [gone]).deleted == 1
    assert state(session, "courses", 2003) == "deleted"


@pytest.mark.usefixtures("_in_pieces")
def test_rows_whose_term_no_table_tells_are_missed_in_the_report_that_listed_them(
    canvas: SimulatedCanvas, session: Session
) -> None:
    def scores(term: str) -> SyncOutcome:
        return sync_report(Flow.of(session, FULL, term), GROUPS["scores"], {"scores"})

    # No enrollment is in its table, so that none tells the term of a score.
    first = {term: scores(term).models[0].counts.inserted for term in ("116", "118")}
    assert min(first.values()) > 5
    assert [scores(term).models[0].absence.missing for term in ("116", "118", "118")] == [0, 0, 0]
    lost = canvas.university.enrollments.join(
        canvas.university.sections.filter(pl.col("course_id") == 2003).select(section_id="id"), on="section_id"
    )
    lost = lost.filter((pl.col("type") == "StudentEnrollment") & (pl.col("state") != "deleted")).head(1)
    canvas.university.enrollments = canvas.university.enrollments.join(lost.select("id"), on="id", how="anti")
    assert scores("116").models[0].suspects == 0
    assert scores("118").models[0].absence.missing == 1
    assert suspects(session, "scores") == [lost.item(0, "id") + 700_000_000]
    assert scores("118").models[0].suspects == 1
