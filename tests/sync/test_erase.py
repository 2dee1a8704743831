"""A person who was erased is in no table, reject, event or journal, and neither a sync nor an event brings them back."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.erase import erase_user, sweep
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.erasure import mentions, owners
from canvas_sync_dagster.warehouse.loading.load import Source, load_csv
from canvas_sync_dagster.warehouse.loading.row_by_row import load_row_by_row
from canvas_sync_dagster.warehouse.loading.rows import load_rows
from canvas_sync_dagster.warehouse.schema.ddl import INBOX
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.live_events.test_drain import put_and_drain
from tests.truth import sync_structure

MODELS = {model.name: model for model in BUILT_IN}
T0 = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = """
insert into canvas.users (canvas_id, name, email, login_id) values
  (7, 'Zoë Plantedsson', 'planted@x.test', 'zplanted'), (8, 'Ann Other', 'ann@x.test', 'ann');
insert into canvas.pseudonyms (canvas_id, canvas_user_id, sis_id, unique_id) values
  (70, 7, 'SIS-PLANTED', 'zplanted'), (80, 8, 'S8', 'ann');
insert into canvas.enrollments (canvas_id, canvas_user_id, canvas_course_id) values (700, 7, 1), (800, 8, 1);
insert into canvas.scores (canvas_id, canvas_enrollment_id, final_score) values (7000, 700, 1), (8000, 800, 2);
insert into canvas.submissions (canvas_id, canvas_user_id, score) values (71, 7, 3), (81, 8, 4);
insert into canvas.user_observers (observing_user_id, observed_user_id) values (7, 8), (8, 9), (9, 7);
insert into canvas.assignment_overrides (canvas_id, student_ids) values (90, '{7,8}'), (91, '{8}');
insert into canvas.rubric_assessments (canvas_id, canvas_user_id, canvas_assessor_id) values (92, 8, 7), (93, 7, 8);
insert into canvas.courses (canvas_id, name) values (7, 'Course seven');
insert into canvas.canvas_sync_rejected_rows (model, reason, raw, header) values
  ('users', 'wrong', '7,Zoë', 'canvas_user_id,full_name'), ('users', 'wrong', '17,Ann', 'canvas_user_id,full_name'),
  ('users', 'wrong', 'x,planted@x.test', null);
insert into canvas.canvas_sync_job_logs (job_class, status, exception, backtrace, metadata) values
  ('mine', 'error', 'no room for Zoë Plantedsson (zplanted)', 'planted@x.test', '{"who": ["zplanted"], "rows": 7}');
