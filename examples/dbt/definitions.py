"""dbt downstream of the tables: views over all terms, and marts that Dagster builds term by term after each sync."""

import json
from pathlib import Path

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets

from canvas_sync_dagster import CanvasSync

HERE = Path(__file__).parent
sync = CanvasSync.from_file(HERE / "canvas_sync.yaml")
project = DbtProject(project_dir=HERE)
project.prepare_if_dev()


class Translator(DagsterDbtTranslator):
    """Request a model when tables upstream were synced."""

    def get_asset_spec(self, manifest, unique_id, project):
        spec = super().get_asset_spec(manifest, unique_id, project)
        return spec.replace_attributes(automation_condition=dg.AutomationCondition.eager())


@dbt_assets(manifest=project.manifest_path, project=project, select="staging", dagster_dbt_translator=Translator())
def staging(context: dg.AssetExecutionContext, dbt: DbtCliResource):
    """Views: rows that exist, with their term."""
    yield from dbt.cli(["build"], context=context).stream()


@dbt_assets(
    manifest=project.manifest_path,
    project=project,
    select="marts",
    dagster_dbt_translator=Translator(),
    partitions_def=sync.term_partitions("canvas"),
    backfill_policy=dg.BackfillPolicy.multi_run(),
)
def marts(context: dg.AssetExecutionContext, dbt: DbtCliResource):
    """Tables: a run replaces the rows of one term."""
    term = json.dumps({"term": int(context.partition_key)})
    yield from dbt.cli(["build", "--vars", term], context=context).stream()


# A sensor for dbt's assets only: Dagster's default one evaluates all assets of the location, ours included.
automation = dg.AutomationConditionSensorDefinition("dbt_automation", target=dg.AssetSelection.assets(staging, marts))
defs = sync.definitions(
    dg.Definitions(
        assets=[staging, marts], sensors=[automation], resources={"dbt": DbtCliResource(project_dir=project)}
    )
)
