"""Settings of tenants: the environment over the file, each tenant by itself, so that one wrong value affects one tenant."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from canvas_sync_dagster.alert_settings import AlertSettings, joined
from canvas_sync_dagster.configuration.environment import PREFIX, value_of
from canvas_sync_dagster.configuration.interpolation import interpolated
from canvas_sync_dagster.configuration.setting_errors import problem_in, tenant_error, written_place
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.postgres_url import place_of
from canvas_sync_dagster.tenants import BrokenTenant, TenantSettings

CONNECTION = {"base_url", "token", "account_id", "token_expires_at", "root_account_uuid", "shard", "database_url"}
"""Settings of one Canvas. With several tenants in the file, the environment sets them only for the tenant that
`CANVAS_SYNC_TENANT` names, so that a token is never sent to another school's Canvas."""
FILE_ONLY = {"slug", "schema_name", "genres", "params", "translation", "alerts"}
"""Settings without an environment variable of their own; that of the slug is `CANVAS_SYNC_TENANT`."""
MAPPINGS = {"feeds", "unknown_columns"}
"""Settings whose variable may contain a JSON object."""

Place = tuple[str | None, str]
"""Host, port and database of a tenant, None for the embedded PostgreSQL; and the schema."""


def read_tenants(
    given: Mapping[str, object], variables: Mapping[str, str], file: Path, alerts: object = None
) -> tuple[tuple[TenantSettings, ...], tuple[BrokenTenant, ...]]:
    """Validate each tenant.

    Args:
        given: Slug → unvalidated settings in the file; empty if the environment configures the only tenant.
        variables: Environment variables.
        file: The file, for messages.
        alerts: Unvalidated alerts of the location, which a tenant's own replace field by field; None if there are none.

    Returns:
        Valid tenants, and tenants with a wrong value.

    Raises:
        SettingError: No tenant is valid; the error is that of the first.
    """
    default = _default_alerts(alerts, variables, file)
    named = variables.get(f"{PREFIX}TENANT") or (next(iter(given)) if len(given) == 1 else "canvas")
    alone = not given or set(given) == {named}
    tenants: list[TenantSettings] = []
    broken: list[BrokenTenant] = []
    taken: dict[Place, str] = {}
    for slug, values in (given or {named: {}}).items():
        try:
            tenant = _read_tenant(slug, values, variables, file, default, connection=alone or slug == named)
            refuse_shared_schema(tenant, taken, f"{file.name}: tenants.{slug}")
            tenants.append(tenant)
        except SettingError as error:
            broken.append(BrokenTenant(slug, error))
    if broken and not tenants:
        raise broken[0].error
    return tuple(tenants), tuple(broken)


def tenant_given_in_python(given: object) -> TenantSettings:
    """Validate a tenant that Python code passes as a mapping.

    Raises:
        SettingError: It is not a mapping, or a value is wrong.
    """
    if isinstance(given, TenantSettings):
        return given
    if not isinstance(given, Mapping):
        allowed = "TenantSettings, or a mapping with the same names"
        raise SettingError("tenants", "not a tenant", allowed=allowed, value=type(given).__name__)
    return _validated(str(given.get("slug", "canvas")), given, {}, Path("CanvasSync"))


def refuse_shared_schema(tenant: TenantSettings, taken: dict[Place, str], where: str) -> None:
    """Refuse a tenant that shares tables with another one: each would regard the other's rows as missing.

    Args:
        tenant: The tenant.
        taken: Database and schema → slug, of the tenants before it; the tenant is added.
        where: Place of the tenant's settings, for messages.

    Raises:
        SettingError: Two tenants have the same slug, or the same schema of the same database.
    """
    if tenant.slug in taken.values():
        raise SettingError(where, "two tenants have this slug", allowed="a different slug for each tenant")
    schema = tenant.schema_in_database
    other = taken.setdefault((_server(tenant), schema), tenant.slug)
    if other != tenant.slug:
        problem = f"tenant {other} uses this schema in the same database"
        raise SettingError(
            f"{where}.schema", problem, allowed="a different schema or a different database", value=schema
        )


def _server(tenant: TenantSettings) -> str | None:
    """Return host, port and database of a tenant, without the user; None for the embedded PostgreSQL."""
    if tenant.database_url is None:
        return None
    return " ".join(place_of(tenant.database_url.get_secret_value()))


def _read_tenant(
    slug: str, values: object, variables: Mapping[str, str], file: Path, alerts: object, *, connection: bool
) -> TenantSettings:
    where = f"{file.name}: tenants.{slug}"
    if not isinstance(values, dict):
        raise SettingError(where, "expected a mapping", allowed="base_url, token and other settings, with their values")
    if not connection and "database_url" not in values and value_of(variables, f"{PREFIX}DATABASE_URL"):
        # Otherwise a second tenant in the file would move the tables of the first to the embedded PostgreSQL.
        problem = f"not set, and with several tenants {PREFIX}DATABASE_URL is used only for the tenant that {PREFIX}TENANT names"
        allowed = f"${{{PREFIX}DATABASE_URL}} for the database of that variable, another URL, or null for the embedded PostgreSQL"
        raise SettingError(f"{where}.database_url", problem, allowed=allowed)
    overrides = _overrides(variables, connection=connection)
    own = interpolated(values, variables, where)
    if alerts is not None:
        own = {**own, "alerts": joined(alerts, own.get("alerts"))}
    return _validated(slug, own, overrides, file)


def _default_alerts(given: object, variables: Mapping[str, str], file: Path) -> object:
    """Return the alerts of the location, with the values of variables.

    Raises:
        SettingError: A value is wrong.
    """
    if given is None:
        return None
    found = interpolated(given, variables, f"{file.name}: alerts")
    try:
        AlertSettings.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = written_place({**first, "loc": ("alerts", *first["loc"])})
        raise tenant_error(f"{file.name}: {'.'.join(place)}", place, {}, problem_in(first)) from None
    return found


def _overrides(variables: Mapping[str, str], *, connection: bool) -> dict[str, object]:
    """Return the settings that the environment gives to a tenant, by name."""
    names = set(TenantSettings.model_fields) - FILE_ONLY - (set() if connection else CONNECTION)
    values = {name: value_of(variables, PREFIX + name.upper()) for name in names}
    return {name: _parsed(name, value) for name, value in values.items() if value is not None}


def _parsed(name: str, text: str) -> object:
    """Return the value of a variable; text that is no JSON is left to the validation of the setting."""
    if name in MAPPINGS and text.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return text


def _validated(slug: str, values: Mapping[str, Any], overrides: Mapping[str, object], file: Path) -> TenantSettings:
    given = {**values, **overrides, "slug": slug}
    try:
        return TenantSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = written_place(first)
        is_slug = place == ("slug",)
        variable = PREFIX + ("TENANT" if is_slug else place[0].upper())
        in_environment = place[0] in overrides or (is_slug and not file.is_file())
        setting = variable if in_environment else f"{file.name}: tenants.{slug}.{'.'.join(place)}"
        raise tenant_error(setting, place, given, problem_in(first)) from None
