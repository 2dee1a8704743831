"""SIGKILL at any moment of a sync: a re-run reaches the tables of an undisturbed one, without a second report in Canvas."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.session import Session
from tests.truth import assert_true, sync_everything

WORKER = """
import json, sys
from pathlib import Path
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.sync.session import open_session
from tests.truth import sync_everything
tenant = TenantSettings.model_validate(json.loads(sys.stdin.read()))
with open_session(Settings(home=Path(sys.argv[1]), tenants=(tenant,)), tenant, BUILT_IN) as session:
    print("ready", flush=True)
    sync_everything(session)
print("done", flush=True)
"""


def kill_often(canvas: SimulatedCanvas, session: Session, home: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    settings = {
        "base_url": canvas.base_url,
        "token": canvas.token,
        "database_url": session.database_url,
        "poll_seconds": 0.02,
    }
    for _ in range(kills):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent.parent,
            env={**os.environ, "PYTHONPATH": "."},
        )
        with worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(json.dumps(settings))
            worker.stdin.close()
            assert worker.stdout.readline() == "ready\n"
            time.sleep(dice.random() * 1.8)
            worker.send_signal(signal.SIGKILL)
        assert_whole(session)
    sync_everything(session)
    assert_true(canvas, session.database_url)
    assert all(report.twins == 0 for report in canvas.queue.reports.values())


def assert_whole(session: Session) -> None:
    """Says that each table and its watermark tell the same story: a scope is there as a whole or not at all."""
    query = """
        select w.model, w.scope, (select count(*) from canvas.enrollments e
          join canvas.courses c on c.canvas_id = e.canvas_course_id where c.canvas_term_id::text = w.scope) > 0
        from canvas.canvas_sync_watermarks w where w.model = 'enrollments'"""
    orphans = """
        select count(*) from canvas.enrollments e join canvas.courses c on c.canvas_id = e.canvas_course_id
        where c.canvas_term_id::text not in (select scope from canvas.canvas_sync_watermarks where model = 'enrollments')"""
    with psycopg.connect(session.database_url) as connection:
        if connection.execute("select to_regclass('canvas.canvas_sync_watermarks')").fetchone() != (None,):
            assert all(there for _, _, there in connection.execute(query).fetchall())
            assert connection.execute(orphans).fetchone() == (0,)


def test_a_sync_killed_at_random_moments_is_finished_by_a_re_run(
    canvas: SimulatedCanvas, session: Session, tmp_path: Path
) -> None:
    kill_often(canvas, session, tmp_path, kills=6, seed=3)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_a_sync_killed_very_often_is_finished_by_a_re_run(
    canvas: SimulatedCanvas, session: Session, tmp_path: Path, seed: int
) -> None:
    kill_often(canvas, session, tmp_path, kills=40, seed=seed)
