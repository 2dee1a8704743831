"""Tables are created and added to; nothing of the user's is touched."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.built_in.courses import courses, groups
from canvas_sync_dagster.catalogue.built_in.organisation import terms
from canvas_sync_dagster.catalogue.built_in.people import users
from canvas_sync_dagster.catalogue.mapping_files import mapping_from_file
from canvas_sync_dagster.catalogue.model import Column, ColumnType
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.errors import DatabaseUnavailableError, MisconfiguredError, SchemaError, SettingError
from canvas_sync_dagster.postgres_url import redacted
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.loading.load import Source, load_csv
from canvas_sync_dagster.warehouse.schema.ddl import tables
from canvas_sync_dagster.warehouse.schema.existing import STATE_TABLES, Fitness, fitness
from canvas_sync_dagster.warehouse.schema.migrate import Migration, migrate, plan
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.ledger import ReportLedger
from canvas_sync_dagster.warehouse.state.schema_migrations import last_migration
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Warehouse

PSQL = shutil.which("psql")
MOST = "sis_id text, course_code text, name text, workflow_state text, canvas_term_id bigint"
"""Columns enough to be a table of courses."""


@pytest.mark.every_postgres
def test_a_second_migration_finds_nothing_to_do(database_url: str) -> None:
    assert "create table courses" in migrate(database_url, "canvas", BUILT_IN).changes
    assert migrate(database_url, "canvas", BUILT_IN).changes == ()
    assert plan(database_url, "canvas", BUILT_IN).sql() == ""
    with connect(database_url) as connection:
        assert fitness(connection, "canvas", BUILT_IN) == Fitness()


def test_the_last_migration_has_its_version_and_is_none_for_a_role_that_may_not_read_it(database_url: str) -> None:
    migrate(database_url, "canvas", [courses])
    with psycopg.connect(database_url) as connection:
        wider = courses.with_columns(Column("colour", ColumnType.TEXT))
        assert plan(database_url, "elsewhere", [courses]).last is None
        last = migrate(database_url, "canvas", [wider]).last
        found = last_migration(connection, "canvas")
        assert found is not None
        assert found.version == version("canvas-sync-dagster")
        assert last is not None
        assert found.applied_at > last.applied_at
        connection.execute("create role stranger; grant usage on schema canvas to stranger; set local role stranger")
        assert last_migration(connection, "canvas") is None


@pytest.mark.parametrize("case", ["public", "role named like the schema", "search path of the role", "of the address"])
def test_migrations_repeat_where_the_tenants_schema_is_the_current_one(database_url: str, case: str) -> None:
    schema, url = "public" if case == "public" else "school", database_url
    with psycopg.connect(database_url, autocommit=True) as connection:
        if case == "role named like the schema":
            connection.execute("drop role if exists school; create role school login superuser")
            url = database_url.replace("canvas_sync@", "school@")
        if case == "search path of the role":
            connection.execute("drop role if exists searcher; create role searcher login superuser")
            connection.execute("alter role searcher set search_path = school")
            url = database_url.replace("canvas_sync@", "searcher@")
    if case == "of the address":
        url = f"{database_url}{'&' if '?' in database_url else '?'}options=-csearch_path%3Dschool"
    assert "create table courses" in migrate(url, schema, [courses]).changes
    assert migrate(url, schema, [courses]).changes == ()
    wider = courses.with_columns(Column("colour", ColumnType.TEXT))
    assert plan(url, schema, [wider]).changes == ("add column courses.colour",)
    assert migrate(url, schema, [wider]).changes == ("add column courses.colour",)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("alter table {} drop column colour").format(sql.Identifier(schema, "courses")))
        connection.execute(plan(url, schema, [wider]).sql().replace("BEGIN;", "").replace("COMMIT;", ""))
        assert fitness(connection, schema, [wider]) == Fitness()


@pytest.mark.every_postgres
def test_the_printed_sql_does_the_same(database_url: str) -> None:
    text = plan(database_url, "my schema", BUILT_IN).sql()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(text)
    assert plan(database_url, "my schema", BUILT_IN).changes == ()


def test_a_new_column_is_added_and_a_view_on_the_table_lives_on(database_url: str) -> None:
    migrate(database_url, "canvas", BUILT_IN)
    with psycopg.connect(database_url) as connection:
        connection.execute("create view canvas.mine as select canvas_id, name from canvas.courses")
    wider = courses.with_columns(Column("colour", ColumnType.TEXT, comment="Of the cover."))
    assert migrate(database_url, "canvas", [wider]).changes == ("add column courses.colour",)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select * from canvas.mine").fetchall() == []


def test_an_existing_table_keeps_its_shape_and_gets_what_it_lacks(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema canvas")
        connection.execute(
            "create table canvas.courses (id serial primary key, name varchar(20), canvas_id integer, mine text, sis_id text, "
            "course_code text, workflow_state text, canvas_account_id integer, created_at timestamp)"
        )
        connection.execute("insert into canvas.courses (canvas_id, name) values (1, 'old')")
    changes = migrate(database_url, "canvas", [courses]).changes
    assert "create index courses_canvas_id_key on courses" in changes
    assert "add column courses.row_hash" in changes
    assert not any("canvas_id_idx" in change and "drop" in change for change in changes)
    assert migrate(database_url, "canvas", [courses]).changes == ()
    with psycopg.connect(database_url) as connection:
        types: dict[str, str] = dict(
            connection.execute(
                "select column_name, data_type from information_schema.columns where table_name = 'courses'"
            ).fetchall()
        )
    assert (types["canvas_id"], types["name"], types["mine"]) == ("integer", "character varying", "text")


def test_an_index_under_another_name_is_not_made_twice(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema canvas")
        connection.execute(
            f"create table canvas.courses (canvas_id bigint primary key, canvas_account_id bigint, {MOST})"
        )
        connection.execute("create index index_courses_on_canvas_account_id on canvas.courses (canvas_account_id)")
    changes = migrate(database_url, "canvas", [courses]).changes
    assert "create index courses_canvas_term_id_idx on courses" in changes
    assert "create index courses_canvas_account_id_idx on courses" not in changes
    assert plan(database_url, "canvas", [courses]).changes == ()


@pytest.mark.skipif(PSQL is None, reason="there is no psql")
def test_psql_runs_what_is_printed(database_url: str) -> None:
    odd = courses.with_columns(Column("odd", ColumnType.TEXT, comment='It\'s 100 % :odd, \\ and "all"; $1 {x}'))
    text = plan(database_url, "canvas", [odd])
    done = subprocess.run(
        [str(PSQL), "-X", "-v", "ON_ERROR_STOP=1", database_url],
        input=text.sql(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert plan(database_url, "canvas", [odd]).changes == ()


def test_keys_that_are_there_twice_hold_up_only_their_own_table(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema canvas")
        connection.execute(f"create table canvas.courses (id serial primary key, canvas_id bigint, {MOST})")
        connection.execute("insert into canvas.courses (canvas_id) values (7), (7), (8), (8), (9), (null), (null)")
    for make in (plan, migrate):
        done = make(database_url, "canvas", [courses, users])
        (problem,) = done.problems
        assert "canvas.courses has no unique index on canvas_id, because 2 keys occur more than once" in problem
        assert "create table users" in done.changes
    with psycopg.connect(database_url) as connection:
        query = problem.split("`")[1]
        assert sorted(connection.execute(query.encode()).fetchall()) == [(7,), (8,)]
        connection.execute("delete from canvas.courses where id in (2, 4)")
    assert migrate(database_url, "canvas", [courses, users]).changes == (
        "create index courses_canvas_id_key on courses",
    )
    assert plan(database_url, "canvas", [courses, users]).problems == ()


ROWS_OF_OTHERS = "id serial primary key, name text, owner text"


def test_only_the_tables_of_chosen_models_are_looked_at(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema canvas")
        connection.execute(f"create table canvas.groups ({ROWS_OF_OTHERS})")
        connection.execute("create table canvas.scores (canvas_id bigint, points int)")
        connection.execute("insert into canvas.scores values (1, 1), (1, 2)")
        connection.execute("create view canvas.roles as select 1 as canvas_id")
    before = _shapes(database_url, ["groups", "scores", "roles"])
    migrate(database_url, "canvas", [terms, users])
    prepare_schema(database_url, "canvas", [terms, users])
    assert _shapes(database_url, ["groups", "scores", "roles"]) == before
    expected = {"groups": "has no column canvas_id", "scores": "has 0 of the 10 columns", "roles": "is a view"}
    for name, problem in expected.items():
        model = next(each for each in BUILT_IN if each.name == name)
        for work in (plan, migrate, prepare_schema):
            with pytest.raises(SchemaError, match=rf"{name}: canvas\.{name} {problem}.*mappings: {{{name}: {{table: "):
                work(database_url, "canvas", [terms, users, model])
    assert _shapes(database_url, ["groups", "scores", "roles"]) == before
    # What one model lacks stops only what needs it.
    assert prepare_schema(database_url, "canvas", [terms, users, groups], ["users"]).lacking == ()


def test_a_model_is_kept_in_the_table_that_its_mapping_names(database_url: str) -> None:
    long = "t" * 60
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema canvas")
        connection.execute(f"create table canvas.groups ({ROWS_OF_OTHERS})")
    models = [mapping_from_file("groups", {"table": "canvas groups"}, "").applied(groups)]
    models.append(MappingOverride("courses").table(long).applied(courses))
    assert "create table canvas groups" in migrate(database_url, "canvas", models).changes
    assert migrate(database_url, "canvas", models) == Migration("canvas", (), ())
    assert _shapes(database_url, ["groups"]) == {("groups", "id"), ("groups", "name"), ("groups", "owner")}


@pytest.mark.parametrize("name", ["", "canvas_sync_reports", "x" * 64, 7])
def test_a_name_that_cannot_be_a_table_is_refused(name: object) -> None:
    with pytest.raises(SettingError, match=r"mappings\.users\.table"):
        mapping_from_file("users", {"table": name}, "mappings.users")


def test_two_models_cannot_share_a_table() -> None:
    settings = Settings(mappings=(MappingOverride("roles").table("users"),))
    with pytest.raises(SettingError, match="the model roles has this table already"):
        settings.models()


def _shapes(url: str, tables: list[str]) -> set[tuple[str, str]]:
    query = "select table_name, column_name from information_schema.columns where table_name = any(%s)"
    with psycopg.connect(url) as connection:
        return {(str(table), str(column)) for table, column in connection.execute(query, (tables,)).fetchall()}


def test_who_may_only_write_rows_can_sync_but_not_migrate(database_url: str) -> None:
    migrate(database_url, "canvas", [courses])
    with psycopg.connect(database_url) as connection:
        connection.execute("drop role if exists writer")
        connection.execute("create role writer login")
        connection.execute("grant usage on schema canvas to writer")
        connection.execute("grant select, insert, update, delete on all tables in schema canvas to writer")
        connection.execute("grant usage on all sequences in schema canvas to writer")
    url = database_url.replace("canvas_sync@", "writer@")
    prepare_schema(url, "canvas", [courses])
    assert migrate(url, "canvas", [courses]).changes == ()
    source = Source("118", datetime(2026, 1, 1, tzinfo=UTC), "provisioning_csv", 1)
    content = b"canvas_course_id,long_name\n1,a\n2,b\n"
    for days, inserted in ((0, 2), (1, 0)):
        with connect(url) as connection:
            late = replace(source, observed_at=source.observed_at + timedelta(days))
            assert (
                load_csv(Warehouse(connection, "canvas").table(courses), lambda: io.BytesIO(content), late).inserted
                == inserted
            )
    wider = courses.with_columns(Column("colour", ColumnType.TEXT))
    with pytest.raises(SchemaError, match=r"must be owner|permission denied"):
        migrate(url, "canvas", [wider])
    with pytest.raises(SchemaError, match=r"courses\.colour.*canvas-sync migrate"):
        prepare_schema(url, "canvas", [wider])


def test_migrations_at_once_wait_for_each_other(database_url: str) -> None:
    results: list[object] = []

    def one() -> None:
        try:
            results.append(migrate(database_url, "canvas", BUILT_IN).changes)
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bool(result) for result in results) == [False, False, False, True]


def test_only_a_fresh_schema_is_created_on_the_way(database_url: str) -> None:
    # One that a person made, with tables that are none of the sync's, is fresh as well.
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema canvas create table notes (id int)")
    prepare_schema(database_url, "canvas", BUILT_IN)
    with psycopg.connect(database_url) as connection:
        connection.execute("drop table canvas.users")
    with pytest.raises(SchemaError, match=r"users.*canvas-sync migrate"):
        prepare_schema(database_url, "canvas", BUILT_IN)
    # Tables of others that a migration would alter are left to a person.
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema rails create table users (canvas_id bigint primary key, name text)")
    with pytest.raises(SchemaError):
        prepare_schema(database_url, "rails", BUILT_IN)
    assert _shapes(database_url, ["users"]) == {("users", "canvas_id"), ("users", "name")}


def test_a_user_without_rights_is_told_so(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("drop role if exists reader")
        connection.execute("create role reader login")
    url = database_url.replace("canvas_sync@", "reader@")
    with pytest.raises(SchemaError, match=r"permission denied.*Grant"):
        migrate(url, "canvas", BUILT_IN)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://u:hidden@127.0.0.1:9/x", DatabaseUnavailableError),
        ("postgresql://u:hidden@no-such-host.invalid/x", DatabaseUnavailableError),
        ("postgresql://u:hidden@h:port/x", MisconfiguredError),
    ],
)
def test_no_password_stands_in_an_error(url: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        connect(url)
    assert "hidden" not in str(caught.value)
    assert "hidden" not in redacted(url)


def test_watermarks_never_go_back(database_url: str) -> None:
    migrate(database_url, "canvas", BUILT_IN)
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    with connect(database_url) as connection:
        watermarks = Watermarks(Warehouse(connection, "canvas"))
        for moment, complete in ((late, True), (early, True), (late + timedelta(1), False)):
            watermarks.advance("users", "", observed_at=moment, complete=complete, report_id=1)
        mark = watermarks.read(["users", "courses"], "")
    assert set(mark) == {"users"}
    assert (mark["users"].observed_at, mark["users"].full_observed_at) == (late + timedelta(1), late)


def test_the_ledger_remembers_what_is_alive(database_url: str) -> None:
    migrate(database_url, "canvas", BUILT_IN)
    ledger, now = ReportLedger(database_url, "canvas", "self"), datetime.now(UTC)
    asked: dict[str, Any] = {"tries": 1, "first_requested_at": now, "requested_at": now, "canvas_requested_at": now}
    assert ledger.find_alive("r", {"a": "1"}) is None
    entry = ledger.open("r", {"a": "1"}, **asked)
    assert ledger.find_alive("r", {"a": "1"}) == entry
    assert ledger.find_alive("r", {"a": "2"}) is None
    assert ReportLedger(database_url, "canvas", "7").find_alive("r", {"a": "1"}) is None
    started = ledger.started(entry, 17)
    assert ledger.find_alive("r", {"a": "1"}) == started
    assert ledger.known_canvas_ids("r") == {17}
    ledger.failed(started, "why")
    assert ledger.find_alive("r", {"a": "1"}) is None


def test_the_ledger_outlives_a_restart_of_the_server_and_logs_no_password(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with EmbeddedPostgres(tmp_path / "home") as server:
        url = server.database("canvas").replace("@", ":hidden@")
        migrate(url, "canvas", BUILT_IN)
        server.stop()
        starting = threading.Timer(1, server.start)
        starting.start()
        assert ReportLedger(url, "canvas", "self").find_alive("r", {}) is None
        starting.join()
    logged = caplog.text + "".join(capfd.readouterr())
    assert "the next one follows in" in logged
    assert "hidden" not in logged


def test_one_process_at_a_time_starts_a_report(database_url: str) -> None:
    migrate(database_url, "canvas", BUILT_IN)
    ledger, order = ReportLedger(database_url, "canvas", "self"), []

    def one() -> None:
        with ledger.lock("r", {}):
            order.append("in")
            order.append("out")

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["in", "out"] * 4


def test_the_quick_check_knows_every_table_and_column_of_the_state() -> None:
    declared = {table.name: {column.name for column in table.columns} for table in tables("x", []).tables.values()}
    assert {name: set(columns) for name, columns in STATE_TABLES.items()} == declared
