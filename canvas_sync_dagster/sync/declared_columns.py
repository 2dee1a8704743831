"""The columns that syncs of a tenant fill: those of its models, and those that `unknown_columns: add` has added."""

from __future__ import annotations

from collections.abc import Iterable

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.catalogue.added_columns import with_added
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.column_versions import Versions, column_versions
from canvas_sync_dagster.warehouse.state.observed_headers import read_added
from canvas_sync_dagster.warehouse.warehouse import Warehouse


def with_tenants_columns(warehouse: Warehouse, tenant: TenantSettings, model: Model) -> Model:
    """Return a model with the columns that were added to its table, if the tenant's settings require it."""
    if tenant.policy_for_unknown_columns(model.name) != "add":
        return model
    return with_added(model, read_added(warehouse, model.name))


def versions_of(warehouse: Warehouse, tenant: TenantSettings, models: Iterable[Model]) -> dict[str, Versions]:
    """Return model → versions of the columns that a sync would fill now."""
    return column_versions(warehouse, [with_tenants_columns(warehouse, tenant, model) for model in models])
