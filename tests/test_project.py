"""A code location of one's own: what users write in Python takes effect, and wrong names are named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from click.testing import CliRunner

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.custom_report import DownloadedReport
from tests.fix_canvas import tenant_of


@pytest.fixture
def sync(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> CanvasSync:
    tenant = tenant_of(canvas, database_url, models="terms,accounts,users,courses")
    return CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


def run(sync: CanvasSync, instance: dg.DagsterInstance, job: str, term: str | None = None) -> Any:
    resolved = sync.definitions().resolve_job_def(f"canvas__{job}")
    return resolved.execute_in_process(instance=instance, partition_key=term)


def metadata(result: Any, asset: str) -> dict[str, Any]:
    found = [e.materialization for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == asset]
    return {name: value.value for name, value in found[0].metadata.items()}


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_a_custom_report_is_an_asset_like_any_other(
    sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    @sync.report("proserv_assignment_export_csv", params={"include_deleted": True}, deps=["courses"], per_term=True)
    def my_assignments(report: Any, context: Any) -> dict[str, object]:
        """Counts assignments."""
        number = sum(frame.height for frame in report.frames())
        context.connection.execute("create table if not exists canvas.mine (term text, rows int)")
        context.connection.execute("insert into canvas.mine values (%s, %s)", (report.scope, number))
        return {"assignments": number, "from": report.started_at.isoformat()}

    run(sync, instance, "sync_root")
    result = run(sync, instance, "sync_term", "118")
    assert metadata(result, "my_assignments")["assignments"] == 16
    assert rows(database_url, "select * from canvas.mine") == [("118", 16)]
    assert rows(
        database_url, "select scope from canvas.canvas_sync_watermarks where model = 'report:my_assignments'"
    ) == [("118",)]


def test_frames_are_read_block_by_block_and_an_empty_report_has_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "r.csv"
    report = DownloadedReport(file, "r", 1, "", datetime.now(UTC), {}, None)
    file.write_text("id,text\n" + "".join(f'{n},"a ""quoted""\nvalue {n}"\n' for n in range(300_000)))
    seen = [frame.height for frame in report.frames(rows=50_000)]
    assert (sum(seen), max(seen)) == (300_000, 50_000)
    assert next(report.frames()).row(1) == ("1", 'a "quoted"\nvalue 1')
    file.write_text("id,text\n")
    assert [(frame.columns, frame.height) for frame in report.frames()] == [(["id", "text"], 0)]


def test_a_custom_report_that_fails_leaves_nothing(
    sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    @sync.report("rubrics_csv")
    def broken(report: Any, context: Any) -> None:
        context.connection.execute("create table canvas.half (x int)")
        raise RuntimeError("no")

    resolved = sync.definitions().resolve_job_def("canvas__sync_root")
    result = resolved.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    assert rows(database_url, "select to_regclass('canvas.half')") == [(None,)]
    assert rows(database_url, "select status from canvas.canvas_sync_job_logs where job_class = 'rubrics_csv'") == [
        ("error",)
    ]


def test_a_simple_table_is_created_and_loaded_by_declaration_alone(
    sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    sync.simple_table(
        report="rubrics_csv",
        model="my_rubrics",
        key="canvas_id",
        columns={
            "canvas_rubric_id": "canvas_id",
            "title": "title",
            "points_possible": {"name": "points", "type": "float"},
        },
    )
    result = run(sync, instance, "sync_root")
    assert metadata(result, "my_rubrics")["inserted"] == 4
    assert rows(database_url, "select canvas_id, points from canvas.my_rubrics order by 1")[0] == (52004, 5)


def test_insertions_run_after_before_and_with_models(sync: CanvasSync, instance: dg.DagsterInstance) -> None:
    order: list[str] = []

    @sync.insert(after="courses")
    def after_courses(context: Any) -> int:
        order.append(f"after courses of {context.scope}")
        return 7

    @sync.insert(before="users")
    def before_users(context: Any) -> None:
        order.append("before users")

    @sync.insert(with_="users")
    def with_users(context: Any) -> None:
        order.append("with users")

    @sync.insert(after="after_courses")
    def last(context: Any) -> None:
        order.append("last")

    run(sync, instance, "sync_root")
    assert set(order) == {"before users", "with users"}
    result = run(sync, instance, "sync_term", "118")
    assert order[2:] == ["after courses of 118", "last"]
    assert metadata(result, "after_courses")["returned"] == 7
    graph = sync.definitions().resolve_asset_graph()
    assert dg.AssetKey(["canvas", "before_users"]) in graph.get(dg.AssetKey(["canvas", "users"])).parent_keys


def test_row_by_row_gives_each_row_to_a_function(
    sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    seen: list[str] = []

    def create_or_update(row: Mapping[str, Any]) -> None:
        if row["canvas_user_id"] == "1003":
            raise ValueError("not this one")
        seen.append(row["canvas_user_id"])

    sync.row_by_row("users", create_or_update)
    told = metadata(run(sync, instance, "sync_root"), "users")
    assert (told["rows_in_report"], told["updated"], told["rejected"]) == (43, 42, 1)
    assert len(seen) == 42
    assert rows(database_url, "select count(*) from canvas.users") == [(0,)]


def test_a_run_may_leave_row_by_row_and_each_way_keeps_its_own_watermark(
    sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    seen: list[str] = []
    sync.row_by_row("users", lambda row: seen.append(row["canvas_user_id"]))

    def run_with(legacy_support: str) -> dg.ExecuteInProcessResult:
        job = sync.definitions().resolve_job_def("canvas__sync_root")
        config = {"resources": {"sync_options": {"config": {"legacy_support": legacy_support}}}}
        return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)

    assert metadata(run_with("all"), "users")["mode"] == "full"
    assert (len(seen), rows(database_url, "select count(*) from canvas.users")) == (43, [(0,)])
    # The table has seen nothing yet, however often the function has.
    assert metadata(run_with("none"), "users")["mode"] == "full"
    assert (len(seen), rows(database_url, "select count(*) from canvas.users")) == (43, [(38,)])
    assert metadata(run_with("users"), "users")["mode"] == "incremental"
    failed = run_with("courses")
    errors = [str(event.step_failure_data.error) for event in failed.get_step_failure_events()]
    assert any("no function takes the rows of courses" in error and "users" in error for error in errors)


def test_a_mapping_adds_a_column_that_migrate_makes(
    sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    run(sync, instance, "sync_root")
    sync.mapping("users").link_column("short_name", "nickname")
    result = (
        sync.definitions()
        .resolve_job_def("canvas__sync_root")
        .execute_in_process(instance=instance, raise_on_error=False)
    )
    failures = [str(event.step_failure_data.error) for event in result.get_step_failure_events()]
    assert any("users.nickname" in each and "canvas-sync migrate" in each for each in failures)


def test_the_client_comes_from_a_function(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    tenant = tenant_of(canvas, database_url, models="terms", token=None)
    sync = CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))
    sync.client(lambda settings, account: canvas.token)
    assert run(sync, instance, "sync_root").success


def test_quiet_jobs_leave_a_line_only_if_they_fail(
    sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    sync.config.only_log_errors_on("rest:")
    run(sync, instance, "sync_root")
    assert rows(database_url, "select distinct job_class from canvas.canvas_sync_job_logs") == [
        ("proservices_provisioning_csv",)
    ]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda sync: sync.mapping("userz"), "userz.*users"),
        (lambda sync: sync.insert(after="corses")(print), "corses.*courses"),
        (lambda sync: sync.insert()(lambda context: None), "after="),
        (lambda sync: sync.api("usr"), "usr"),
        (lambda sync: sync.on_sync("sucess"), "sucess.*success"),
        (lambda sync: sync.process_live_event("x"), "x"),
        (lambda sync: sync.simple_table(report="r", model="users", key="id", columns={"id": "id"}), "already"),
    ],
)
def test_a_wrong_name_says_which_names_exist(sync: CanvasSync, wrong: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        wrong(sync)


def test_two_in_one_process_share_nothing(sync: CanvasSync, tmp_path: Path) -> None:
    other = CanvasSync(Settings(home=tmp_path))
    sync.mapping("users").link_column("pronouns")
    assert "pronouns" not in [column.name for model in other.models for column in model.columns]


class TestBatches:
    """A schedule opens a batch; the sensor takes it to its end, whoever dies in between."""

    @pytest.fixture
    def whole(self, canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> CanvasSync:
        tenant = tenant_of(canvas, database_url, models="terms,accounts,courses", term_scope="116,118")
        return CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))

    @staticmethod
    def tick(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
        schedule = definitions.resolve_schedule_def("canvas__sync")
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=datetime(2026, 9, 2, 3, tzinfo=UTC)
        )
        return schedule.evaluate_tick(context)

    @staticmethod
    def look(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
        context = dg.build_sensor_context(instance=instance, definitions=definitions)
        with dg.partition_loading_context(dynamic_partitions_store=instance):
            return definitions.resolve_sensor_def("canvas__batches").evaluate_tick(context)

    @staticmethod
    def execute(definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, request: Any) -> bool:
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance, tags=request.tags, partition_key=request.partition_key, raise_on_error=False
        )
        return bool(result.success)

    def test_from_the_first_tick_to_the_end(
        self, whole: CanvasSync, instance: dg.DagsterInstance, database_url: str
    ) -> None:
        ended: list[Mapping[str, Any]] = []
        whole.on_sync()(ended.append)
        definitions = whole.definitions()
        (root,) = self.tick(definitions, instance).run_requests
        assert self.tick(definitions, instance).run_requests[0].run_key == root.run_key
        assert "awaited" in self.look(definitions, instance).skip_message
        assert self.execute(definitions, instance, "canvas__sync_root", root)
        terms = self.look(definitions, instance).run_requests
        assert [each.partition_key for each in terms] == ["116", "118"]
        assert [each.tags["canvas_sync/term"] for each in terms] == ["Spring 2026", "Fall 2026"]
        for each in terms:
            assert self.execute(definitions, instance, "canvas__sync_term", each)
        last = self.look(definitions, instance)
        assert last.cursor == "canvas:default:2026-09-02T03:00: completed, 2 terms done"
        assert rows(database_url, "select status, full_sync from canvas.canvas_sync_sync_batches") == [
            ("completed", True)
        ]
        assert [each["status"] for each in ended] == ["completed"]

    def test_a_failed_term_fails_the_batch_and_not_the_others(
        self, whole: CanvasSync, instance: dg.DagsterInstance, database_url: str, canvas: SimulatedCanvas
    ) -> None:
        definitions = whole.definitions()
        (root,) = self.tick(definitions, instance).run_requests
        self.execute(definitions, instance, "canvas__sync_root", root)
        first, second = self.look(definitions, instance).run_requests
        canvas.faults.add("token_expired")
        assert not self.execute(definitions, instance, "canvas__sync_term", first)
        assert self.execute(definitions, instance, "canvas__sync_term", second)
        self.look(definitions, instance)
        query = "select status, metadata->>'reason' from canvas.canvas_sync_sync_batches"
        assert rows(database_url, query) == [("failed", "terms 116 failed")]

    def test_a_second_sync_does_not_start_while_one_runs(self, whole: CanvasSync, instance: dg.DagsterInstance) -> None:
        definitions = whole.definitions()
        assert self.tick(definitions, instance).run_requests
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=datetime(2026, 9, 2, 6, tzinfo=UTC)
        )
        second = definitions.resolve_schedule_def("canvas__sync").evaluate_tick(context)
        assert "under way" in second.skip_message


def test_events_are_drained_by_the_sensor(
    canvas: SimulatedCanvas, sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    from canvas_sync_dagster.live_events.event import read_event
    from canvas_sync_dagster.live_events.inbox import ensure_partitions, store
    from canvas_sync_dagster.warehouse.connection import connect

    seen: list[str] = []
    sync.subscribe("course_updated")(lambda event: seen.append(event.name))
    run(sync, instance, "sync_root")
    run(sync, instance, "sync_term", "118")
    with connect(database_url) as connection:
        ensure_partitions(connection, "canvas")
        store(connection, "canvas", [read_event(each, canvas.now) for each in canvas.save_again("courses", 3)])
    definitions = sync.definitions()
    context = dg.build_sensor_context(instance=instance, definitions=definitions)
    result = definitions.resolve_sensor_def("canvas__live_events").evaluate_tick(context)
    assert [event.asset_key.path[-1] for event in result.asset_events] in ([], ["courses"])
    assert seen == ["course_updated"] * 3
    assert rows(database_url, "select distinct state from canvas.canvas_sync_live_events") == [("applied",)]
    assert definitions.resolve_job_def("canvas__live_events").execute_in_process(instance=instance).success


def test_init_writes_a_location_that_works(tmp_path: Path) -> None:
    target = tmp_path / "school"
    arguments = ["init", str(target), "--models", "users,terms,courses", "--live-events", "users,courses"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert files == {
        "definitions.py",
        "canvas_sync.yaml",
        "dagster.yaml",
        "workspace.yaml",
        "pyproject.toml",
        "tests/test_definitions.py",
    }
    again = CliRunner().invoke(main, arguments)
    assert again.output.count("same ") == 6
    (target / "definitions.py").write_text("mine = 1\n")
    differs = CliRunner().invoke(main, arguments, input="n\n")
    assert "-mine = 1" in differs.output
    assert (target / "definitions.py").read_text() == "mine = 1\n"
    CliRunner().invoke(main, [*arguments, "--force"])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for tool in (["ruff", "check", "."], ["mypy", "--strict", "definitions.py"]):
        checked = subprocess.run(
            [sys.executable, "-m", *tool], cwd=target, capture_output=True, text=True, check=False, timeout=120
        )
        assert checked.returncode == 0, checked.stdout


def test_dbt_sources_are_yaml() -> None:
    done = CliRunner().invoke(main, ["dbt-sources"])
    assert done.exit_code == 0
    import yaml

    source = yaml.safe_load(done.output)["sources"][0]
    assert {table["name"] for table in source["tables"]} >= {"users", "courses", "submissions"}
    assert json.dumps(source)
