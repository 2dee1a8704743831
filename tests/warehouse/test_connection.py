"""Connections work through a pooler, whatever the role, the database and the environment set."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.errors import DatabaseLimitError, MisconfiguredError
from canvas_sync_dagster.warehouse.connection import (
    SETTINGS,
    Connection,
    Pooling,
    connect,
    dedicated_session,
    explained,
    pooling,
    transaction,
)
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from tests.fix_pgbouncer import needs_pgbouncer, pgbouncer

MODES = ("direct", "session", "transaction")


def values(connection: Connection) -> dict[str, str]:
    rows = connection.execute("select name, setting || coalesce(unit, '') from pg_settings").fetchall()
    return {name.lower(): value for name, value in rows}


def expected(found: dict[str, str]) -> dict[str, str]:
    return {name: {"work_mem": "65536kB"}.get(name, value) for name, value in SETTINGS.items()}


@needs_pgbouncer
@pytest.mark.parametrize("mode", MODES[1:])
def test_each_transaction_has_our_settings_through_a_pooler_and_leaves_none(database_url: str, mode: str) -> None:
    with pgbouncer(database_url, mode, default_pool_size=1) as url:
        with connect(url) as connection:
            for _ in range(2):
                found = values(connection)
                assert found["transaction_isolation"] == "read committed"
                assert {name: found[name].removesuffix("ms") for name in SETTINGS} == expected(found)
                connection.commit()
            with connection.transaction():
                assert connection.execute("show jit").fetchone() == ("off",)
        with psycopg.connect(url) as other:
            assert other.execute("show jit").fetchone() == ("on",)
            assert other.execute("select count(*) from pg_prepared_statements").fetchone() == (0,)


@needs_pgbouncer
@pytest.mark.parametrize(("mode", "kind"), [("session", Pooling.SESSION), ("transaction", Pooling.TRANSACTION)])
@pytest.mark.parametrize("round_robin", [0, 1])
def test_a_pooler_is_recognised(database_url: str, mode: str, kind: Pooling, round_robin: int) -> None:
    assert pooling(database_url) is Pooling.NONE
    with pgbouncer(database_url, mode, server_round_robin=round_robin) as url:
        # Several server processes, so that the next transaction may get another one.
        with connect(url) as one, connect(url) as two:
            one.execute("select 1"), two.execute("select 1")
        assert pooling(url) is kind
        session = dedicated_session(url)
        assert (session is None) == (mode == "transaction")
        if session:
            session.close()


def alter_role(connection: psycopg.Connection[tuple[object, ...]], name: str, **settings: str) -> None:
    connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
    for setting, value in settings.items():
        connection.execute(
            sql.SQL("alter role {} set {} = {}").format(sql.Identifier(name), sql.Identifier(setting), value)
        )


@pytest.fixture
def limited(postgres: EmbeddedPostgres, database_url: str) -> Iterator[str]:
    """The address of a role that administrators have limited to a tenth of a second everywhere."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
        newer = {"transaction_timeout": "150ms"} if connection.info.server_version >= 170000 else {}
        alter_role(connection, "limited", **dict.fromkeys(names, "100ms"), **newer)
        yield database_url.replace("canvas_sync@", "limited@")
        connection.execute("drop role limited")


def test_the_limits_of_a_role_do_not_end_loads(limited: str) -> None:
    with connect(limited) as connection:
        connection.execute("select pg_sleep(0.2)")
        time.sleep(0.2)
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_limit_that_ends_a_statement_is_named_with_its_value(limited: str) -> None:
    sleeping = (
        r"sleeping in .*: the role's statement_timeout of 100 ms ended it\. Nothing was published; raise the limit"
    )
    with (
        pytest.raises(DatabaseLimitError, match=sleeping),
        explained(limited, "sleeping"),
        connect(limited, autocommit=True) as connection,
    ):
        connection.execute("select pg_sleep(1)")
    waiting = r"the role's idle_in_transaction_session_timeout of 100 ms"
    with (
        pytest.raises(DatabaseLimitError, match=waiting),
        explained(limited, "waiting"),
        psycopg.connect(limited) as own,
    ):
        own.execute("select 1")
        time.sleep(0.2)
        own.execute("select 1")


def test_doctor_reports_limits_that_apply_to_the_storage_of_dagster(
    limited: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANVAS_SYNC_DAGSTER_DATABASE_URL", limited)
    settings = {"CANVAS_SYNC_DATABASE_URL": database_url, "CANVAS_SYNC_HOME": str(tmp_path)}
    done = CliRunner().invoke(main, ["doctor"], env=settings)
    assert "note  the role's statement_timeout of 100 ms applies to Dagster's storage" in done.output


def test_a_cancelled_statement_is_no_server_that_is_away(database_url: str) -> None:
    with (
        psycopg.connect(database_url, autocommit=True) as admin,
        pytest.raises(DatabaseLimitError, match="a cancel request of an administrator"),
        transaction(database_url, "sleeping") as connection,
    ):
        cancel = ["select pg_cancel_backend(%s)", (connection.info.backend_pid,)]
        timer = threading.Timer(0.1, admin.execute, cancel)
        timer.start()
        connection.execute("select pg_sleep(3)")
    timer.join()


@needs_pgbouncer
def test_a_limit_of_the_pooler_is_named(database_url: str) -> None:
    with (
        pgbouncer(database_url, "session", query_timeout=1) as url,
        pytest.raises(DatabaseLimitError, match="the pooler's query_timeout ended it"),
        transaction(url, "sleeping") as connection,
    ):
        connection.execute("select pg_sleep(5)")


def test_a_database_of_another_encoding_is_refused_by_that_word(postgres: EmbeddedPostgres, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "create database of_latin1 encoding 'LATIN1' locale_provider libc locale 'C' template template0"
            if connection.info.server_version >= 150000
            else "create database of_latin1 encoding 'LATIN1' locale 'C' template template0"
        )
        try:
            for attempt in (connect, lambda url: migrate(url, "canvas", BUILT_IN)):
                with pytest.raises(MisconfiguredError, match="has the server encoding LATIN1, which cannot hold"):
                    attempt(postgres.url("of_latin1"))
        finally:
            connection.execute("drop database of_latin1")


def test_text_is_stored_as_it_is_whatever_encoding_role_and_environment_set(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        alter_role(admin, "of_latin1", client_encoding="LATIN1")
        monkeypatch.setenv("PGCLIENTENCODING", "WIN1252")
        try:
            with connect(database_url.replace("canvas_sync@", "of_latin1@")) as connection:
                found = connection.execute("select convert_to(%s::text, 'UTF8')", ("Zoë Čapek",)).fetchone()
            assert found == ("Zoë Čapek".encode(),)
        finally:
            admin.execute("drop role of_latin1")
