"""Read mappings from `canvas_sync.yaml` and from the gem's `canvas_sync_provisioning_mapping.yml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from canvas_sync_dagster.catalogue.changes import SetCrossListing
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.catalogue.user_names import table_name
from canvas_sync_dagster.errors import SettingError

SETTINGS = ("reset", "unlink", "columns", "conflict_target", "table", "params")
"""Keys of `mappings: {model: {…}}`."""
GEM_FORM = "{conflict_target, report_columns: {header: {…}}}"


def mapping_from_file(model: str, given: object, where: str) -> MappingOverride:
    """Read one model of `mappings:`.

    Args:
        model: Name of the model.
        given: `{reset, unlink, columns: {header: name or {…}}, conflict_target, table, params}`.
        where: Place of the mapping in messages.

    Raises:
        SettingError: It is not of this form.
    """
    if not isinstance(given, Mapping):
        raise SettingError(where, "expected a mapping", allowed=f"{{{', '.join(SETTINGS)}}}")
    if unknown := sorted(set(map(str, given)) - {*SETTINGS, "report_columns"}):
        raise SettingError(f"{where}.{unknown[0]}", "unknown setting", allowed=", ".join(SETTINGS))
    mapping = MappingOverride(model, where=where)
    if given.get("reset"):
        mapping.reset_links()
    mapping.unlink_column(*_names(given.get("unlink"), f"{where}.unlink"))
    for header, link in _links(given.get("columns", given.get("report_columns")), where):
        mapping.link_column(header, link.get("database_column_name"), type=link.get("type"))
    if target := _names(given.get("conflict_target"), f"{where}.conflict_target"):
        mapping.conflict_target(*target)
    if (parameters := given.get("params")) is not None:
        if not isinstance(parameters, Mapping):
            raise SettingError(f"{where}.params", "expected a mapping", allowed="{parameter: value}")
        mapping.params(parameters)
    if (table := given.get("table")) is not None:
        mapping.table(table_name(table, f"{where}.table"))
    return mapping


def mapping_from_gem(model: str, given: object, where: str) -> MappingOverride:
    """Read one model of the gem's file, which replaces the whole mapping.

    Args:
        model: Name of the model.
        given: `{conflict_target, report_columns: {header: {database_column_name, type}}}`.
        where: Place of the mapping in messages.

    Raises:
        SettingError: It is not of the gem's form.
    """
    return mapping_from_file(model, {**_gem_mapping(given, where), "reset": True}, where)


def cross_listing_from_gem(given: object, where: str) -> MappingOverride:
    """Read `xlist` of the gem's file: which columns of sections its table of the report sets.

    Args:
        given: As for `mapping_from_gem`.
        where: Place of the mapping in messages.

    Raises:
        SettingError: It is not of the gem's form.
    """
    links = _links(_gem_mapping(given, where)["report_columns"], where)
    headers = {str(link.get("database_column_name") or header): header for header, link in links}
    return MappingOverride("sections", where=where).add(SetCrossListing(headers))


def _gem_mapping(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping) or not isinstance(given.get("report_columns"), Mapping):
        raise SettingError(where, "is not of the gem's form", allowed=GEM_FORM)
    return given


def _names(given: object, where: str) -> Sequence[str]:
    if given is None:
        return ()
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise SettingError(where, "expected a list of names", allowed="a name, or a list of names")
    return names


def _links(given: object, where: str) -> list[tuple[str, dict[str, Any]]]:
    if given is None:
        return []
    if not isinstance(given, Mapping):
        allowed = "{header: column} or {header: {database_column_name, type}}"
        raise SettingError(f"{where}.columns", "expected a mapping", allowed=allowed)
    return [(str(header), _link(link, f"{where}.{header}")) for header, link in given.items()]


def _link(given: object, where: str) -> dict[str, Any]:
    allowed = "database_column_name, type"
    if given is not None and not isinstance(given, (str, Mapping)):
        raise SettingError(where, "expected a column, or a mapping", allowed=allowed, value=given)
    link = {"database_column_name": given} if isinstance(given, str) else dict(given or {})
    if unknown := sorted(set(map(str, link)) - {"database_column_name", "type"}):
        raise SettingError(f"{where}.{unknown[0]}", "unknown setting", allowed=allowed)
    return link
