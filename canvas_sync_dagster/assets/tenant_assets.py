"""The specifications of a tenant's assets, from which the factories of assets, jobs and sensors are fed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

import dagster as dg

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.assets.descriptions import AssetDescriptions
from canvas_sync_dagster.assets.freshness import with_freshness
from canvas_sync_dagster.assets.translation import CanvasSyncTranslator, translated
from canvas_sync_dagster.assets.upstream import upstream_names
from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.chain import refuse_cycles
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.report_request import ReportGroup, report_groups
from canvas_sync_dagster.sync.session import database_name
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.translation_settings import output_name


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
        SettingError: Steps wait for each other in a circle, or the translation of an asset is wrong.
    """
    models = project.models_of(tenant)
    groups = report_groups(models)
    upstream = upstream_names(models, groups, project.chain)
    refuse_cycles(upstream)
    translator = project.extensions.translator or CanvasSyncTranslator()
    descriptions = AssetDescriptions(project, tenant, models, upstream, database_name(tenant))
    found: dict[str, dg.AssetSpec] = {}
    keys: dict[str, dg.AssetKey] = {}
    # Upstream assets first: dependencies get the keys that the translator gave to them.
    for name in TopologicalSorter(upstream).static_order():
        found[name] = translated(translator, descriptions.of(name, keys))
        keys[name] = found[name].key
    specs = {name: found[name] for name in upstream}
    _refuse_equal_keys(tenant.slug, specs)
    fresh = with_freshness(specs, tenant, len(project.settings.tenants))
    return TenantAssets(tenant, models, groups, AssetKeys(tenant.slug, keys), fresh)


def refuse_shared_keys(tenants: Iterable[TenantAssets]) -> None:
    """Check that no two tenants have an asset with the same key.

    Raises:
        SettingError: Two tenants share a key.
    """
    owners: dict[dg.AssetKey, str] = {}
    for each in tenants:
        for name, spec in each.specs.items():
            if spec.key in owners:
                raise _shared(each.tenant.slug, name, spec.key, owners[spec.key])
            owners[spec.key] = f"{name} of tenant {each.tenant.slug}"


def _refuse_equal_keys(slug: str, specs: Mapping[str, dg.AssetSpec]) -> None:
    names: dict[str, str] = {}
    for name, spec in specs.items():
        identifier = output_name(tuple(spec.key.path))
        if identifier in names:
            raise _shared(slug, name, spec.key, names[identifier])
        names[identifier] = name


def _shared(slug: str, name: str, key: dg.AssetKey, other: str) -> SettingError:
    problem = f"Dagster cannot distinguish it from the key of {other}"
    allowed = "a different key for each asset"
    return SettingError(f"translation of {name} of tenant {slug}", problem, allowed=allowed, value=key.to_user_string())
