"""SIGKILL of a walk over REST at random moments: what is published in the end is what Canvas lists, each row once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.model_sync import sync_models
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.report_request import report_groups
from tests.fix_canvas import session_of

ROOT = Path(__file__).parent.parent.parent
KILLS = 10
WALK = """
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync import walk_staging
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.model_sync import sync_models
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.session import open_session
walk_staging.STAGED_SECONDS = 0
settings = Settings.from_environment()
group = next(group for group in report_groups(BUILT_IN) if group.name == "provisioning")
with open_session(settings, settings.tenant(), BUILT_IN) as session:
    list(sync_models(Flow.of(session, SyncOptions()), group, {"pseudonyms"}))
"""
"""Reads the logins of each user, and stages them after each list."""


@pytest.mark.soak
def test_a_walk_that_is_killed_ten_times_publishes_what_canvas_lists(database_url: str, tmp_path: Path) -> None:
    dice = random.Random(1)
    with (
        SimulatedCanvas(compile_seconds=0.01, reports=frozenset({"provisioning_csv"})).serve() as canvas,
        session_of(canvas, database_url, tmp_path) as session,
    ):
        group = next(group for group in report_groups(BUILT_IN) if group.name == "provisioning")
        list(sync_models(Flow.of(session, SyncOptions()), group, {"users"}))
        environment = os.environ | {
            "CANVAS_SYNC_BASE_URL": canvas.base_url,
            "CANVAS_SYNC_TOKEN": canvas.token,
            "CANVAS_SYNC_DATABASE_URL": database_url,
            "CANVAS_SYNC_HOME": str(tmp_path),
        }

        def requested() -> int:
            return sum(each.path.endswith("/logins") for each in canvas.requests)

        def staged() -> int:
            with session.warehouse("counting") as warehouse:
                query = "select count(*) from canvas.canvas_sync_walk_parents"
                (count,) = warehouse.connection.execute(query).fetchone() or (0,)
            return int(count)

        reached = []
        for _ in range(KILLS):
            start, wanted = requested(), dice.randint(1, 12)
            with subprocess.Popen([sys.executable, "-c", WALK], env=environment, cwd=ROOT) as process:
                while process.poll() is None and requested() - start < wanted:
                    time.sleep(0.001)
                process.send_signal(signal.SIGKILL)
            reached.append(staged())
        assert max(reached) > 0, "no kill found a staged list"
        (outcome,) = sync_models(Flow.of(session, SyncOptions()), group, {"pseudonyms"})
        logins = canvas.university.logins
        expected = set(logins.filter(logins["state"] != "deleted")["id"].to_list())
        with session.warehouse("reading") as warehouse:
            rows = warehouse.connection.execute("select canvas_id from canvas.pseudonyms").fetchall()
        assert {number for (number,) in rows} == expected
        assert len(rows) == outcome.models[0].table_rows == len(expected)
        assert staged() == 0
