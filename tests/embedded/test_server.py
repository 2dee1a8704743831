"""The embedded server: one per home, owned by no process, and back after any death."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.errors import EmbeddedPostgresError

USE = """
import sys, time
from pathlib import Path
import psycopg
from canvas_sync_dagster.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    with psycopg.connect(server.database("shared")) as connection:
        print(connection.execute("select pg_postmaster_start_time()::text").fetchone()[0], flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    with contextlib.suppress(EmbeddedPostgresError), EmbeddedPostgres(tmp_path / "home") as server:
        server.stop()


def use(home: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", USE, str(home), str(seconds)], stdout=subprocess.PIPE, text=True)


def answers(server: EmbeddedPostgres) -> bool:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(server.url("postgres")):
        return True
    return False


def test_many_processes_that_start_at_once_share_one_server_and_the_last_stops_it(home: Path) -> None:
    workers = [use(home, 1.0) for _ in range(6)]
    started = {worker.communicate()[0] for worker in workers}
    assert len(started) == 1
    assert all(worker.returncode == 0 for worker in workers)
    assert not answers(_attached(home))


def _attached(home: Path) -> EmbeddedPostgres:
    """A handle that knows the socket and starts nothing."""
    server = EmbeddedPostgres(home)
    server._socket = next(home.rglob("run"), home)
    return server


def test_a_user_that_is_killed_leaves_nothing_behind(home: Path) -> None:
    worker = use(home, 60)
    with worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.kill()
    with EmbeddedPostgres(home) as server:
        assert answers(server)
    assert not answers(server)


def test_data_survive_a_killed_postmaster(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        with psycopg.connect(server.database("kept")) as connection:
            connection.execute("create table t as select 1 as x")
        os.kill(int((server._data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    with EmbeddedPostgres(home) as server, psycopg.connect(server.database("kept")) as connection:
        assert connection.execute("select x from t").fetchone() == (1,)


def test_a_recycled_process_id_is_not_taken_for_the_server(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        lines = (server._data / "postmaster.pid").read_text().splitlines()
        for process in server._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        while server._processes():
            time.sleep(0.01)
        (server._data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with EmbeddedPostgres(home) as server:
        assert answers(server)


def test_a_half_made_cluster_is_made_anew(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        place = server._place
    (place / "data").rename(place / "data.new-1")
    with EmbeddedPostgres(home) as server:
        assert answers(server)
        assert not (place / "data.new-1").exists()


def test_a_deep_home_has_a_short_socket(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / ("deep" * 20) / "home") as server:
        assert answers(server)
        assert len(str(server._socket)) < 100
        assert oct(server._socket.stat().st_mode & 0o777) == "0o700"
        server.stop()


def test_a_home_may_have_blanks_and_signs_in_its_path(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "a b&c=d%20 é") as server:
        assert answers(server)
        engine = sa.create_engine(server.url("postgres").replace("postgresql://", "postgresql+psycopg2://"))
        with engine.connect() as connection:
            assert connection.execute(sa.text("select 1")).scalar() == 1
        engine.dispose()
        server.stop()


def test_a_foreign_socket_directory_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with EmbeddedPostgres(home) as server:
        server._socket.chmod(0o755)
    with pytest.raises(EmbeddedPostgresError, match="private"):
        EmbeddedPostgres(home).start()


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root has a closed home of its own and runs the server as another account"
)
def test_a_home_behind_a_closed_door_gets_a_twin_in_the_open() -> None:
    with tempfile.TemporaryDirectory(dir="/root") as name:
        home = Path(name) / "home"
        with EmbeddedPostgres(home) as server:
            assert answers(server)
            assert str(server._place).startswith("/var/lib/canvas_sync")
            server.stop()
        assert str(server._place) in (home / "postgres" / "README").read_text()


def test_wrong_programs_are_named(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CANVAS_SYNC_PG_BIN", str(tmp_path))
    with pytest.raises(EmbeddedPostgresError, match="CANVAS_SYNC_PG_BIN"):
        EmbeddedPostgres(home).start()


def test_data_of_another_version_are_refused(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        version = server._data / "PG_VERSION"
    made = version.read_text()
    version.write_text("12\n")
    with pytest.raises(EmbeddedPostgresError, match="PostgreSQL 12"):
        EmbeddedPostgres(home).start()
    version.write_text(made)


def test_threads_may_ask_for_one_database_at_once(home: Path) -> None:
    with EmbeddedPostgres(home) as server, ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: server.database("one"), range(8)))) == 1
