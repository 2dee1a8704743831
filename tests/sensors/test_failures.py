"""The user's functions hear of a failed run once: not before its last retry, and whatever another of them raises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from canvas_sync_dagster.assets.lost import WILL_RETRY_TAG
from canvas_sync_dagster.assets.specs import TENANT_TAG
from canvas_sync_dagster.sensors.failures import failure_sensor
from canvas_sync_dagster.sync.batch_work import Batches
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.session import Session


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def fail(instance: dg.DagsterInstance, session: Session, told: list[Any], **tags: str) -> dg.DagsterRun:
    """Has a run fail, and the sensor hear of it."""

    def broken(error: str, **given: Any) -> None:
        raise RuntimeError("this hurts nothing")

    def failed(error: str, *, tenant: str, job_log: Any, run: dg.DagsterRun) -> None:
        told.append((error, tenant, job_log and job_log["job_class"], run.run_id))

    ours = Batches(session.tenant, session.database_url, session.models)
    assert ours.open("one")
    run = create_run_for_test(instance, job_name="canvas__sync_root", tags={TENANT_TAG: "canvas"} | tags)
    with pytest.raises(RuntimeError), journaled(session, "users_csv", {}, run.run_id):
        raise RuntimeError("no")
    with journaled(session, "courses_csv", {}, run.run_id) as job, ours.connected("") as connection:
        job.succeed(connection, {})
    instance.report_run_failed(run, "it failed")
    event = instance.all_logs(run.run_id)[-1].dagster_event
    assert event is not None
    current = instance.get_run_by_id(run.run_id)
    assert current is not None
    context = dg.build_run_status_sensor_context(
        sensor_name="canvas_sync_failures", dagster_event=event, dagster_instance=instance, dagster_run=current
    )
    failure_sensor({"canvas": lambda: ours}, [broken, failed])(context.for_run_failure())
    return run


def test_they_get_the_error_the_tenant_the_failed_job_and_the_run(
    instance: dg.DagsterInstance, session: Session
) -> None:
    told: list[Any] = []
    run = fail(instance, session, told)
    assert told == [("it failed", "canvas", "users_csv", run.run_id)]


def test_a_run_that_dagster_retries_is_not_told_of(instance: dg.DagsterInstance, session: Session) -> None:
    told: list[Any] = []
    fail(instance, session, told, **{WILL_RETRY_TAG: "true"})
    assert told == []
    fail(instance, session, told, **{WILL_RETRY_TAG: "false"})
    assert len(told) == 1
