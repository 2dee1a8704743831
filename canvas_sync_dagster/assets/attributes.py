"""Applies a tenant's `translation` from YAML to the specification of an asset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from canvas_sync_dagster.catalogue import Domain
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.translation_settings import Condition


def with_attributes(spec: dg.AssetSpec, tenant: TenantSettings, name: str, domain: Domain) -> dg.AssetSpec:
    """Return a specification with the attributes that the settings of the tenant give to the asset.

    Args:
        spec: The default specification.
        tenant: Settings of the tenant.
        name: Name of the model, custom report or step.
        domain: What it is about.
    """
    if not tenant.translation.model_fields_set:
        return spec
    given = tenant.translation.of(name)
    changes: dict[str, Any] = {"key": dg.AssetKey(tenant.translation.key_of(tenant.slug, name))}
    if given.group_name is not None:
        changes["group_name"] = _filled(given.group_name, {"domain": domain.value, "tenant": tenant.slug})
    if given.owners is not None:
        changes["owners"] = list(given.owners)
    if given.kinds is not None:
        changes["kinds"] = set(given.kinds)
    if given.description is not None:
        changes["description"] = given.description
    if given.automation_condition is not None:
        changes["automation_condition"] = _condition(given.automation_condition, tenant.timezone)
    return spec.replace_attributes(**changes).merge_attributes(tags=given.tags, metadata=given.metadata)


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _condition(condition: Condition, timezone: str) -> dg.AutomationCondition[Any] | None:
    match condition.name:
        case "eager":
            return dg.AutomationCondition.eager()
        case "on_missing":
            return dg.AutomationCondition.on_missing()
        case "on_cron":
            return dg.AutomationCondition.on_cron(str(condition.cron), timezone)
        case _:
            return None
