"""References to environment variables, `${NAME}`, in the values of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from canvas_sync_dagster.errors import SettingError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def interpolated(value: object, variables: Mapping[str, str], where: str) -> Any:
    """Return a value of a file with each `${NAME}` replaced, at any depth of mappings and lists.

    Args:
        value: A value that YAML can express.
        variables: Environment variables.
        where: File and keys that lead to the value, for messages.

    Raises:
        SettingError: A variable is not set.
    """
    if isinstance(value, dict):
        return {key: interpolated(each, variables, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, variables, where) for each in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[1] not in variables:
            problem = f"the environment variable {match[1]} is not set"
            raise SettingError(where, problem, allowed="a variable that is set")
        return variables[match[1]]

    return VARIABLE.sub(variable, value)


def without_unset_tokens(content: dict[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a file without alerts, and without the tokens of tenants whose variables are not set."""
    content = {name: value for name, value in content.items() if name != "alerts"}
    tenants = content.get("tenants")
    if not isinstance(tenants, dict):
        return content
    return {**content, "tenants": {slug: _without_unset_token(each, variables) for slug, each in tenants.items()}}


def _without_unset_token(tenant: object, variables: Mapping[str, str]) -> object:
    if not isinstance(tenant, dict):
        return tenant
    unset = set(VARIABLE.findall(str(tenant.get("token", "")))) - variables.keys()
    left_out = {"alerts", "token"} if unset else {"alerts"}
    return {name: value for name, value in tenant.items() if name not in left_out}
