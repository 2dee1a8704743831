"""A team moves over: its Rails application's database, with all of the gem's tables and state, in the schema `public`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.dbt import dbt_source
from canvas_sync_dagster.catalogue.dictionary import data_dictionary
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.event import read_event
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import REPORTS, SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.reconciliation import reconcile
from canvas_sync_dagster.sync.rejects import replay_rejects
from canvas_sync_dagster.sync.report_request import report_groups, rest_models
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session, open_session
from canvas_sync_dagster.warehouse.loading.known_rows import REASON
from canvas_sync_dagster.warehouse.schema.migrate import migrate, plan
from canvas_sync_dagster.warehouse.state.housekeeping import drop_old_rows
from canvas_sync_dagster.warehouse.state.inbox import store
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from canvas_sync_dagster.warehouse.state.job_logs import JobLogs
from canvas_sync_dagster.warehouse.state.sync_batches import SyncBatches
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests import rails
from tests.fix_canvas import session_of
from tests.fix_postgres import fresh
from tests.truth import FULL, actual, expected, sync_everything

STOCK_ONLY = frozenset(REPORTS) - {"proservices_provisioning_csv"}
MAPPING = """
users:
  conflict_target: canvas_id
  report_columns:
    canvas_user_id: {database_column_name: canvas_id, type: integer}
    email: {database_column_name: email, type: string}
    first_name: {database_column_name: first_name, type: string}
    last_name: {database_column_name: last_name, type: string}
    status: {database_column_name: workflow_state, type: string}
    login_id: {database_column_name: login_id, type: string}
    full_name: {database_column_name: name, type: string}
    sortable_name: {database_column_name: sortable_name, type: string}
"""
SYNCED = ("users", "courses", "sections", "enrollments", "assignments", "submissions")
LONG_AGO = datetime(2020, 1, 1)


@dataclass
class Application:
    """The application's database and its Canvas."""

    url: str
    canvas: SimulatedCanvas
    directory: Path
    settings: Settings

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def call(self, *arguments: str) -> tuple[int, str]:
        environment = {
            "CANVAS_SYNC_BASE_URL": self.canvas.base_url,
            "CANVAS_SYNC_TOKEN": self.canvas.token,
            "DATASERVICES_JWK_URL": self.canvas.jwk_url,
            "CANVAS_SYNC_HOME": str(self.directory),
        }
        with contextlib.chdir(self.directory):
            done = CliRunner().invoke(main, arguments, env=environment)
        return done.exit_code, done.output

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        tenant = self.settings.tenant()
        with open_session(self.settings, tenant, tenant.chosen(self.settings.models())) as opened:
            yield opened


