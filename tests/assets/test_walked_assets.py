"""Assets whose report this Canvas does not offer: the same assets, read over REST."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster import AssetKey

from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.assets.test_definitions import located


def test_a_materialization_reports_the_feed_its_reason_and_its_cost(database_url: str, tmp_path: Path) -> None:
    with SimulatedCanvas(compile_seconds=0.01, reports=frozenset({"provisioning_csv"})).serve() as canvas:
        definitions = located(canvas, database_url, tmp_path, term_scope="118", models="terms,rubrics")
        keys = [AssetKey(["canvas", "terms"]), AssetKey(["canvas", "rubrics"])]
        with dg.DagsterInstance.ephemeral() as instance:
            result = definitions.resolve_job_def("canvas__sync_root").execute_in_process(
                instance=instance, asset_selection=keys
            )
        assert result.success
        (made,) = result.asset_materializations_for_node("canvas__rubrics")
        metadata = {name: value.value for name, value in made.metadata.items()}
        checks = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert made.asset_key == AssetKey(["canvas", "rubrics"])
    assert metadata["feed"] == "rest"
    assert "this Canvas has no report rubrics_csv" in str(metadata["feed_reason"])
    assert metadata["source"] == "/{context}/rubrics"
    assert (metadata["mode"], metadata["inserted"]) == ("full", 2)
    assert 0 < int(str(metadata["requests"])) <= 2 * int(str(metadata["estimated_requests"]))
    assert metadata["estimated_minutes"] == 0.0
    assert checks["load"]
