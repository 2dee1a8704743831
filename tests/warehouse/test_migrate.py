"""Tables are created and added to; nothing of the user's is touched."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.built_in import courses
from canvas_sync_dagster.catalogue.model import Column, ColumnType
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.errors import DatabaseUnavailableError, MisconfiguredError, SchemaError
from canvas_sync_dagster.warehouse.connection import connect, redacted
from canvas_sync_dagster.warehouse.ledger import ReportLedger
from canvas_sync_dagster.warehouse.migrate import migrate, plan
from canvas_sync_dagster.warehouse.state import advance_watermark, missing, read_watermarks
from canvas_sync_dagster.warehouse.tables import prepare_schema


@pytest.mark.every_postgres
def test_a_second_migration_finds_nothing_to_do(database_url: str) -> None:
    assert "create table courses" in migrate(database_url, "canvas", BUILT_IN).changes
    assert migrate(database_url, "canvas", BUILT_IN).changes == ()
    assert plan(database_url, "canvas", BUILT_IN).sql() == ""
    with connect(database_url) as connection:
        assert missing(connection, "canvas", BUILT_IN) == []


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
            "create table canvas.courses (id serial primary key, name varchar(20), canvas_id integer, mine text, created_at timestamp)"
        )
        connection.execute("insert into canvas.courses (canvas_id, name) values (1, 'old')")
    changes = migrate(database_url, "canvas", [courses]).changes
    assert "create index courses_canvas_id_key on courses" in changes
    assert "add column courses.row_hash" in changes
    assert not any("canvas_id_idx" in change and "drop" in change for change in changes)
    assert migrate(database_url, "canvas", [courses]).changes == ()
    with psycopg.connect(database_url) as connection:
        types = dict(
            connection.execute(
                "select column_name, data_type from information_schema.columns where table_name = 'courses'"
            ).fetchall()
        )
    assert (types["canvas_id"], types["name"], types["mine"]) == ("integer", "character varying", "text")


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
    prepare_schema(database_url, "canvas", BUILT_IN)
    with psycopg.connect(database_url) as connection:
        connection.execute("drop table canvas.users")
    with pytest.raises(SchemaError, match=r"users.*canvas-sync migrate"):
        prepare_schema(database_url, "canvas", BUILT_IN)


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
        for moment, complete in ((late, True), (early, True), (late + timedelta(1), False)):
            advance_watermark(connection, "canvas", "users", "", observed_at=moment, complete=complete, report_id=1)
        mark = read_watermarks(connection, "canvas", ["users", "courses"], "")
    assert set(mark) == {"users"}
    assert (mark["users"].observed_at, mark["users"].full_observed_at) == (late + timedelta(1), late)


def test_the_ledger_remembers_what_is_alive(database_url: str) -> None:
    migrate(database_url, "canvas", BUILT_IN)
    ledger, now = ReportLedger(database_url, "canvas", "self"), datetime.now(UTC)
    asked = {"tries": 1, "first_requested_at": now, "requested_at": now, "canvas_requested_at": now}
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
    assert "retry_scheduled" in logged
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
