"""Runs and batches whose processes died unseen end, and those that are alive do not."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.plan.active import CONCURRENCY_CLAIM_MESSAGE_INTERVAL
from dagster._core.test_utils import create_run_for_test

from canvas_sync_dagster.orchestration import orphaned_runs
from canvas_sync_dagster.orchestration.batch_service import LOCKED_AT, BatchService, ends_by_itself_at
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, TENANT_TAG
from canvas_sync_dagster.orchestration.next_step import SENSOR_SILENCE, RunState
from canvas_sync_dagster.orchestration.orphaned_runs import begin_batch, fail_orphaned_runs
from canvas_sync_dagster.orchestration.run_states import read_runs
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.state.job_logs import JobLogs
from tests.fix_canvas import Sessions
from tests.machines import until

STARTED = dg.DagsterRunStatus.STARTED
TAGS = {TENANT_TAG: "canvas", BATCH_TAG: "one"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def session(sessions: Sessions) -> Session:
    return sessions(lost_after="1 second")


@pytest.fixture
def ours(session: Session) -> BatchService:
    batches = BatchService(session.tenant, session.database_url, session.models)
    assert batches.open("zero", {"trigger": "command"})
    return batches


def started(instance: dg.DagsterInstance, job: str = "canvas__sync_root") -> dg.DagsterRun:
    return create_run_for_test(instance, job_name=job, status=STARTED, tags=TAGS)


def journal(session: Session, run_id: str) -> list[tuple[str, str | None]]:
    with psycopg.connect(session.database_url) as connection:
        query = "select status, exception from canvas.canvas_sync_job_logs where job_id = %s"
        return connection.execute(query, (run_id,)).fetchall()


def die_at_work(session: Session, run_id: str) -> None:
    """Leaves what a killed process leaves."""
    script = (
        "import os, sys, psycopg\n"
        "from canvas_sync_dagster.warehouse.state.job_logs import JobLogs\n"
        "from canvas_sync_dagster.warehouse.warehouse import Warehouse\n"
        "with psycopg.connect(sys.argv[1]) as connection:\n"
        "    JobLogs(Warehouse(connection, 'canvas')).start('users_csv', {}, sys.argv[2])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, session.database_url, run_id], check=False)


def test_a_run_that_is_at_work_is_not_lost_however_long_it_takes(
    instance: dg.DagsterInstance, ours: BatchService, session: Session
) -> None:
    run = started(instance)
    with journaled(session, "users_csv", {}, run.run_id) as job:
        time.sleep(2)
        assert fail_orphaned_runs(instance, ours) == []
        with session.warehouse("writing the journal") as warehouse:
            job.succeed(warehouse, {})
    assert journal(session, run.run_id) == [("success", None)]


def test_a_run_whose_process_is_gone_fails_with_its_journal(
    instance: dg.DagsterInstance, ours: BatchService, session: Session
) -> None:
    run = started(instance)
    die_at_work(session, run.run_id)
    assert fail_orphaned_runs(instance, ours) == []
    time.sleep(1.5)
    assert fail_orphaned_runs(instance, ours) == [run.run_id]
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    assert journal(session, run.run_id) == [("error", "its process is gone: no heartbeat for 0:00:01")]
    assert fail_orphaned_runs(instance, ours) == []


def test_a_run_that_waits_for_a_slot_of_its_pool_is_not_lost(
    instance: dg.DagsterInstance, ours: BatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, storage = started(instance), instance.event_log_storage
    storage.set_concurrency_slots("canvas_reports__canvas", 1)
    assert storage.claim_concurrency_slot("canvas_reports__canvas", "another run", "its report").is_claimed
    assert not storage.claim_concurrency_slot("canvas_reports__canvas", run.run_id, "report").is_claimed
    instance.report_engine_event("Step blocked by limit for pool canvas_reports__canvas", run)
    time.sleep(1.5)
    assert fail_orphaned_runs(instance, ours) == []
    # While it waits, it says so in its log at this interval. A dead one does not.
    assert timedelta(seconds=CONCURRENCY_CLAIM_MESSAGE_INTERVAL) <= orphaned_runs.POOL_WAIT
    monkeypatch.setattr(orphaned_runs, "POOL_WAIT", timedelta(0))
    assert fail_orphaned_runs(instance, ours) == [run.run_id]


def test_a_job_of_a_run_that_dagster_does_not_know_is_closed_in_the_journal(
    instance: dg.DagsterInstance, ours: BatchService, session: Session
) -> None:
    die_at_work(session, "of another instance")
    time.sleep(1.5)
    assert fail_orphaned_runs(instance, ours) == ["of another instance"]
    assert [status for status, _ in journal(session, "of another instance")] == ["error"]


def test_a_batch_whose_command_died_does_not_keep_the_next_one_from_starting(
    instance: dg.DagsterInstance, ours: BatchService, session: Session
) -> None:
    assert begin_batch(instance, ours, "one", {"trigger": "command"}) is None
    run = started(instance)
    die_at_work(session, run.run_id)
    time.sleep(1.5)
    begun = begin_batch(instance, ours, "two", {"trigger": "command"})
    assert begun is not None
    assert [batch.key for batch in ours.under_way()] == ["two"]
    with psycopg.connect(session.database_url) as connection:
        query = (
            "select status, metadata->>'reason' from canvas.canvas_sync_sync_batches where metadata->>'key' = 'zero'"
        )
        ((status, reason),) = connection.execute(query).fetchall()
    assert status == "failed"
    assert "no heartbeat for" in reason


@contextmanager
def holding(url: str, key: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Starts a process that holds the lock of a batch; yields it, and since when."""
    script = (
        "import sys, time\n"
        "from canvas_sync_dagster.warehouse.process_lock import ProcessLock\n"
        "lock = ProcessLock(sys.argv[1], 'canvas', sys.argv[2])\n"
        "print(lock.hold().isoformat(), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, url, key], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_command_that_was_killed_is_seen_at_once_and_its_runs_end(
    instance: dg.DagsterInstance, sessions: Sessions
) -> None:
    session = sessions(lost_after="1 hour")
    ours = BatchService(session.tenant, session.database_url, session.models)
    run = started(instance)
    with holding(session.database_url, "one") as (process, since):
        (batch,) = filter(None, [ours.open("one", {"trigger": "command", LOCKED_AT: since})])
        with session.warehouse("writing the journal") as warehouse:
            JobLogs(warehouse).start("users_csv", {}, run.run_id)
        assert not ours.has_lost_its_process(batch)
        assert begin_batch(instance, ours, "two", {"trigger": "command"}) is None
        assert str(ours.refusal()).endswith("`canvas-sync status` shows it")
        process.kill()
        process.wait()
        until(lambda: ours.has_lost_its_process(batch), 5, "PostgreSQL keeps the lock of a dead process")
    assert begin_batch(instance, ours, "two", {"trigger": "command"}) is not None
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    assert journal(session, run.run_id) == [("error", "its process is gone")]