@pytest.fixture(scope="module")
def application(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    directory = tmp_path_factory.mktemp("rails")
    (directory / "config").mkdir()
    (directory / "config" / "canvas_sync_provisioning_mapping.yml").write_text(MAPPING)
    with (
        fresh(postgres, "template1") as url,
        SimulatedCanvas(compile_seconds=0.01, reports=STOCK_ONLY).serve() as canvas,
    ):
        (directory / "canvas_sync.yaml").write_text(
            f"tenants: {{school: {{schema: public, database_url: '{url}', term_scope: all, poll_seconds: 0.01}}}}\n"
        )
        with psycopg.connect(url) as connection:
            rails.create(connection)
            _fill(connection, canvas)
        environment = {"CANVAS_SYNC_BASE_URL": canvas.base_url, "CANVAS_SYNC_TOKEN": canvas.token}
        settings = Settings.from_environment(environment, directory=directory)
        yield Application(url, canvas, directory, settings)


def _fill(connection: psycopg.Connection[Any], canvas: SimulatedCanvas) -> None:
    """Inserts rows that are as Canvas has them, and one of each kind that is not."""
    connection.execute("set timezone = 'UTC'")
    for model in ("users", "courses", "sections", "enrollments"):
        for number, row in enumerate(list(expected(canvas, model).values())[:30]):
            rails.insert(connection, model, {**row, "workflow_state": "outdated"} if number == 0 else row)
    for membership in canvas.table("proservices_provisioning_csv", "group_membership")[1][:5]:
        keys = {name: membership[name] for name in ("canvas_group_id", "canvas_user_id")}
        rails.insert(connection, "group_memberships", {"canvas_id": membership["canvas_group_membership_id"], **keys})


def test_a_rails_application_is_taken_over(application: Application) -> None:
    code, told = application.call("migrate", "--check")
    assert (code, "missing: add column users.observed_at" in told) == (1, True), told
    assert "FAIL  missing in schema public: " in application.call("doctor")[1]
    code, told = application.call("migrate")
    assert (code, "add column canvas_sync_sync_batches.metadata" in told) == (0, True), told
    assert "group_memberships: public.group_memberships.canvas_id is NOT NULL" in told
    for arguments in (("migrate",), ("migrate", "--check")):
        code, told = application.call(*arguments)
        assert (code, "public: nothing is missing" in told) == (0, True), told
    checked = application.call("doctor")[1]
    assert "ok    schema public has all tables, columns and indexes" in checked
    assert "note  group_memberships: public.group_memberships.canvas_id is NOT NULL" in checked
    _sync_twice(application)
    _status(application)
    _live_events_and_reconcile(application)
    _memberships(application)


def _sync_twice(application: Application) -> None:
    for days in (0, 1):
        application.canvas.advance(days=days)
        with application.session() as session:
            batches = BatchService(session.tenant, session.database_url, session.models)
            # The gem's own batch of this genre is still `processing`, and does not matter.
            batch = batches.open(f"school:default:{days}")
            assert batch is not None
            sync_everything(session)
            batches.note_terms(batch, ["118"])
            assert batches.close(batch, "completed", "all done", [])
        for model in SYNCED:
            have, want = actual(application.url, model, "public"), expected(application.canvas, model)
            assert have == {**have, **want}, model
        if days == 0:
            kept = "select count(*) filter (where updated_at <> {0}), min(mine), max(mine), bool_and(created_at = {0}) "
            for model in ("users", "courses", "sections", "enrollments"):
                query = kept.format(rails.OLD) + f"from public.{model} where mine = 8"
                assert application.rows(query) == [(1, 8, 8, True)], model


def _status(application: Application) -> None:
    code, told = application.call("status", "--json")
    assert code == 0, told
    (status,) = json.loads(told[told.index("[") :])
    assert (status["batch"]["key"], status["batch"]["status"]) == ("school:default:1", "completed")
    users = next(each for each in status["models"] if each["model"] == "users")
    assert users["scopes"][0]["last"]["status"] == "success"
    assert users["rows"] == application.rows("select count(*) from public.users")[0][0]
    theirs = "select job_class, status, updated_at from public.canvas_sync_job_logs where job_id = 'a'"
    with psycopg.connect(application.url) as connection:
        drop_old_rows(Warehouse(connection, "public"))  # type: ignore[arg-type]
    assert application.rows(theirs) == [("CanvasSync::Jobs::SyncTermsJob", "running", LONG_AGO)]
    assert application.rows("select status from public.canvas_sync_sync_batches where heartbeat_at is null") == [
        ("completed",),
        ("processing",),
    ]


def _live_events_and_reconcile(application: Application) -> None:
    events = [
        each for table in ("courses", "sections", "enrollments") for each in application.canvas.save_again(table, 2)
    ]
    with application.session() as session:
        with session.transaction("storing live events") as connection:
            ensure_partitions(Warehouse(connection, session.schema))
            store(Warehouse(connection, session.schema), [read_event(each, datetime.now(UTC)) for each in events])
        assert drain(session).events == {"applied": len(events)}
        with session.transaction("making a suspect") as connection:
            connection.execute(
                "update public.users set missing_since = now() where canvas_id = (select min(canvas_id) from public.users)"
            )
        done = reconcile(session, session.by_name["users"])
    assert (done.asked, done.alive) == (1, 1)


def _memberships(application: Application) -> None:
    """The table requires an id that the stock report does not have: what is there is updated, the others are rejects."""
    want = len(application.canvas.table("proservices_provisioning_csv", "group_membership")[1])
    held = (
        "select count(*), count(distinct canvas_id), bool_and(workflow_state is not null) from public.group_memberships"
    )
    assert application.rows(held) == [(5, 5, True)]
    rejected = f"select count(*), min(column_name) from public.canvas_sync_rejected_rows where reason = '{REASON}'"
    assert application.rows(f"{rejected} and model = 'group_memberships'") == [(want - 5, "canvas_id")]
    with psycopg.connect(application.url) as connection:
        connection.execute("alter table public.group_memberships alter column canvas_id drop not null")
    with application.session() as session:
        replayed = replay_rejects(session.database_url, "public", session.by_name["group_memberships"])
    assert (replayed.loaded, replayed.left) == (want - 5, 0)
    assert application.rows("select count(*) from public.group_memberships") == [(want,)]


def test_the_journal_is_written_whatever_its_columns_are(postgres: EmbeddedPostgres) -> None:
    with fresh(postgres, "template1") as url:
        settings = Settings.from_content(
            {"tenants": {"a": {"schema": "public", "database_url": url, "models": "users"}}}, {}, source=Path("x")
        )
        tenant = settings.tenant()
        with psycopg.connect(url) as connection:
            connection.execute(rails.STATE.format(json="json").encode())
        batches = BatchService(tenant, url, tenant.chosen(settings.models()))
        with pytest.raises(SchemaError, match=r"canvas_sync_sync_batches\.heartbeat_at.*canvas-sync migrate"):
            batches.open("one")
        migrate(url, "public", batches.models)
        batch = batches.open("one", {"trigger": "test"})
        assert batch is not None
        with batches.warehouse("writing") as warehouse:
            journal = JobLogs(warehouse)
            job = journal.start("report", {"scope": "", "models": ["users"]}, "run-1")
            job.beat(warehouse)
            assert list(journal.silences()) == ["run-1"]
            job.fail(warehouse, ValueError("x" * 900))
            query = "select length(exception) from public.canvas_sync_job_logs"
            (length,) = warehouse.connection.execute(query).fetchone() or ()
            assert length <= 255
            journal.start("report", {}, "run-1")
            assert (journal.close_orphaned("run-1", "gone") or {})["status"] == "error"
            journal.start("report", {}, "run-1").succeed(warehouse, {"mode": "full", "report_id": 7})
        assert batches.close(batch, "completed", "done", ["run-1"])
        with batches.warehouse("reading") as warehouse:
            (latest,) = SyncBatches(warehouse).latest()
            query = "select full_sync, started_at from public.canvas_sync_sync_batches"
            full, at = warehouse.connection.execute(query).fetchone() or ()
        assert (latest.key, latest.details["trigger"], full) == ("one", "test", True)
        assert abs(latest.started_at - datetime.now(UTC)) < timedelta(minutes=5)
        assert at == latest.started_at.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("alter column metadata type varchar(255)", r"metadata is character varying\(255\), too short for JSON"),
        ("add column tenant text not null", "tenant is NOT NULL without a default"),
        ("alter column started_at type date", "started_at is date; expected timestamp"),
    ],
)
def test_state_tables_that_cannot_be_written_are_named(database_url: str, change: str, problem: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(rails.STATE.format(json="json").encode())
        connection.execute(sql.SQL("alter table public.canvas_sync_job_logs {}").format(sql.SQL(change)))  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match=problem):
        plan(database_url, "public", [])


