"""A code location of one's own: what users write in Python takes effect, and wrong names are named."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import dagster as dg
import psycopg
import pytest
import yaml
from click.testing import CliRunner

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.errors import CanvasUnavailableError, SettingError
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.downloaded_report import DownloadedReport
from canvas_sync_dagster.warehouse.warehouse import Warehouse
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


def test_parameters_of_a_custom_report_are_sent_as_canvas_reads_them(
    sync: CanvasSync, instance: dg.DagsterInstance, canvas: SimulatedCanvas
) -> None:
    canvas.add_report("x_csv", "a\n1\n")
    given = {"none": None, "ids": [1, 2], "range": {"from": datetime(2026, 1, 1, tzinfo=UTC)}, "flag": False}

    @sync.report("x_csv", params=given)
    def mine(report: Any, context: Any) -> None:
        assert report.parameters["ids"] == ["1", "2"]

    run(sync, instance, "sync_root")
    (asked,) = [each.parameters for each in canvas.queue.reports.values() if each.name == "x_csv"]
    assert asked == {"ids": ["1", "2"], "range": {"from": "2026-01-01T00:00:00Z"}, "flag": "false"}


def test_run_config_gives_parameters_to_a_built_in_report(
    sync: CanvasSync, instance: dg.DagsterInstance, canvas: SimulatedCanvas
) -> None:
    def run_with(params: dict[str, Any]) -> dg.ExecuteInProcessResult:
        job = sync.definitions().resolve_job_def("canvas__sync_root")
        config = {"resources": {"sync_options": {"config": {"params": params}}}}
        return job.execute_in_process(
            instance=instance,
            run_config=config,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(["canvas", "users"])],
        )

    assert metadata(run_with({"users": {"created_by_sis": True}}), "users")["mode"] == "full"
    assert [each.parameters.get("created_by_sis") for each in canvas.queue.reports.values()] == ["true"]
    failed = run_with({"users": {"updated_after": "2026-01-01"}})
    errors = [str(event.step_failure_data.error) for event in failed.get_step_failure_events()]
    assert any("sync_options.params.users: the sync sets the parameter updated_after itself" in each for each in errors)


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


def test_whatever_a_function_returns_does_not_fail_a_run_that_is_committed(
    sync: CanvasSync, instance: dg.DagsterInstance
) -> None:
    @sync.report("rubrics_csv")
    def mine(report: Any, context: Any) -> dict[str, object]:
        frame = next(report.frames())
        return {"frame": frame, "mean": Decimal("7.5"), "nan": float("nan"), "note": dg.MetadataValue.md("*hi*")}

    @sync.insert(after="mine")
    def later(context: Any) -> object:
        return {1, 2}

    result = run(sync, instance, "sync_root")
    told = metadata(result, "mine")
    assert (told["mean"], told["nan"], told["note"]) == (7.5, "nan", "*hi*")
    assert "shape" in told["frame"]
    assert metadata(result, "later")["returned"] == "{1, 2}"


def test_a_report_whose_function_raised_is_taken_up_again(
    sync: CanvasSync, instance: dg.DagsterInstance, canvas: SimulatedCanvas
) -> None:
    canvas.add_report("x_csv", "a,b\n1,2\n")
    trouble = [ValueError("not yet")]

    @sync.report("x_csv")
    def mine(report: Any, context: Any) -> dict[str, int]:
        if trouble:
            raise trouble.pop()
        return {"report": report.id}

    job = sync.definitions().resolve_job_def("canvas__sync_root")
    assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    assert metadata(job.execute_in_process(instance=instance), "mine")["report"]
    assert [each.method for each in canvas.requests if each.path.endswith("/reports/x_csv")].count("POST") == 1


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


def test_a_step_with_a_retry_policy_is_repeated_for_any_error(
    sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    trouble: list[Exception] = [RuntimeError("not yet"), CanvasUnavailableError("not yet")]

    @sync.insert(after="terms", retry_policy=dg.RetryPolicy(max_retries=2))
    def stubborn(context: Any) -> None:
        if trouble:
            raise trouble.pop()

    job = sync.definitions().resolve_job_def("canvas__sync_root")
    only = [dg.AssetKey(["canvas", "stubborn"])]
    assert job.execute_in_process(instance=instance, asset_selection=only).success
    query = "select status from canvas.canvas_sync_job_logs where job_class = 'stubborn' order by id"
    assert rows(database_url, query) == [("error",), ("error",), ("success",)]


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


def test_what_a_row_function_writes_is_committed_with_the_load_but_not_for_a_row_that_it_raises_for(
    sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    @sync.row_by_row("users")
    def create_or_update(row: Mapping[str, Any], connection: Any) -> bool:
        connection.execute("create table if not exists mine (canvas_id bigint)")
        connection.execute("insert into mine values (%s)", [row["canvas_user_id"]])
        if row["canvas_user_id"] == "1003":
            raise ValueError("not this one")
        return row["canvas_user_id"] != "1004"

    told = metadata(run(sync, instance, "sync_root"), "users")
    assert told["rejected"] == 1
    assert rows(database_url, "select count(*) from mine") == [(42,)]
    assert rows(database_url, "select count(*) from mine where canvas_id = 1003") == [(0,)]


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
    changed = CanvasSync(sync.settings)
    changed.mapping("users").link_column("short_name", "nickname")
    result = (
        changed.definitions()
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
        (lambda sync: sync.subscribe(print), "parentheses|names of events"),
        (lambda sync: sync.report("r", params={"locale": "x"})(print), "report r: params: .*locale itself"),
        (lambda sync: sync.report("r", params={"enrollment_term_id": 1}, per_term=True)(print), "enrollment_term_id"),
        (lambda sync: sync.report("r", params={"a": {"b": object()}})(print), "a.b is of type object"),
        (lambda sync: sync.mapping("users").params(courses=True), "the parameter courses itself"),
        (lambda sync: sync.mapping("users").unlink_column("canvas_user_id"), "canvas_user_id.*part of the key"),
        (lambda sync: sync.mapping("users").unlink_column("canvas_id"), "canvas_id.*part of the key"),
        (lambda sync: sync.mapping("users").unlink_column("emial"), "emial.*unknown column.*email"),
        (lambda sync: sync.mapping("users", reset=True) and sync.project(), "linked to a part of the key"),
        (lambda sync: sync.insert(at="finish")(print), "finish.*start, end"),
        (lambda sync: sync.insert(at="end", after="users")(print), "neighbours and at="),
        (
            lambda sync: (
                sync.insert(at="end", name="last")(print),
                sync.insert(after="last", name="later")(print),
                sync.definitions(),
            ),
            "later.*last runs at the end of the batch",
        ),
        (lambda sync: sync.insert(after="users")(lambda context: None), "<lambda>.*name="),
        (lambda sync: sync.report("r", name="my report")(print), "not a valid name of an asset"),
        (lambda sync: sync.api("users", fields={"bioo": "bio"}) or sync.definitions(), "bioo.*login_id"),
        (lambda sync: sync.api("users", mark_deleted={"stat": "x"}) or sync.definitions(), "stat.*workflow_state"),
        (lambda sync: CanvasSync(tenants=[{"slug": "a", "bas_url": "x"}]), "a.bas_url.*base_url"),
        (lambda sync: CanvasSync(tenants=[{"slug": "a"}, {"slug": "a"}]), "two tenants have this slug"),
        (lambda sync: sync.row_by_row("accounts", print), "accounts.*over REST.*users"),
        (lambda sync: CanvasSync(models=["userz"]), "userz.*users"),
        (lambda sync: sync.simple_table(report="r", model="m", key="x", columns={"a": "b"}), "'x'.*Allowed: b"),
        (lambda sync: sync.simple_table(report="r", model="m", key=[], columns={"a": "b"}), "key.*Allowed: b"),
        (lambda sync: sync.simple_table(report="r", model="m", key="a", columns={"a": {"tpe": "x"}}), "tpe.*type"),
        (
            lambda sync: sync.simple_table(report="r", model="m", key="a", columns={"a": "a", "b": "row_hash"}),
            "row_hash",
        ),
        (
            lambda sync: sync.simple_table(report="r", model="canvas_sync_x", key="a", columns={"a": "a"}),
            "canvas_sync_x",
        ),
        (lambda sync: sync.simple_table(report="r", model="users", key="id", columns={"id": "id"}), "taken"),
    ],
)
def test_a_wrong_name_says_which_names_exist(sync: CanvasSync, wrong: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        wrong(sync)


def test_a_mistyped_event_is_registered_with_a_warning(sync: CanvasSync) -> None:
    with pytest.warns(UserWarning, match=r"user_craeted.*user_created"):
        sync.subscribe("user_craeted")(print)
    with pytest.warns(UserWarning, match=r"CourseUpdated.*course_updated"):
        sync.live_event_handler("CourseUpdated")(print)


@pytest.mark.parametrize(
    "register",
    [
        lambda sync: sync.live_event_handler("user_updated")(print),
        lambda sync: sync.process_live_event("users")(print),
        lambda sync: sync.row_by_row("users", print),
        lambda sync: sync.api("users", mark_deleted="gone"),
        lambda sync: sync.accepts_event(print),
        lambda sync: sync.client(print),
        lambda sync: sync.term_scope(print),
    ],
)
def test_a_second_function_in_one_place_is_refused(sync: CanvasSync, register: Any) -> None:
    register(sync)
    with pytest.raises(SettingError, match="already"):
        register(sync)


def test_what_is_registered_too_late_is_refused(sync: CanvasSync) -> None:
    sync.definitions()
    sync.definitions()
    for late in (lambda: sync.mapping("users"), sync.subscribe, lambda: sync.on_failure(print)):
        with pytest.raises(SettingError, match="after definitions"):
            late()


def own_asset(key: list[str], *deps: str) -> dg.AssetsDefinition:
    @dg.multi_asset(name="own", specs=[dg.AssetSpec(key, deps=[dg.AssetKey(["canvas", each]) for each in deps])])
    def own() -> None: ...

    return own


def test_ones_own_definitions_stand_beside_ours(sync: CanvasSync) -> None:
    mine = dg.Definitions(
        assets=[own_asset(["mine"], "users")],
        jobs=[dg.define_asset_job("my_job", dg.AssetSelection.assets("mine"))],
        schedules=[dg.ScheduleDefinition(name="my_schedule", job_name="my_job", cron_schedule="0 1 * * *")],
        resources={"warehouse": "mine"},
        executor=dg.multiprocess_executor,
    )
    both = sync.definitions(mine)
    dg.Definitions.validate_loadable(both)
    assert both.executor is dg.multiprocess_executor
    assert dg.AssetKey("mine") in both.resolve_all_asset_keys()


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("canvas/users", lambda: dg.Definitions(assets=[own_asset(["canvas", "users"])])),
        ("canvas__reconcile", lambda: dg.Definitions(jobs=[dg.define_asset_job("canvas__reconcile")])),
        ("code_location", lambda: dg.Definitions(resources={"code_location": "mine"})),
    ],
)
def test_a_name_that_both_define_is_named(sync: CanvasSync, name: str, theirs: Any) -> None:
    with pytest.raises(SettingError, match=f"'{name}'.*already"):
        sync.definitions(theirs())


def test_two_in_one_process_share_nothing(sync: CanvasSync, tmp_path: Path) -> None:
    other = CanvasSync(Settings(home=tmp_path))
    sync.mapping("users").link_column("pronouns")
    assert "pronouns" not in [column.name for model in other.project().models for column in model.columns]


class TestBatches:
    """A schedule opens a batch; the sensor takes it to its end, whoever dies in between."""

    @pytest.fixture
    def whole(self, canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> CanvasSync:
        tenant = tenant_of(canvas, database_url, models="terms,accounts,courses", term_scope="116,118")
        return CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))

    @staticmethod
    def tick(definitions: dg.Definitions, instance: dg.DagsterInstance, hour: int = 3) -> Any:
        schedule = definitions.resolve_schedule_def("canvas__sync")
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=datetime(2026, 9, 2, hour, tzinfo=UTC)
        )
        return schedule.evaluate_tick(context)

    @staticmethod
    def look(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
        context = dg.build_sensor_context(instance=instance, definitions=definitions)
        with dg.partition_loading_context(dynamic_partitions_store=instance):
            return definitions.resolve_sensor_def("canvas_sync_batches").evaluate_tick(context)

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
        sessions: list[str] = []
        whole.on_sync()(ended.append)
        whole.on_sync()(lambda batch, *, tenant, session: sessions.append(f"{tenant} {session.schema}"))
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
        assert last.cursor == "canvas: default:2026-09-02T03:00: completed, 2 terms done"
        assert rows(database_url, "select status, full_sync from canvas.canvas_sync_sync_batches") == [
            ("completed", True)
        ]
        assert [(each["status"], each["tenant"]) for each in ended] == [("completed", "canvas")]
        assert sessions == ["canvas canvas"]

    def test_a_step_at_the_start_runs_first_and_one_at_the_end_when_all_terms_are_over(
        self, whole: CanvasSync, instance: dg.DagsterInstance, database_url: str
    ) -> None:
        order: list[str] = []
        trouble = [RuntimeError("not yet")]

        @whole.insert(at="start")
        def first(context: Any) -> None:
            order.append(f"first of {len(rows(database_url, 'select 1 from canvas.terms'))} terms")

        @whole.insert(after="courses")
        def after_courses(context: Any) -> None:
            order.append(f"courses of {context.scope}")

        @whole.insert(at="end", retry_policy=dg.RetryPolicy(max_retries=1))
        def last(context: Any) -> None:
            order.append(f"last: {context.batch['status']}, {context.batch['reason']}")
            if trouble:
                raise trouble.pop()

        definitions = whole.definitions()
        (root,) = self.tick(definitions, instance).run_requests
        assert self.execute(definitions, instance, "canvas__sync_root", root)
        for each in self.look(definitions, instance).run_requests:
            assert each.job_name == "canvas__sync_term"
            assert self.execute(definitions, instance, each.job_name, each)
        (end,) = self.look(definitions, instance).run_requests
        assert (end.job_name, end.run_key) == ("canvas__sync_end", f"{root.run_key}:end:0")
        assert rows(database_url, "select status from canvas.canvas_sync_sync_batches") == [("processing",)]
        assert self.execute(definitions, instance, end.job_name, end)
        assert self.look(definitions, instance).cursor.endswith("completed, 2 terms done")
        told = "last: completed, 2 terms done"
        assert order == ["first of 0 terms", "courses of 116", "courses of 118", told, told]
        query = "select status from canvas.canvas_sync_job_logs where job_class = 'last' order by id"
        assert rows(database_url, query) == [("error",), ("success",)]

    def test_a_step_at_the_start_that_fails_ends_the_batch_but_not_without_its_end(
        self, whole: CanvasSync, instance: dg.DagsterInstance, database_url: str
    ) -> None:
        told: list[str] = []

        @whole.insert(at="start")
        def first(context: Any) -> None:
            raise RuntimeError("not today")

        @whole.insert(at="end", retry_policy=dg.RetryPolicy(max_retries=0))
        def last(context: Any) -> None:
            told.append(context.batch["status"])
            raise RuntimeError("nor here")

        definitions = whole.definitions()
        (root,) = self.tick(definitions, instance).run_requests
        assert not self.execute(definitions, instance, "canvas__sync_root", root)
        (end,) = self.look(definitions, instance).run_requests
        assert end.job_name == "canvas__sync_end"
        assert not self.execute(definitions, instance, end.job_name, end)
        assert told == ["failed"]
        assert "the root run failed; the steps at the end failed" in self.look(definitions, instance).cursor
        assert rows(database_url, "select status from canvas.canvas_sync_sync_batches") == [("failed",)]
        assert rows(database_url, "select 1 from canvas.canvas_sync_reports") == []

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

    def test_another_dagster_instance_leaves_a_batch_to_the_one_that_knows_its_runs(
        self, whole: CanvasSync, instance: dg.DagsterInstance, database_url: str, tmp_path: Path
    ) -> None:
        definitions = whole.definitions()
        (root,) = self.tick(definitions, instance).run_requests
        self.execute(definitions, instance, "canvas__sync_root", root)
        query = "select heartbeat_at, status from canvas.canvas_sync_sync_batches"
        before = rows(database_url, query)
        (tmp_path / "other").mkdir()
        with dg.DagsterInstance.local_temp(str(tmp_path / "other")) as other:
            assert "its root run is awaited" in self.look(definitions, other).skip_message
            assert "in progress" in self.tick(definitions, other, hour=6).skip_message
        assert rows(database_url, query) == before
        assert self.look(definitions, instance).run_requests
        assert rows(database_url, query) != before

    def test_a_second_sync_does_not_start_while_one_runs(self, whole: CanvasSync, instance: dg.DagsterInstance) -> None:
        definitions = whole.definitions()
        assert self.tick(definitions, instance).run_requests
        second = self.tick(definitions, instance, hour=6)
        assert "in progress" in second.skip_message


def test_events_are_drained_by_the_sensor(
    canvas: SimulatedCanvas, sync: CanvasSync, instance: dg.DagsterInstance, database_url: str
) -> None:
    from canvas_sync_dagster.live_events.event import read_event
    from canvas_sync_dagster.warehouse.connection import connect
    from canvas_sync_dagster.warehouse.state.inbox import store
    from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions

    seen: list[str] = []
    sync.subscribe("course_updated")(lambda event: seen.append(event.name))
    run(sync, instance, "sync_root")
    run(sync, instance, "sync_term", "118")
    with connect(database_url) as connection:
        ensure_partitions(Warehouse(connection, "canvas"))
        store(
            Warehouse(connection, "canvas"), [read_event(each, canvas.now) for each in canvas.save_again("courses", 3)]
        )
    definitions = sync.definitions()
    context = dg.build_sensor_context(instance=instance, definitions=definitions)
    result = definitions.resolve_sensor_def("canvas_sync_live_events").evaluate_tick(context)
    assert [event.asset_key.path[-1] for event in result.asset_events] in ([], ["courses"])
    assert seen == ["course_updated"] * 3
    assert rows(database_url, "select distinct state from canvas.canvas_sync_live_events") == [("applied",)]
    assert definitions.resolve_job_def("canvas__live_events").execute_in_process(instance=instance).success


def test_init_writes_a_location_that_works(tmp_path: Path) -> None:
    target = tmp_path / "school"
    arguments = ["init", str(target), "--models", "users,terms,courses", "--live-events", "users,courses"]
    arguments += ["--tenant", "on", "--schema", "lms"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert files == {
        "src/school/__init__.py",
        "src/school/definitions.py",
        "src/school/defs/__init__.py",
        "src/school/canvas_sync.yaml",
        "dagster.yaml",
        "workspace.yaml",
        "pyproject.toml",
        "tests/test_definitions.py",
        "conftest.py",
        ".env.example",
        ".gitignore",
        "Dockerfile",
        ".dockerignore",
        "compose.yaml",
        "create-dagster-database.sql",
        "wheels/README.md",
        ".github/workflows/test.yml",
    }
    again = CliRunner().invoke(main, arguments)
    assert again.output.count("same ") == 17
    tenants = yaml.safe_load((target / "src" / "school" / "canvas_sync.yaml").read_text())["tenants"]
    assert [(slug, each["schema"]) for slug, each in tenants.items()] == [("on", "lms")]
    own = target / "src" / "school" / "definitions.py"
    own.write_text("mine = 1\n")
    differs = CliRunner().invoke(main, arguments, input="n\n")
    assert "-mine = 1" in differs.output
    assert own.read_text() == "mine = 1\n"
    CliRunner().invoke(main, [*arguments, "--force"])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for tool in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy", "--strict", "."]):
        checked = subprocess.run(
            [sys.executable, "-m", *tool], cwd=target, capture_output=True, text=True, check=False, timeout=120
        )
        assert checked.returncode == 0, checked.stdout


def test_a_directory_of_any_name_becomes_a_project_that_loads(tmp_path: Path) -> None:
    target = tmp_path / "Über-Uni 1.x"
    done = CliRunner().invoke(main, ["init", str(target), "--models", "all", "--live-events", "all"])
    assert done.exit_code == 0
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CANVAS_SYNC_")}
    # As `pip install -e .` does.
    bare["PYTHONPATH"] = str(target / "src")
    for tool in (["ruff", "format", "--check", "."], ["dagster", "definitions", "validate"]):
        command = [sys.executable, "-m", *tool]
        checked = subprocess.run(
            command, cwd=target, env=bare, capture_output=True, text=True, check=False, timeout=120
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_image_the_services_and_the_workflow_of_a_project_name_files_and_commands_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["init", "school"])
    assert done.exit_code == 0, done.output
    school = tmp_path / "school"
    kept = [line.removeprefix("!") for line in (school / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    copied = [
        source
        for line in (school / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
        for source in line.split()[1:-1]
    ]
    assert sorted(copied) == sorted(kept)
    assert [source for source in copied if not (school / source).exists()] == []
    services = yaml.safe_load((school / "compose.yaml").read_text())["services"]
    mounted = services["postgres"]["volumes"][1].split(":")[0]
    assert (school / mounted).read_text() == "create database dagster;\n"
    variables = set(re.findall(r"\$\{(\w+)", (school / "compose.yaml").read_text()))
    assert variables == {"CANVAS_SYNC_BASE_URL", "CANVAS_SYNC_TOKEN", "POSTGRES_PASSWORD"}
    assert all(name in (school / ".env.example").read_text() for name in variables)
    assert "CANVAS_SYNC_TOKEN" not in services["receiver"]["environment"]
    words = shlex.split(services["receiver"]["command"])
    assert words[:4] == ["canvas-sync", "live-events", "-m", "school.definitions"]
    context = main.get_command(click.Context(main), "live-events").make_context("live-events", words[2:])
    assert context.params["health_port"] == 8081
    steps = yaml.safe_load((school / ".github" / "workflows" / "test.yml").read_text())["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step][-2:] == ["pytest", "dagster definitions validate"]
    # Hints are typed where the project is.
    hinted = [line.strip() for line in done.stdout.splitlines()]
    assert "cd school" in hinted
    (serves,) = [line for line in hinted if line.endswith("dagster dev")]
    program = shlex.split(serves)[1]
    assert serves.startswith("PYTHONPATH=src ")
    assert shutil.which(program) or Path(program).is_file()


@pytest.mark.parametrize(
    ("directory", "package"),
    [("Über-Uni 1.x", "uber_uni_1_x"), ("2027", "canvas_2027"), ("dagster", "canvas_dagster"), ("json", "canvas_json")],
)
def test_all_files_of_init_name_one_package_that_can_be_imported(tmp_path: Path, directory: str, package: str) -> None:
    target = tmp_path / directory
    assert CliRunner().invoke(main, ["init", str(target)]).exit_code == 0
    assert (target / "src" / package / "definitions.py").is_file()
    content = tomllib.loads((target / "pyproject.toml").read_text())
    dg_project = content["tool"]["dg"]["project"]
    assert (content["project"]["name"], dg_project["root_module"]) == (package, package)
    (loaded,) = yaml.safe_load((target / "workspace.yaml").read_text())["load_from"]
    # `dagster` ignores workspace.yaml next to [tool.dg], so both must load the same.
    assert loaded["python_module"] == {
        "module_name": f"{dg_project['root_module']}.definitions",
        "location_name": dg_project["code_location_name"],
    }


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--force", "--skip"], 2, "exclude each other"),
        (["--live-events", "rubrics"], 2, "rubrics is not among .*users"),
        (["--models", "userz"], 2, "userz is not among .*users"),
        (["--tenant", "My-School"], 2, "--tenant.*My-School.*lowercase"),
        (["--schema", "x" * 64], 2, "--schema.*at most 63"),
    ],
)
def test_what_init_cannot_do_is_said(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    done = CliRunner().invoke(main, ["init", str(tmp_path), *arguments])
    assert done.exit_code == code
    assert re.search(says, done.output)
    assert list(tmp_path.iterdir()) == []


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(main, ["init", str(tmp_path / "file" / "school")])
    assert done.exit_code == 1
    assert "choose another DIRECTORY" in done.output


def test_dbt_sources_are_yaml() -> None:
    done = CliRunner().invoke(main, ["dbt-sources"])
    assert done.exit_code == 0
    source = yaml.safe_load(done.output)["sources"][0]
    assert {table["name"] for table in source["tables"]} >= {"users", "courses", "submissions"}
    assert json.dumps(source)


def test_tenants_given_in_python_stand_for_themselves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CANVAS_SYNC_BASE_URL", "https://another.example.edu")
    monkeypatch.setenv("CANVAS_SYNC_SCHEDULE", "nonsense")
    monkeypatch.setenv("CANVAS_SYNC_HOME", str(tmp_path))
    settings = CanvasSync(tenants=[{"slug": "north"}, {"slug": "south", "schema": "s"}]).settings
    assert [(each.slug, each.base_url, each.schema_in_database) for each in settings.tenants] == [
        ("north", None, "north"),
        ("south", None, "s"),
    ]
    assert settings.home == tmp_path
