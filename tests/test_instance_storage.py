"""Dagster's own storage keeps its connections, and survives a crash of the server."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.instance_storage import DATABASE_URL
from tests.machines import until

INSTANCE = """\
storage:
  custom:
    module: canvas_sync_dagster.instance_storage
    class: CanvasSyncStorage
    config: {}
"""
STORAGES = 3
"""Runs, events and schedules; each keeps one connection."""


def test_connections_are_kept_and_survive_a_crash_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text(INSTANCE)
    with EmbeddedPostgres(tmp_path / "home") as server:
        monkeypatch.setenv(DATABASE_URL, server.database("dagster"))
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            use(instance, "1")
            first = sessions(server)
            assert len(first) == STORAGES
            for term in ("2", "3"):
                use(instance, term)
            assert sessions(server) == first, "a further call opens no connection"
            for pid in server._processes():
                # Some of them end as soon as the first is gone.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            server.start()
            use(instance, "4")
            assert list(instance.get_dynamic_partitions("terms")) == ["1", "2", "3", "4"]


def test_the_webserver_tests_its_kept_connections_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text(INSTANCE)
    with EmbeddedPostgres(tmp_path / "home") as server:
        monkeypatch.setenv(DATABASE_URL, server.database("dagster"))
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            # As `dagster-webserver` does when it starts.
            instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
            use(instance, "1")
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                for pid in sessions(server):
                    connection.execute("select pg_terminate_backend(%s, 5000)", (pid,))
            use(instance, "2")
            assert list(instance.get_dynamic_partitions("terms")) == ["1", "2"]


def test_a_closed_instance_leaves_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text(INSTANCE)
    with EmbeddedPostgres(tmp_path / "home") as server:
        monkeypatch.setenv(DATABASE_URL, server.database("dagster"))
        gc.disable()
        try:
            # A code server does so for each tick.
            for term in ("1", "2"):
                with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
                    use(instance, term)
                    assert len(sessions(server)) == STORAGES
            until(lambda: not sessions(server), 10, "a connection stays open")
        finally:
            gc.enable()


def use(instance: dg.DagsterInstance, term: str) -> None:
    """Use each of the three storages once."""
    instance.add_dynamic_partitions("terms", [term])
    assert instance.get_runs_count() == 0
    assert instance.all_instigator_state() == []


def sessions(server: EmbeddedPostgres) -> set[int]:
    """Return the process ids of the server's sessions with Dagster's database."""
    with psycopg.connect(server.url("postgres")) as connection:
        query = "select pid from pg_stat_activity where datname = 'dagster' and backend_type = 'client backend'"
        return {int(pid) for (pid,) in connection.execute(query)}
