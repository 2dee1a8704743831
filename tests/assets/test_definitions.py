"""The code location as Dagster sees it, and its runs on a real instance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from pydantic import SecretStr

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.postgres_url import database_of
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.tenants import TenantSettings
from tests.fix_canvas import tenant_of

ROOT = Path(__file__).parents[2]
TOKEN = "7~of-the-environment"


@pytest.fixture(autouse=True)
def dagsters_own_warnings() -> object:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=dg.BetaWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def located(canvas: SimulatedCanvas, url: str, home: Path, **settings: object) -> dg.Definitions:
    return CanvasSync(Settings(home=home, tenants=(tenant_of(canvas, url, **settings),))).definitions()


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, term: str | None = None, **config: object):
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=term,
        raise_on_error=False,
        run_config={"resources": {"sync_options": {"config": config}}},
    )


def test_definitions_load_without_any_setting() -> None:
    definitions = CanvasSync.from_environment({}, directory=Path("/")).definitions()
    dg.Definitions.validate_loadable(definitions)
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    names = {model.name for model in BUILT_IN}
    assert keys == {f"canvas/{name}" for name in names}
    for job in ("canvas__sync_root", "canvas__sync_term"):
        assert definitions.resolve_job_def(job)


def test_only_the_models_that_are_asked_for_become_assets() -> None:
    settings = Settings(tenants=(TenantSettings(slug="uni", models=("users", "courses")),))
    graph = CanvasSync(settings).definitions().resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} >= {"uni/users", "uni/courses"}
    assert "uni/submissions" not in {key.to_user_string() for key in graph.materializable_asset_keys}


def test_a_root_run_registers_terms_and_a_term_run_fills_the_tables(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    definitions = located(canvas, database_url, tmp_path, term_scope="118")
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(definitions, instance, "canvas__sync_root").success
        # The others are out of scope.
        assert instance.get_dynamic_partitions("canvas_terms__canvas") == ["118"]
        event = instance.get_latest_materialization_event(dg.AssetKey(["canvas", "terms"]))
        assert event is not None
        assert event.asset_materialization is not None
        table = event.asset_materialization.metadata["terms"]
        assert isinstance(table, dg.TableMetadataValue)
        assert [(each.data["partition"], each.data["name"], each.data["in scope"]) for each in table.records] == [
            ("118", "Fall 2026", "yes"),
            ("117", "Summer 2026", "no"),
            ("116", "Spring 2026", "no"),
            ("1", "Default Term", "no"),
        ]
        result = run(definitions, instance, "canvas__sync_term", "118")
        assert result.success
        graph = definitions.resolve_asset_graph()
        per_term = [key for key in graph.materializable_asset_keys if graph.get(key).is_partitioned]
        assert len(per_term) == len([model for model in BUILT_IN if model.term_scoped])
        # No partition of any asset is missing, so the lineage is green.
        assert {key: instance.get_materialized_partitions(key) for key in per_term} == {
            key: {"118"} for key in per_term
        }
        told = {
            event.materialization.asset_key.path[-1]: event.materialization
            for event in result.get_asset_materialization_events()
        }
        metadata = {name: value.value for name, value in told["enrollments"].metadata.items()}
    assert metadata["dagster/table_name"] == f"{database_of(database_url)}.canvas.enrollments"
    assert metadata["rows_in_report"] == metadata["inserted"] == metadata["dagster/partition_row_count"] == 54
    assert metadata["mode"] == "full"
    assert metadata["mode_reason"] == "no earlier full sync of this scope"
    assert {"observed_at", "report_id", "rows_per_second", "dagster/column_schema", "report_page"} <= set(metadata)
    assert metadata["canvas_page"] == f"{canvas.base_url}/accounts/self?enrollment_term_id=118"
    assert metadata["summary"].startswith("**54 rows read** from `proservices_provisioning_csv`, term 118: everything")
    plotted = {"dagster/row_count", "changes", "seconds", "suspects", "rejected"}
    assert {name: type(metadata[name]) for name in plotted} == {
        **dict.fromkeys(plotted - {"seconds"}, int),
        "seconds": float,
    }
    assert canvas.token not in json.dumps({k: str(v) for k, v in metadata.items()})


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_run_has_canvas_begin_with_the_next_reports_while_it_waits(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path, ahead: int
) -> None:
    definitions = located(canvas, database_url, tmp_path, reports_ahead=ahead)
    with dg.DagsterInstance.ephemeral() as instance:
        run(definitions, instance, "canvas__sync_root")
        canvas.requests.clear()
        before = set(canvas.queue.reports)
        assert run(definitions, instance, "canvas__sync_term", "118").success
    order = [
        "download" if "/download" in each.path else each.path.rpartition("/")[2]
        for each in list(canvas.requests)
        if each.method == "POST" or "/download" in each.path
    ]
    assert order.index("download") == 1 + ahead
    assert order[0] in {"provisioning_csv", "proservices_provisioning_csv"}
    asked = [report.name for number, report in canvas.queue.reports.items() if number not in before]
    assert len(asked) == len(set(asked))


def test_the_policy_turns_incremental_and_run_config_overrides_it(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    definitions = located(canvas, database_url, tmp_path, full_sync_every="1000 days")
    with dg.DagsterInstance.ephemeral() as instance:
        run(definitions, instance, "canvas__sync_root")
        modes = []
        for config in ({}, {}, {"mode": "full"}, {"updated_after": "false"}):
            (event, *_) = run(definitions, instance, "canvas__sync_root", **config).asset_materializations_for_node(
                "canvas__provisioning"
            )
            modes.append(event.metadata["mode"].value)
    assert modes == ["incremental", "incremental", "full", "full"]


def test_a_failure_is_one_sentence_and_is_not_retried(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    definitions = located(canvas, database_url, tmp_path, token=SecretStr("wrong~token"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(definitions, instance, "canvas__sync_root")
    assert not result.success
    (failure, *_) = result.get_step_failure_events()
    data = failure.step_failure_data.user_failure_data
    assert "CANVAS_SYNC_TOKEN" in data.description
    assert "wrong~token" not in data.description
    assert data.metadata["error"].value == "CanvasUnauthorizedError"


def dagster(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_SYNC_", "DAGSTER_"))
    }
    environment |= {"CANVAS_SYNC_HOME": str(home), "PYTHONWARNINGS": "ignore", **variables}
    command = [sys.executable, "-m", "dagster", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_workspace_names_the_location_that_loads(tmp_path: Path) -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert workspace == {"load_from": [{"python_module": "canvas_sync_dagster.definitions"}]}
    done = dagster(tmp_path, "definitions", "validate")
    assert done.returncode == 0, done.stderr
    assert "canvas_sync_dagster.definitions" in done.stdout + done.stderr
    assert "[tool.dagster]" not in (ROOT / "pyproject.toml").read_text()


def test_the_command_line_materializes_by_environment_alone(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    variables = {
        "CANVAS_SYNC_BASE_URL": canvas.base_url,
        "CANVAS_SYNC_TOKEN": canvas.token,
        "CANVAS_SYNC_DATABASE_URL": database_url,
        "CANVAS_SYNC_POLL_SECONDS": "0.05",
    }
    materialize = ("asset", "materialize", "-m", "canvas_sync_dagster.definitions", "--select")
    first = dagster(tmp_path, *materialize, "canvas/terms", **variables)
    assert first.returncode == 0, first.stderr
    second = dagster(tmp_path, *materialize, "canvas/courses", "--partition", "118", **variables)
    assert second.returncode == 0, second.stderr
    assert canvas.token not in first.stdout + first.stderr + second.stdout + second.stderr
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from canvas.courses").fetchone() == (8,)


def test_materializing_without_a_base_url_says_what_to_set(tmp_path: Path) -> None:
    done = dagster(
        tmp_path, "asset", "materialize", "-m", "canvas_sync_dagster.definitions", "--select", "canvas/terms"
    )
    assert done.returncode == 1
    assert "CANVAS_SYNC_BASE_URL" in done.stdout + done.stderr
