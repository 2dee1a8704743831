"""Each recipe of docs/how-to/jobs.md does what the page says, on a simulated Canvas and a real PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from canvas_sync_dagster.errors import CanvasNotFoundError, SettingError
from canvas_sync_dagster.testing import LocationUnderTest, code_location
from tests.test_docs import blocks

PAGE = "docs/how-to/jobs.md"


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocationUnderTest]:
    """The Python of the page as one `definitions.py`, after a first sync."""
    home = tmp_path_factory.mktemp("recipes")
    (home / "canvas_sync.yaml").write_text("tenants: {canvas: {models: [terms, users, courses]}}")
    content = "\n".join(blocks(PAGE, "python"))
    (home / "definitions.py").write_text(content.replace('"canvas_sync.yaml"', repr(str(home / "canvas_sync.yaml"))))
    with code_location(home / "definitions.py") as found:
        found.run()
        found.run("courses", term=118)
        yield found


@pytest.fixture
def recipes(location: LocationUnderTest) -> Any:
    return sys.modules["definitions"]


def journal(location: LocationUnderTest, job: str) -> list[tuple[Any, ...]]:
    query = f"select status, metadata from canvas.canvas_sync_job_logs where job_class = '{job}' order by id"
    return location.rows(query)


def test_an_asset_and_a_script_have_a_session_and_a_journal(location: LocationUnderTest, recipes: Any) -> None:
    (users,) = location.rows("select count(*) from canvas.users")[0]
    made = dg.materialize([recipes.teacher_counts], instance=location.instance)
    assert made.success
    assert journal(location, "teacher_counts") == [("success", {"users": users})]
    (script,) = blocks(PAGE, "python script")
    exec(script, {"sync": recipes.sync})  # noqa: S102 (the page's own text)
    assert journal(location, "nightly_export") == [("success", {"rows": users})]


def test_a_session_that_fails_is_an_error_in_the_journal_and_a_wrong_tenant_is_named(
    location: LocationUnderTest, recipes: Any
) -> None:
    with pytest.raises(CanvasNotFoundError), recipes.sync.session() as session, session.journal("lost"):
        session.canvas.get("/courses/999999")
    ((status, _),) = journal(location, "lost")
    assert status == "error"
    with pytest.raises(SettingError, match=r"no such tenant.*canvas|canvas"):
        recipes.sync.session("nowhere")


def test_an_asset_takes_canvas_and_the_tables_as_resources_which_its_test_replaces(
    location: LocationUnderTest, recipes: Any, database_url: str
) -> None:
    job = recipes.defs.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=location.instance, asset_selection=[recipes.role_names.key]).success
    assert location.rows("select count(*) > 0 from canvas.role_names") == [(True,)]
    (test,) = blocks(PAGE, "python test")
    names = dict(vars(recipes))
    exec(test, names)  # noqa: S102 (the page's own text)
    names["test_role_names"](location.canvas, database_url)


def test_dynamic_outputs_are_a_batch_whose_last_op_waits_for_all(location: LocationUnderTest, recipes: Any) -> None:
    result = recipes.result_counts.execute_in_process(instance=location.instance)
    counts = result.output_for_node("count_results")
    assert len(counts) == 5
    assert result.output_for_node("add_up") == sum(counts.values()) > 0
    assert recipes.count_results.pool == "canvas_api"


def test_runs_of_one_tag_are_a_batch_whose_last_run_calls_back_once(location: LocationUnderTest, recipes: Any) -> None:
    instance = location.instance
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime(2026, 9, 2, 5, tzinfo=UTC))
    requests = recipes.nightly_exports.evaluate_tick(context).run_requests
    assert len(requests) == len({request.run_key for request in requests}) == 3
    answers = []
    for request in requests:
        result = recipes.course_export.execute_in_process(
            instance=instance, run_config=request.run_config, tags=request.tags
        )
        sensor = recipes.over(dg.DagsterRunStatus.SUCCESS)
        answers.append(sensor(_status_context(instance, result)))
    assert [type(answer) for answer in answers] == [dg.SkipReason, dg.SkipReason, dg.RunRequest]
    assert answers[-1].run_key == "exports of 2026-09-02 is over"
    assert recipes.exports_are_over.execute_in_process(instance=instance, tags=answers[-1].tags).success
    assert [status for status, _ in journal(location, "export_course")] == ["success"] * 3


def _status_context(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> dg.RunStatusSensorContext:
    (event,) = [each for each in result.all_events if each.event_type is dg.DagsterEventType.RUN_SUCCESS]
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    return dg.build_run_status_sensor_context("over", event, instance, run)


def test_an_op_waits_for_canvas_by_asking_again(location: LocationUnderTest, recipes: Any) -> None:
    report = location.canvas.queue.reports
    (number, name) = next((report.id, report.name) for report in report.values())
    path = f"/accounts/self/reports/{name}/{number}"

    def run(path: str) -> dg.ExecuteInProcessResult:
        config = {"ops": {"wait_for_canvas": {"config": {"path": path}}}}
        job: dg.JobDefinition = recipes.after_canvas
        return job.execute_in_process(instance=location.instance, run_config=config, raise_on_error=False)

    assert run(path).output_for_node("wait_for_canvas") == "complete"
    assert not run("/accounts/self/reports/nothing/1").success


def test_the_definitions_of_the_page_load_together_with_those_of_the_sync(recipes: Any) -> None:
    dg.Definitions.validate_loadable(recipes.defs)
    names = {job.name for job in recipes.defs.resolve_all_job_defs()}
    assert names >= {"result_counts", "course_export", "canvas__sync_root"}