"""
EVENTS = {
    ("applied", '{"metadata": {"user_id": "10000000000007"}, "body": {"course_id": "5"}}'): False,
    ("applied", '{"metadata": {}, "body": {"course_id": "10000000000007", "user_id": "10000000000008"}}'): True,
    ("dead", '{"metadata": {}, "body": {"user_id": "7", "name": "x"}}'): False,
    ("pending", '{"metadata": {}, "body": {"user_id": "10000000000007"}}'): False,
    ("pending", '{"metadata": {"user_login": "zplanted", "user_id": "7", "k": 1}, "body": {"course_id": "5"}}'): True,
    ("failed", '{"metadata": {}, "body": {"user_id": "10000000000077"}}'): True,
}


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database_url, autocommit=True) as opened:
        opened.execute(ROWS)
        ensure_partitions(Warehouse(opened, "canvas"))
        for number, (state, payload) in enumerate(EVENTS):
            opened.execute(
                f"insert into canvas.{INBOX} (event_name, content_hash, payload, state) values ('x', %s, %s, %s)",
                (f"x{number}".encode(), payload, state),
            )
        yield opened


def rows(connection: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def everything(connection: psycopg.Connection[Any]) -> str:
    """All text of the schema but the list of what was erased."""
    tables = rows(
        connection,
        "select table_name from information_schema.tables where table_schema = 'canvas' "
        "and table_name <> 'canvas_sync_erased_objects'",
    )
    return "\n".join(
        str(row) for (table,) in tables for row in rows(connection, f'select t::text from canvas."{table}" t')
    )


def test_every_row_about_a_person_goes_and_other_rows_lose_the_mention(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    done = erase_user(database_url, "canvas", BUILT_IN, 7)
    text = everything(connection).lower()
    assert not any(name in text for name in ("planted", "zoë"))
    for table, left in {
        "users": [8], "pseudonyms": [80], "enrollments": [800], "scores": [8000], "submissions": [81],
        "rubric_assessments": [92], "courses": [7],
    }.items():  # fmt: skip
        assert rows(connection, f"select canvas_id from canvas.{table}") == [(number,) for number in left], table
        assert done.removed[table] == (0 if table == "courses" else 1)
    assert rows(connection, "select * from canvas.user_observers") and done.removed["user_observers"] == 2
    assert rows(connection, "select student_ids from canvas.assignment_overrides order by canvas_id") == [
        ([8],),
        ([8],),
    ]
    assert rows(connection, "select canvas_assessor_id from canvas.rubric_assessments") == [(None,)]
    assert rows(connection, "select raw from canvas.canvas_sync_rejected_rows") == [("17,Ann",)]
    assert rows(connection, "select exception, backtrace, metadata from canvas.canvas_sync_job_logs") == [
        ("no room for [erased] ([erased])", "[erased]", {"who": ["[erased]"], "rows": 7})
    ]
    assert len(rows(connection, f"select from canvas.{INBOX}")) == sum(EVENTS.values())
    assert rows(connection, f"select payload->'metadata' from canvas.{INBOX} where payload->'metadata' ? 'k'") == [
        ({"k": 1},)
    ]
    assert not erase_user(database_url, "canvas", BUILT_IN, 7).removed.total()


def test_a_row_that_a_table_of_the_users_own_refers_to_stays_empty(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    connection.execute("create table canvas.theses (author bigint references canvas.users (canvas_id))")
    connection.execute("insert into canvas.theses values (7)")
    assert erase_user(database_url, "canvas", BUILT_IN, 7).blanked["users"] == 1
    assert rows(connection, "select name, email, login_id from canvas.users where canvas_id = 7") == [
        (None, None, None)
    ]


def test_reports_and_reads_leave_an_erased_person_out(connection: psycopg.Connection[Any], database_url: str) -> None:
    erase_user(database_url, "canvas", BUILT_IN, 7)
    source = Source("", T0, "users", 1)
    reports = {
        "users": "canvas_user_id,full_name\n7,Zoë Plantedsson\n8,Ann Other\n",
        "enrollments": "canvas_enrollment_id,canvas_user_id,canvas_course_id\n701,7,1\n800,8,1\n",
        "scores": "canvas_score_id,canvas_enrollment_id,final_score\n7001,701,5\n7000,700,1\n8000,800,2\n",
        "user_observers": "canvas_observer_id,canvas_student_id\n7,8\n8,9\n",
        "assignment_overrides": 'canvas_assignment_override_id,student_ids\n90,"{7,8}"\n',
    }
    for name, content in reports.items():
        model, counts = MODELS[name], None
        with connect(database_url) as opened:
            counts = load_csv(
                Warehouse(opened, "canvas").table(model),
                lambda text=content: io.BytesIO(text.encode()),  # type: ignore[misc]
                source,
            )  # type: ignore[misc]
        done = counts.inserted + counts.updated + counts.unchanged + counts.skipped
        assert done == counts.rows_in_report, name
    objects: list[dict[str, object]] = [{"canvas_id": 7, "name": "Zoë Plantedsson"}, {"canvas_id": 8, "name": "Ann"}]
    with connect(database_url) as opened:
        assert load_rows(Warehouse(opened, "canvas").table(MODELS["users"]), objects, source).skipped == 1
        load_rows(
            Warehouse(opened, "canvas").table(MODELS["submissions"]), [{"canvas_id": 72, "canvas_user_id": 7}], source
        )
        load_rows(Warehouse(opened, "canvas").table(MODELS["submissions"]), [{"canvas_id": 71, "score": 9}], source)
        bad = [{"canvas_id": "no", "canvas_user_id": 7}]
        load_rows(Warehouse(opened, "canvas").table(MODELS["submissions"]), bad, source, keep_rejects=True)
        seen: list[str] = []
        function = lambda row: seen.append(row["full_name"])  # noqa: E731
        opener = lambda: io.BytesIO(reports["users"].encode())  # noqa: E731
        assert (
            load_row_by_row(Warehouse(opened, "canvas").table(MODELS["users"]), opener, source, function).skipped == 1
        )
        assert seen == ["Ann Other"]
    assert "planted" not in everything(connection).lower()
    assert rows(connection, "select canvas_id from canvas.scores") == [(8000,)]
    assert rows(connection, "select canvas_id from canvas.submissions") == [(81,)]
    assert rows(connection, "select student_ids from canvas.assignment_overrides order by canvas_id") == [
        ([8],),
        ([8],),
    ]


def test_housekeeping_removes_what_came_before_the_row_that_tells_whose_it_is(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    erase_user(database_url, "canvas", BUILT_IN, 7)
    connection.execute("insert into canvas.scores (canvas_id, canvas_enrollment_id) values (7001, 701)")
    row = {"canvas_id": 701, "canvas_user_id": 7}
    with connect(database_url) as opened:
        load_rows(Warehouse(opened, "canvas").table(MODELS["enrollments"]), [row], Source("", T0, "enrollments", 1))
    with connect(database_url) as opened:
        assert sweep(Warehouse(opened, "canvas", {model.name: model for model in BUILT_IN})).removed["scores"] == 1


def test_a_sync_and_live_events_of_a_canvas_do_not_bring_a_person_back(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync_structure(session)
    query = "select canvas_user_id from canvas.enrollments group by 1 order by count(*) desc limit 1"
    with connect(session.database_url) as opened:
        (user,) = opened.execute(query).fetchone() or (0,)
        (name,) = opened.execute("select name from canvas.users where canvas_id = %s", (user,)).fetchone() or ("",)
    done = erase_user(session.database_url, "canvas", BUILT_IN, user)
    assert done.removed["users"] == 1
    assert done.removed["enrollments"] > 0
    sync_structure(session)
    spoken = event("user_updated", {"user_id": global_id(user), "name": name}, canvas.now + timedelta(hours=1))
    assert not put_and_drain(session, [spoken], canvas).events
    with connect(session.database_url) as opened:
        for table in ("users", "enrollments", "pseudonyms", INBOX):
            column = "canvas_id" if table == "users" else "canvas_user_id"
            found = opened.execute(
                f"select from canvas.{table} where {'true' if table == INBOX else f'{column} = {user}'}"
            )
            assert found.fetchall() == [], table


def test_the_catalogue_declares_whose_each_row_is() -> None:
    about = {model.name for model in BUILT_IN if "users" in owners(model).values()}
    assert about == {model.name for model in BUILT_IN if "users" in model.parents} | {"users"}
    assert {(m.name, c.name) for m in BUILT_IN for c in mentions(m)} == {
        ("assignment_overrides", "student_ids"),
        ("rubrics", "canvas_user_id"),
        ("rubric_assessments", "canvas_assessor_id"),
    }


def test_the_commands_count_ask_and_report(
    connection: psycopg.Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANVAS_SYNC_DATABASE_URL", database_url)
    done = CliRunner().invoke(main, ["erase", "--user", "7"])
    assert done.exit_code == 0, done.output
    assert "canvas/enrollments: 1 rows removed, 0 blanked" in done.output
    assert "no data of user 99 found" in CliRunner().invoke(main, ["erase", "--user", "99"]).output
    connection.execute(f"update canvas.{INBOX} set state = 'dead'")
    asked = CliRunner().invoke(main, ["replay", "events", "--discard"])
    assert asked.exit_code == 2
    assert f"{sum(EVENTS.values())} dead events will never be applied" in asked.output
    told = CliRunner().invoke(main, ["replay", "events", "--discard", "--yes"])
    assert (told.exit_code, told.output) == (0, f"canvas: {sum(EVENTS.values())} dead events discarded\n")
    assert rows(connection, f"select distinct state from canvas.{INBOX}") == [("ignored",)]
