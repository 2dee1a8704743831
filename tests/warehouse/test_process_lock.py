"""Whether the process that works on a batch is alive, as PostgreSQL sees it."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
import pytest

from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.process_lock import ProcessLock, is_released
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.fix_pgbouncer import needs_pgbouncer, pgbouncer
from tests.machines import until


def released(url: str, since: datetime, key: str = "one") -> bool:
    with connect(url) as connection:
        return is_released(Warehouse(connection, "canvas"), key, since)


def test_a_lock_is_seen_while_it_is_held_and_at_once_when_it_is_not(database_url: str) -> None:
    first, second = ProcessLock(database_url, "canvas", "one"), ProcessLock(database_url, "canvas", "one")
    since = first.hold()
    assert since is not None
    assert first.hold() == since
    assert second.hold() is None
    assert not released(database_url, since)
    assert released(database_url, since, "another")
    first.close()
    second.close()
    until(lambda: released(database_url, since), 5, "the lock stays")


def test_a_lock_whose_connection_was_lost_is_taken_again(database_url: str) -> None:
    lock = ProcessLock(database_url, "canvas", "one")
    since = lock.hold()
    assert since is not None
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
    until(lambda: released(database_url, since), 5, "the lock stays")
    again = lock.hold()
    assert again is not None
    assert again > since
    assert not released(database_url, again)
    lock.close()


def test_a_lock_from_before_a_restart_of_the_server_proves_nothing(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        (start,) = connection.execute("select pg_postmaster_start_time()").fetchone() or (None,)
    assert not released(database_url, start - timedelta(seconds=1))
    assert released(database_url, start)


@needs_pgbouncer
@pytest.mark.parametrize(("mode", "held"), [("session", True), ("transaction", False)])
def test_only_a_pooler_that_keeps_sessions_can_hold_the_lock(database_url: str, mode: str, held: bool) -> None:
    with pgbouncer(database_url, mode) as url:
        lock = ProcessLock(url, "canvas", "one")
        since = lock.hold()
        assert (since is not None) == held
        assert lock.hold() == since
        if since is not None:
            assert not released(url, since)
            lock.close()
            until(lambda: released(database_url, since), 5, "the pooler keeps the lock")