def test_a_key_that_occurs_twice_skips_its_model_and_holds_up_no_other(
    migrated_url: str, canvas: SimulatedCanvas, tmp_path: Path
) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("alter table canvas.group_memberships drop constraint group_memberships_pkey")
        connection.execute(
            "insert into canvas.group_memberships (canvas_group_id, canvas_user_id) values (1, 2), (1, 2)"
        )
    with session_of(canvas, migrated_url, tmp_path) as session:
        (group,) = (each for each in report_groups(session.models) if each.name == "provisioning")
        names = {"users", "groups", "group_memberships"}
        done = sync_report(Flow.of(session, FULL), group, names)
        assert {each.model.name for each in done.models} == {"users", "groups"}
        assert (
            "no unique index on canvas_group_id, canvas_user_id; see `canvas-sync doctor`"
            in (done.skipped["group_memberships"])
        )
        memberships = [
            each for each in canvas.take_events(everything=True) if "membership" in each["metadata"]["event_name"]
        ]
        users = canvas.save_again("users", 1)
        with session.transaction("storing live events") as connection:
            ensure_partitions(Warehouse(connection, session.schema))
            store(
                Warehouse(connection, session.schema),
                [read_event(each, datetime.now(UTC)) for each in (*memberships[:1], *users)],
            )
        assert drain(session).events == {"applied": len(users)} | ({"failed": 1} if memberships else {})
        with pytest.raises(SchemaError, match="no unique index"):
            sync_report(Flow.of(session, FULL), group, {"group_memberships"})


def test_the_whole_road_goes_to_the_tables_that_mappings_name(
    database_url: str, canvas: SimulatedCanvas, tmp_path: Path
) -> None:
    models = tuple(MappingOverride(each.name).table(f"own {each.name}").applied(each) for each in BUILT_IN)
    with session_of(canvas, database_url, tmp_path, models) as session:
        for model in rest_models(models):
            if model.name in {"terms", "accounts", "roles"}:
                sync_list(Flow.of(session, FULL), model)
        for group in report_groups(models):
            if group.name.startswith("provisioning"):
                names, scope = {each.name for each in group.models}, "118" if group.term_scoped else ""
                assert sync_report(Flow.of(session, FULL, scope), group, names).models
        events = [each for table in ("courses", "sections", "enrollments") for each in canvas.save_again(table, 2)]
        with session.transaction("storing live events") as connection:
            ensure_partitions(Warehouse(connection, session.schema))
            store(Warehouse(connection, session.schema), [read_event(each, datetime.now(UTC)) for each in events])
            connection.execute(
                'update canvas."own users" set missing_since = now() where canvas_id in (select min(canvas_id) from canvas."own users")'
            )
        assert drain(session).events == {"applied": len(events)}
        assert reconcile(session, session.by_name["users"]).alive == 1
        with session.transaction("looking") as connection:
            tables = (
                "select tablename from pg_tables where schemaname = 'canvas' and tablename !~ '^(own|canvas_sync_)'"
            )
            assert connection.execute(tables).fetchall() == []
            (rows,) = connection.execute('select count(*) from canvas."own enrollments"').fetchone() or ()
            assert rows > 0
    described = dbt_source("school", "canvas", models)["tables"]
    assert isinstance(described, list)
    assert [(each["name"], each["identifier"]) for each in described] == [(m.name, f"own {m.name}") for m in BUILT_IN]
    assert "Table: `own users`." in data_dictionary(models)
