"""The job that audits the tables, and the `drift` checks that it evaluates."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.tenants import TenantSettings
from tests.fix_canvas import tenant_of

MODELS = ("terms", "roles", "courses", "sections")


@pytest.fixture(autouse=True)
def _dagsters_own_warnings() -> object:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=dg.BetaWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def schedules_of(**settings: object) -> dict[str, dg.ScheduleDefinition]:
    tenant = TenantSettings.model_validate({"slug": "uni", "base_url": "https://uni.test", **settings})
    found = CanvasSync(Settings(tenants=(tenant,))).definitions().schedules or []
    return {each.name: each for each in found if isinstance(each, dg.ScheduleDefinition)}


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        each.asset_key.path[-1]: each for each in result.get_asset_check_evaluations() if each.check_name == "drift"
    }


def test_the_job_evaluates_the_drift_checks_and_a_materialization_repeats_them(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    tenant = tenant_of(canvas, database_url, models=MODELS)
    definitions = CanvasSync(Settings(home=tmp_path, tenants=(tenant,))).definitions()
    sections = dg.AssetKey(["canvas", "sections"])
    with dg.DagsterInstance.ephemeral() as instance:
        for job, term in (("canvas__sync_root", None), ("canvas__sync_term", "118")):
            synced = definitions.resolve_job_def(job).execute_in_process(instance=instance, partition_key=term)
            # A sync does not audit.
            assert not evaluations(synced)
        with psycopg.connect(database_url) as connection:
            connection.execute("update canvas.sections set name = 'planted' where canvas_id = 4006")
        audit = definitions.resolve_job_def("canvas__audit")
        found = evaluations(audit.execute_in_process(instance=instance))
        # Canvas shows roles by no other path than the one that the sync uses.
        assert {name: each.passed for name, each in found.items()} == {
            "terms": True,
            "courses": True,
            "sections": False,
        }
        metadata = {name: value.value for name, value in found["sections"].metadata.items()}
        assert (metadata["drifted"], metadata["differing_columns"]) == (1, {"name": 1})
        assert "| canvas_id 4006 | differs | undated | name |" in str(metadata["differences"])
        assert "planted" not in str(found["sections"])
        observed = instance.fetch_observations(sections, limit=1).records[0].asset_observation
        assert observed is not None
        # The UI plots numbers.
        assert type(observed.metadata["wrong_percent"].value) is float
        with psycopg.connect(database_url) as connection:
            assert connection.execute("select count(*) from canvas.canvas_sync_audits").fetchone() == (3,)
        alone = definitions.resolve_implicit_global_asset_job_def()
        repeated = evaluations(
            alone.execute_in_process(instance=instance, asset_selection=[sections], partition_key="118")
        )
        assert "found 1 differences" in str(repeated["sections"].description)
        repaired = audit.execute_in_process(
            instance=instance, run_config={"ops": {"canvas__drift": {"config": {"repair": True, "sample": 50}}}}
        )
        assert "1 rows were read again" in str(evaluations(repaired)["sections"].description)
        assert evaluations(audit.execute_in_process(instance=instance))["sections"].passed


def test_audits_run_every_night_unless_they_are_switched_off() -> None:
    schedule = schedules_of(timezone="America/Denver")["uni__audit"]
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("50 4 * * *", "America/Denver")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedules_of(audit_schedule="0 6 * * 0")["uni__audit"].cron_schedule == "0 6 * * 0"
    # YAML reads `off` as false.
    for off in ("off", False):
        assert "uni__audit" not in schedules_of(audit_schedule=off)
