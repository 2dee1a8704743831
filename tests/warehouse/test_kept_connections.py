"""Connections are kept between transactions, replaced where they were lost, and closed with their session."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg.rows import dict_row

from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync import report_download
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse import kept_connections
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.kept_connections import AGE_SECONDS, IDLE_SECONDS, KeptConnections
from tests.truth import sync_structure


def server_process(connections: KeptConnections, url: str) -> int:
    with connections.transaction(url, "looking") as connection:
        row = connection.execute("select pg_backend_pid(), current_setting('jit')").fetchone()
    assert row is not None
    assert row[1] == "off"
    return int(row[0])


def ours(connection: psycopg.Connection[tuple[int]]) -> set[int]:
    query = "select pid from pg_stat_activity where datname = current_database() and application_name = 'canvas_sync'"
    return {row[0] for row in connection.execute(query).fetchall()}


def test_a_connection_serves_many_transactions_and_is_replaced_when_it_was_lost_or_idle_or_old(
    database_url: str,
) -> None:
    clock = [0.0]
    connections = KeptConnections(now=lambda: clock[0])
    first = server_process(connections, database_url)
    assert server_process(connections, database_url) == first
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s, 5000)", (first,))
        second = server_process(connections, database_url)
        assert second != first
        clock[0] += IDLE_SECONDS
        third = server_process(connections, database_url)
        assert third != second
        for _ in range(int(2 * AGE_SECONDS / IDLE_SECONDS) - 1):
            clock[0] += IDLE_SECONDS / 2
            assert server_process(connections, database_url) == third
        clock[0] += IDLE_SECONDS / 2
        fourth = server_process(connections, database_url)
        assert fourth != third
        connections.release()
        assert server_process(connections, database_url) != fourth
        connections.close()
        assert server_process(connections, database_url) != server_process(connections, database_url)
        assert ours(admin) == set()


def test_transactions_at_once_have_connections_of_their_own_and_an_exception_leaves_nothing(database_url: str) -> None:
    connections = KeptConnections(kept=2, per_database=2)
    with connect(database_url, autocommit=True) as admin:
        admin.execute("create table kept (value int unique deferrable initially deferred)")
    with connections.transaction(database_url, "outside") as outside:
        outside.execute("insert into kept values (1)")
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(server_process(connections, database_url)))
        thread.start()
        thread.join()
        assert found != [outside.info.backend_pid]
    assert server_process(connections, database_url) in {outside.info.backend_pid, *found}
    # The commit fails, not the statement.
    with pytest.raises(Exception, match="kept_value_key"), connections.transaction(database_url, "twice") as broken:
        broken.execute("insert into kept values (1)")
    assert broken.closed
    with pytest.raises(ZeroDivisionError), connections.transaction(database_url, "failing") as failing:
        failing.execute("insert into kept values (2)")
        raise ZeroDivisionError
    with connections.transaction(database_url, "counting") as connection:
        assert connection.execute("select array_agg(value) from kept").fetchone() == ([1],)


def test_nothing_of_a_session_reaches_the_next_transaction(database_url: str) -> None:
    connections = KeptConnections()
    with connections.transaction(database_url, "leaving") as first:
        first.row_factory = dict_row  # type: ignore[assignment]
        first.execute("create temporary table mine (value int); set session search_path = pg_catalog")
        first.execute("select pg_advisory_lock(7)")
    with connections.transaction(database_url, "finding") as second:
        assert second.info.backend_pid == first.info.backend_pid
        query = "select to_regclass('mine'), current_setting('search_path'), count(*) from pg_locks where locktype = 'advisory'"
        assert second.execute(query).fetchone() == (None, '"$user", public', 0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets the URL of each connection that is opened to be kept."""
    urls: list[str] = []
    connect: Callable[..., object] = kept_connections.connect  # type: ignore[attr-defined]

    def counted(url: str, **options: object) -> object:
        urls.append(url)
        return connect(url, **options)

    monkeypatch.setattr(kept_connections, "connect", counted)
    return urls


def test_a_session_opens_two_connections_for_all_of_its_reports(session: Session, opened: list[str]) -> None:
    sync_structure(session)
    assert len(opened) == 2


def test_no_connection_waits_with_a_report_that_takes_long(
    canvas: SimulatedCanvas, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[set[int]] = []

    class Time:
        @staticmethod
        def sleep(_seconds: float) -> None:
            with psycopg.connect(session.database_url) as admin:
                waiting.append(ours(admin))

    canvas.queue.compile_seconds = 0.1
    monkeypatch.setattr(report_download, "time", Time)
    monkeypatch.setattr(report_download, "LONG_PAUSE", 0.0)
    sync_structure(session)
    assert set().union(*waiting) == set()
    assert waiting