def test_a_sync_whose_lock_was_lost_with_the_server_says_when_it_ends(
    instance: dg.DagsterInstance, sessions: Sessions
) -> None:
    session = sessions(lost_after="1 hour")
    ours = BatchService(session.tenant, session.database_url, session.models)
    before_the_server = "2020-01-01T00:00:00+00:00"
    (batch,) = filter(None, [ours.open("one", {"trigger": "command", LOCKED_AT: before_the_server})])
    assert begin_batch(instance, ours, "two", {"trigger": "command"}) is None
    assert re.search(r"ends by itself at \d\d:\d\d:\d\d UTC", str(ours.refusal()))
    with session.warehouse("reading") as warehouse:
        ends_at = ends_by_itself_at(warehouse, session.tenant, batch)
    assert ends_at is not None
    assert timedelta(minutes=50) < ends_at - datetime.now(UTC) <= timedelta(hours=1)
    # The process lives, and has taken its lock again.
    with holding(session.database_url, "one"):
        assert "ends by itself" not in str(ours.refusal())


def test_a_batch_between_its_root_run_and_its_term_runs_is_not_abandoned(
    instance: dg.DagsterInstance, ours: BatchService, session: Session
) -> None:
    with psycopg.connect(session.database_url) as connection:
        connection.execute(
            'update canvas.canvas_sync_sync_batches set metadata = metadata || \'{"trigger": "schedule"}\''
        )
    run = create_run_for_test(instance, job_name="canvas__sync_root", status=STARTED, tags=TAGS | {BATCH_TAG: "zero"})
    instance.report_run_failed(run, "it is over")
    time.sleep(1.5)
    # The sensor, which looks every fifteen seconds, has not seen yet that the root run is over.
    assert begin_batch(instance, ours, "one", {"trigger": "schedule"}) is None
    with psycopg.connect(session.database_url) as connection:
        connection.execute(
            "update canvas.canvas_sync_sync_batches set heartbeat_at = now() - interval '2 minutes', "
            "started_at = now() - interval '3 minutes'"
        )
    (batch,) = ours.under_way()
    begun = begin_batch(instance, ours, "one", {"trigger": "schedule"})
    # Nobody can have looked after it before the server was there.
    assert (begun is not None) == (batch.silence > SENSOR_SILENCE)


def test_a_failed_run_that_dagster_retries_is_still_under_way(instance: dg.DagsterInstance, session: Session) -> None:
    run = started(instance)
    instance.report_run_failed(run, "its worker was lost")
    assert read_runs(instance, "canvas", "one").root is RunState.FAILURE
    instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    assert read_runs(instance, "canvas", "one").root is RunState.ACTIVE
    # Nothing retries a run that a command executed.
    assert read_runs(instance, "canvas", "one", awaits_retries=False).root is RunState.FAILURE
    instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "another"})
    assert read_runs(instance, "canvas", "one").root is RunState.FAILURE


def test_silence_is_measured_by_the_database_clock(ours: BatchService) -> None:
    (batch,) = ours.under_way()
    assert timedelta(0) <= batch.silence < timedelta(seconds=30)
