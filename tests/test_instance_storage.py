"""Dagster's own storage keeps its connections, and nobody notices that the server was restarted in between."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.instance_storage import DATABASE_URL

INSTANCE = """\
storage:
  custom:
    module: canvas_sync_dagster.instance_storage
    class: CanvasSyncStorage
    config: {}
"""


def test_connections_are_kept_and_survive_a_crash_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text(INSTANCE)
    with EmbeddedPostgres(tmp_path / "home") as server:
        monkeypatch.setenv(DATABASE_URL, server.database("dagster"))
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            for term in ("1", "2", "3"):
                instance.add_dynamic_partitions("terms", [term])
            first = sessions(server)
            assert first == 1
            for pid in server._processes():
                # Some of them end as soon as the first is gone.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            server.start()
            instance.add_dynamic_partitions("terms", ["4"])
            assert list(instance.get_dynamic_partitions("terms")) == ["1", "2", "3", "4"]


def sessions(server: EmbeddedPostgres) -> int:
    with psycopg.connect(server.url("postgres")) as connection:
        query = "select count(*) from pg_stat_activity where datname = 'dagster' and backend_type = 'client backend'"
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
