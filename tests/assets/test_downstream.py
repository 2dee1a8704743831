"""Assets downstream of ours: a sync of one term requests that term's partition only."""

from __future__ import annotations

import importlib.util
from collections.abc import Set
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.simulator import SimulatedCanvas

EXAMPLE = Path(__file__).parents[2] / "examples" / "downstream" / "definitions.py"
COURSE_SIZES = dg.AssetKey(["reporting", "course_sizes"])
USERS_WITHOUT_EMAIL = dg.AssetKey(["reporting", "users_without_email"])
EVENING = datetime(2026, 9, 1, 20, tzinfo=UTC)


@pytest.fixture
def definitions(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dg.Definitions:
    settings = {"CANVAS_URL": canvas.base_url, "CANVAS_TOKEN": canvas.token, "WAREHOUSE_URL": database_url}
    settings |= {"CANVAS_SYNC_HOME": str(tmp_path), "CANVAS_SYNC_POLL_SECONDS": "0.05"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("downstream_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.defs
    assert isinstance(found, dg.Definitions)
    return found


@pytest.mark.filterwarnings("ignore:Parameter `include_sources`")
def test_a_synced_term_requests_its_own_partition_downstream(definitions: dg.Definitions, database_url: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        cursor: Any = None

        def run(job: str, term: str | None = None) -> None:
            assert definitions.resolve_job_def(job).execute_in_process(instance=instance, partition_key=term).success

        def requested(hours: int) -> dict[dg.AssetKey, Set[str | None]]:
            nonlocal cursor
            found = dg.evaluate_automation_conditions(
                definitions, instance, evaluation_time=EVENING + timedelta(hours=hours), cursor=cursor
            )
            cursor = found.cursor
            keys = (COURSE_SIZES, USERS_WITHOUT_EMAIL)
            return {key: found.get_requested_partitions(key) for key in keys if found.get_num_requested(key)}

        instance.add_dynamic_partitions("canvas_terms__canvas", ["1", "118"])
        assert requested(0) == {}
        run("canvas__sync_root")
        assert requested(1) == {}
        run("canvas__sync_term", "118")
        assert requested(2) == {COURSE_SIZES: {"118"}}
        # The tick at six awaits the sync after it.
        assert requested(11) == {}
        run("canvas__sync_root")
        assert requested(12) == {USERS_WITHOUT_EMAIL: {None}}
        graph = definitions.resolve_implicit_global_asset_job_def()
        done = graph.execute_in_process(instance=instance, partition_key="118", asset_selection=[COURSE_SIZES])
        assert done.success
    with psycopg.connect(database_url) as connection:
        (courses,) = connection.execute("select count(*) from canvas.course_sizes").fetchone() or ()
    assert courses == 8


def test_partitions_of_a_tenant_are_those_of_its_tables() -> None:
    sync = CanvasSync(tenants=[{"slug": "north"}, {"slug": "south", "database_url": "postgresql://u@h/south"}])
    assert sync.term_partitions("south") == dg.DynamicPartitionsDefinition(name="canvas_terms__south")
    with pytest.raises(SettingError, match="north, south"):
        sync.term_partitions()
    with pytest.raises(SettingError, match="north, south"):
        sync.term_partitions("east")
