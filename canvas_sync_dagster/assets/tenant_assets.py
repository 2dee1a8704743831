"""The specifications of a tenant's assets, from which the factories of assets, jobs and sensors are fed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain as joined

import dagster as dg

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.assets.specs import custom_spec, model_spec
from canvas_sync_dagster.assets.upstream import upstream_names
from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.sync.chain import refuse_cycles
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.report_request import ReportGroup, report_groups
from canvas_sync_dagster.tenants import TenantSettings


@dataclass(frozen=True, slots=True)
class TenantAssets:
    """What the definitions of one tenant are made from.

    Attributes:
        tenant: Settings of the tenant.
        models: The models that it syncs.
        groups: The reports that feed them, in the order in which a run requests them.
        keys: Keys of its assets, and of the models that it does not sync but other assets point to.
        specs: Name of a model, custom report or step → specification of its asset.
    """

    tenant: TenantSettings
    models: tuple[Model, ...]
    groups: tuple[ReportGroup, ...]
    keys: AssetKeys
    specs: Mapping[str, dg.AssetSpec]


def tenant_assets(project: Project, tenant: TenantSettings) -> TenantAssets:
    """Specify the assets of a tenant.

    Args:
        project: The code location.
        tenant: Settings of the tenant.

    Raises:
        SettingError: Steps wait for each other in a circle.
    """
    models, chain = project.models_of(tenant), project.chain
    groups = report_groups(models)
    upstream = upstream_names(models, groups, chain)
    refuse_cycles(upstream)
    names = dict.fromkeys(joined(upstream, *upstream.values()))
    keys = AssetKeys(tenant.slug, {name: dg.AssetKey([tenant.slug, name]) for name in names})
    specs = {model.name: model_spec(tenant, model, keys, upstream[model.name]) for model in models}
    steps = {name: report.processor.__doc__ for name, report in chain.reports.items()}
    steps |= {name: step.function.__doc__ for name, step in chain.insertions.items()}
    for name, description in steps.items():
        specs[name] = custom_spec(tenant, name, keys, upstream[name], description, per_term=chain.is_per_term(name))
    return TenantAssets(tenant, models, groups, keys, specs)
