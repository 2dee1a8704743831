"""SIGKILL of receiver, drain and PostgreSQL while events come in: what was acknowledged is applied, once in effect."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psycopg
import pytest
from pydantic import SecretStr

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.session import open_session
from tests.fix_canvas import tenant_of
from tests.truth import actual, assert_true, sync_everything, sync_structure

ROOT = Path(__file__).parent.parent.parent
DRAIN = """
import time
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.session import open_session
settings = Settings.from_environment()
while True:
    try:
        with open_session(settings, settings.tenant(), BUILT_IN) as session:
            while True:
                drain(session)
                time.sleep(0.05)
    except CanvasSyncError:
        time.sleep(0.2)
"""


class Workers:
    """A receiver and a drain in processes of their own, which are started again when they are dead."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        receiver = ["-m", "canvas_sync_dagster.cli", "live-events", "--port", str(port)]
        self._commands = {"receiver": receiver, "drain": ["-c", DRAIN]}
        self._environment = environment
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def keep(self) -> None:
        for name, command in self._commands.items():
            if name not in self.running or self.running[name].poll() is not None:
                self.running[name] = subprocess.Popen(
                    [sys.executable, *command],
                    env=self._environment,
                    cwd=ROOT,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )

    def kill(self, name: str) -> None:
        with self.running[name] as process:
            process.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def sending(canvas: SimulatedCanvas, url: str, acknowledged: list[str]) -> Iterator[None]:
    """Renames courses all the time, and posts each event until somebody acknowledges it, as Canvas does for a while."""
    done = threading.Event()

    def work() -> None:
        numbers = canvas.university.courses.filter(pl.col("state") == "available").get_column("id").to_list()
        for n in range(1_000_000):
            if done.is_set():
                return
            canvas.advance(seconds=1)
            canvas.university.set("courses", pl.col("id") == numbers[n % len(numbers)], name=f"Renamed {n}")
            for event in canvas.take_events():
                post(url, canvas.signer.sign(event))
                acknowledged.append(event["body"]["name"])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def post(url: str, token: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.post(url, content=token, timeout=15).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("nobody acknowledges an event for a minute")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def kill_often(canvas: SimulatedCanvas, home: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    acknowledged: list[str] = []
    port = free_port()
    with EmbeddedPostgres(home / "postgres") as server:
        url = server.database("canvas")
        tenant = tenant_of(canvas, url, token=SecretStr(canvas.token))
        settings = Settings(home=home, tenants=(tenant,), jwk_url=canvas.jwk_url)
        with open_session(settings, tenant, BUILT_IN) as session:
            sync_structure(session)
            canvas.take_events()
            environment = {
                **os.environ,
                "CANVAS_SYNC_HOME": str(home),
                "CANVAS_SYNC_BASE_URL": canvas.base_url,
                "CANVAS_SYNC_TOKEN": canvas.token,
                "CANVAS_SYNC_DATABASE_URL": url,
                "CANVAS_SYNC_POLL_SECONDS": "0.01",
                "DATASERVICES_JWK_URL": canvas.jwk_url,
            }
            workers = Workers(environment, port)
            workers.keep()
            try:
                with sending(canvas, f"http://127.0.0.1:{port}{PATH}", acknowledged):
                    for _ in range(kills):
                        before = len(acknowledged)
                        deadline = time.monotonic() + 60
                        while len(acknowledged) < before + 3:
                            assert time.monotonic() < deadline, "no event is acknowledged any more"
                            time.sleep(0.01)
                        time.sleep(dice.random() * 0.5)
                        kill_one(dice.choice(["receiver", "drain", "postgres"]), workers, server)
                        workers.keep()
            finally:
                for name in workers.running:
                    workers.kill(name)
        with open_session(settings, tenant, BUILT_IN) as session:
            finish(session, url)
            assert_all_applied(url, acknowledged)
            names = {row["name"] for row in actual(url, "courses").values()}
            courses = canvas.university.courses.filter(pl.col("name").str.starts_with("Renamed"))
            assert set(courses.get_column("name")) <= names
            sync_everything(session)
            assert_true(canvas, url)


def kill_one(victim: str, workers: Workers, server: EmbeddedPostgres) -> None:
    if victim == "postgres":
        for pid in server._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.start()
    else:
        workers.kill(victim)


def finish(session: Any, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("update canvas.canvas_sync_live_events set next_attempt_at = now() where state = 'failed'")
    drain(session)


def assert_all_applied(url: str, acknowledged: list[str]) -> None:
    query = "select payload->'body'->>'name', state, count(*) from canvas.canvas_sync_live_events group by 1, 2"
    with psycopg.connect(url) as connection:
        found = {str(name): (str(state), int(count)) for name, state, count in connection.execute(query).fetchall()}
    lost = [name for name in acknowledged if name not in found]
    assert lost == []
    assert {name: each for name, each in found.items() if each != ("applied", 1)} == {}


def test_events_survive_the_death_of_everybody(canvas: SimulatedCanvas, tmp_path: Path) -> None:
    kill_often(canvas, tmp_path, kills=6, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
def test_events_survive_very_many_deaths(canvas: SimulatedCanvas, tmp_path: Path, seed: int) -> None:
    kill_often(canvas, tmp_path, kills=60, seed=seed)
