"""Messages about wrong values: the setting as the user wrote it, the value unless it is secret, and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from canvas_sync_dagster.alert_settings import AlertSettings, EmailAlerts
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.tenants import Genre, TenantSettings
from canvas_sync_dagster.translation_settings import NamedAttributes, Translation

SECRETS = {"token", "hash_key", "database_url", "genres", "alerts"}
"""Settings whose values are not shown; genres and alerts are mappings in which a user may have put a secret."""
NESTED: Mapping[str, type[BaseModel]] = {"alerts": AlertSettings, "email": EmailAlerts}
"""Setting → declaration of the settings in it."""
HARMLESS_URL = re.compile(r"[A-Za-z0-9.:/_-]*")
"""A base URL that may be shown: no user, no query, and no `~`, which every Canvas token contains."""


def problem_in(details: ErrorDetails) -> str:
    """Return what pydantic objects to. Its own message repeats the input, which may be a secret; this one does not."""
    if details["type"] in {"model_type", "mapping_type", "dict_type"}:
        # pydantic's own message names our classes.
        return "expected a mapping"
    if details["type"] in {"tuple_type", "list_type"}:
        return "expected a list"
    return str(details["msg"]).removeprefix("Value error, ")


def written_place(details: ErrorDetails) -> tuple[str, ...]:
    """Return the keys that lead to a wrong value, without levels that the user did not write, such as list indexes."""
    if details["loc"][0] == "alerts":
        return tuple(each for each in details["loc"] if isinstance(each, str))
    location = tuple(map(str, details["loc"]))
    if location[0] == "translation":
        return location[: 4 if location[1:2] == ("assets",) else 2]
    return location[: 3 if location[0] == "genres" else 1]


def tenant_error(setting: str, place: Sequence[str], given: Mapping[str, object], problem: str) -> SettingError:
    """Return the error of a wrong setting of a tenant.

    Args:
        setting: Name as the user wrote it: a variable, or a file and keys.
        place: Keys that lead to it from the tenant, as `written_place` returns them.
        given: Unvalidated settings of the tenant.
        problem: What is wrong.
    """
    name = place[-1]
    field, known = _field(place)
    if field is None:
        return SettingError(setting, "unknown setting", allowed=", ".join(known))
    value = None if name in SECRETS or place[0] == "alerts" else _value(given, place)
    if place[0] == "translation" and isinstance(value, Mapping):
        value = None
    if name == "base_url" and not HARMLESS_URL.fullmatch(str(value)):
        value = None
    return SettingError(setting, problem, allowed=field.description or "", value=value)


def translation_error(where: str, details: ErrorDetails, given: Mapping[str, object]) -> SettingError:
    """Return the error of a wrong attribute in a translation that belongs to no single tenant.

    Args:
        where: Place of the translation, for messages.
        details: What pydantic objects to.
        given: The unvalidated translation.
    """
    located: ErrorDetails = {**details, "loc": ("translation", *details["loc"])}
    place = written_place(located)
    return tenant_error(".".join([where, *place[1:]]), place, {"translation": given}, problem_in(details))


def _field(place: Sequence[str]) -> tuple[FieldInfo | None, Iterable[str]]:
    """Return the declaration of a setting, and the names that are known where it is."""
    if place[0] == "genres" and len(place) == 2:
        return TenantSettings.model_fields["genres"], ()
    if place[0] == "translation" and len(place) > 1:
        return _field_of_translation(place[1:])
    declared = _by_written_name(Genre if len(place) > 2 and place[0] == "genres" else TenantSettings)
    for name in place[:-1] if place[0] == "alerts" else ():
        declared = _by_written_name(NESTED[name])
    return declared.get(place[-1]), declared


def _field_of_translation(place: Sequence[str]) -> tuple[FieldInfo | None, Iterable[str]]:
    if len(place) == 2:
        return Translation.model_fields["assets"], ()
    declared = _by_written_name(NamedAttributes if len(place) > 2 else Translation)
    return declared.get(place[-1]), declared


def _by_written_name(settings: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in settings.model_fields.items()}


def _value(given: object, place: Sequence[str]) -> object:
    for key in place:
        given = given.get(key) if isinstance(given, Mapping) else None
    return given
