"""Derive the asset specification of a model."""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg

from canvas_sync_dagster.assets.partitions import term_partitions
from canvas_sync_dagster.catalogue import SYSTEM_COLUMNS, Column, Model, ProvisioningFeed, ReportFeed
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG
from canvas_sync_dagster.tenants import TenantSettings


def asset_key(tenant: str, model: str) -> dg.AssetKey:
    """Return the asset key of a model, `<tenant>/<model>`."""
    return dg.AssetKey([tenant, model])


def asset_spec(tenant: TenantSettings, model: Model, *, parents: Collection[str]) -> dg.AssetSpec:
    """Return the specification of a model's table as an asset.

    Args:
        tenant: Settings of the tenant.
        model: The model.
        parents: Models of this tenant that are its upstream assets.
    """
    return dg.AssetSpec(
        key=asset_key(tenant.slug, model.name),
        deps=[asset_key(tenant.slug, parent) for parent in parents],
        description=f"{model.comment} {feed_sentence(model)}",
        group_name=tenant.slug,
        kinds={"canvas", "postgres"},
        tags={TENANT_TAG: tenant.slug, "canvas_sync/feed": feed_name(model)},
        partitions_def=term_partitions(tenant.slug) if model.term_scoped else None,
        skippable=not _is_rest(model),
        metadata={
            "dagster/table_name": f"{tenant.schema_in_database}.{model.table}",
            "dagster/column_schema": column_schema(model),
            "dagster/storage_kind": "postgres",
        },
    )


def column_schema(model: Model) -> dg.TableSchema:
    """Return the columns of the table, including the system columns."""
    columns = [_table_column(column, is_key=column.name in model.key) for column in model.columns]
    return dg.TableSchema(columns=columns + [_table_column(column, is_key=False) for column in SYSTEM_COLUMNS])


def feed_name(model: Model) -> str:
    """Return the name of a model's feed: `provisioning`, `rest`, or a report."""
    match model.feed:
        case ProvisioningFeed():
            return "provisioning"
        case ReportFeed(report=report):
            return report
        case _:
            return "rest"


def feed_sentence(model: Model) -> str:
    """Return a sentence about the source of the rows."""
    where = "requested for each term" if model.term_scoped else "for the whole account"
    match model.feed:
        case ProvisioningFeed(table=table):
            return f"From the table {table} of the provisioning report, {where}."
        case ReportFeed(report=report, assumed_header=assumed):
            return f"From the report {report}, {where}{'; its header is assumed' if assumed else ''}."
        case _:
            return "Read over REST, completely or not at all."


def _is_rest(model: Model) -> bool:
    return feed_name(model) == "rest"


def _table_column(column: Column, *, is_key: bool) -> dg.TableColumn:
    constraints = dg.TableColumnConstraints(nullable=not is_key, unique=is_key)
    return dg.TableColumn(column.name, column.type.value, description=column.comment or None, constraints=constraints)
