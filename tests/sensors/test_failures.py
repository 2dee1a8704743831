"""The user's functions hear of a failed run once: not before its last retry, and whatever another of them raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from canvas_sync_dagster.errors import CanvasForbiddenError, RunFailedError
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG, WILL_RETRY_TAG
from canvas_sync_dagster.resources import as_dagster_failure
from canvas_sync_dagster.sensors.failures import failure_sensor
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.session import Session


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def fail(instance: dg.DagsterInstance, session: Session, told: list[Any], **tags: str) -> dg.DagsterRun:
    """Has a run fail, and the sensor hear of it."""

    def broken(error: RunFailedError, **given: Any) -> None:
        raise RuntimeError("this hurts nothing")

    def failed(error: RunFailedError, *, tenant: str, job_log: Any, run: dg.DagsterRun) -> None:
        told.append((str(error), tenant, job_log and job_log["job_class"], run.run_id))

    ours = BatchService(session.tenant, session.database_url, session.models)
    assert ours.open("one")
    run = create_run_for_test(instance, job_name="canvas__sync_root", tags={TENANT_TAG: "canvas"} | tags)
    with pytest.raises(RuntimeError), journaled(session, "users_csv", {}, run.run_id):
        raise RuntimeError("no")
    with journaled(session, "courses_csv", {}, run.run_id) as job, ours.warehouse("") as warehouse:
        job.succeed(warehouse, {})
    instance.report_run_failed(run, "it failed")
    tick(instance, run.run_id, ours, broken, failed)
    return run


def tick(instance: dg.DagsterInstance, run_id: str, ours: BatchService, *functions: Any) -> None:
    """Evaluates the sensor for a run that failed."""
    logs = [entry.dagster_event for entry in instance.all_logs(run_id)]
    (event,) = [each for each in logs if each is not None and each.is_failure and not each.is_step_failure]
    run = instance.get_run_by_id(run_id)
    assert run is not None
    context = dg.build_run_status_sensor_context(
        sensor_name="canvas_sync_failures", dagster_event=event, dagster_instance=instance, dagster_run=run
    )
    failure_sensor({"canvas": lambda: ours}, functions)(context.for_run_failure())


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


class TooLateError(Exception):
    """An error of the user's own."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CanvasForbiddenError("account 1: no"), "account 1: no"),
        (TooLateError("it is late"), "it is late"),
        (FileNotFoundError("there is no x.csv"), "there is no x.csv"),
    ],
)
def test_the_error_is_what_the_step_raised_and_a_session_of_the_tenant_comes_with_it(
    instance: dg.DagsterInstance, session: Session, error: Exception, said: str
) -> None:
    told: list[Any] = []

    def failed(error: RunFailedError, *, tenant: str, session: Session) -> None:
        account = session.canvas.get("/accounts/self")["id"]
        told.append((type(error).__mro__, str(error), error.step, error.class_name.rpartition(".")[2], tenant, account))

    @dg.op
    def breaking() -> None:
        with as_dagster_failure():
            raise error

    @dg.job(tags={TENANT_TAG: "canvas"})
    def breaks() -> None:
        breaking()

    ours = BatchService(session.tenant, session.database_url, session.models, connect=lambda: nullcontext(session))
    tick(instance, breaks.execute_in_process(instance=instance, raise_on_error=False).run_id, ours, failed)
    ((kinds, *rest),) = told
    assert {RunFailedError, type(error)} <= set(kinds)
    assert rest == [said, "breaking", type(error).__name__, "canvas", 1]
