"""`canvas_sync.yaml` and the gem's mapping file: their keys, tenants and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.mapping_files import cross_listing_from_gem, mapping_from_file, mapping_from_gem
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.configuration.environment import PREFIX
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.yaml_files import read_yaml

FILE = "canvas_sync.yaml"
KEYS = ("alerts", "legacy_ids", "mappings", "tenants")
GEM_FILE = "canvas_sync_provisioning_mapping.yml"


def configuration_file(variables: Mapping[str, str], directory: Path) -> Path:
    """Return the path of the file that `CANVAS_SYNC_CONFIG` names, or of `canvas_sync.yaml`, which need not exist.

    Raises:
        SettingError: `CANVAS_SYNC_CONFIG` names a file that does not exist.
    """
    path = variables.get(f"{PREFIX}CONFIG")
    if path and not (directory / path).is_file():
        raise SettingError(f"{PREFIX}CONFIG", "file not found", allowed="the path of a YAML file", value=path)
    return directory / (path or FILE)


def directory_for(file: Path) -> Path:
    """Return the directory of `.env` and of a relative home for a file that code names, such as `definitions.py`.

    A file in a Python package may be installed in `site-packages`, where neither can be kept.

    Args:
        file: The absolute path of the file.

    Returns:
        The file's directory; for a file in a package, the nearest directory above it with a `pyproject.toml`, or else the
        working directory.
    """

    def holds(directory: Path, name: str) -> bool:
        return (directory / name).is_file()

    if not holds(file.parent, "__init__.py"):
        return file.parent
    above = (each for each in file.parents if not holds(each, "__init__.py"))  # An installed package has a copy of it.
    return next((each for each in above if holds(each, "pyproject.toml")), Path.cwd())


def read_content(file: Path) -> dict[str, Any]:
    """Return the content of the file, with known keys only; empty if the file does not exist.

    Raises:
        SettingError: The file is not readable, not a mapping, or has an unknown key.
    """
    if not file.is_file():
        return {}
    content = _read_mapping(file, allowed=f"the keys {', '.join(KEYS)}")
    if unknown := sorted(set(map(str, content)) - set(KEYS)):
        raise SettingError(f"{file.name}: {unknown[0]}", "unknown setting", allowed=", ".join(KEYS))
    return content


def tenants_in(content: Mapping[str, Any], file: Path) -> dict[str, object]:
    """Return slug → unvalidated settings; empty if neither a file nor content configures tenants.

    Raises:
        SettingError: `tenants` is missing in an empty file, not a mapping, or empty.
    """
    tenants = content.get("tenants")
    if tenants is None and (not file.is_file() or content):
        return {}
    if not isinstance(tenants, dict) or not tenants:
        raise SettingError(file.name, "no tenants are configured", allowed="tenants: {slug: {base_url: …, token: …}}")
    return {str(slug): values for slug, values in tenants.items()}


def legacy_ids_in(content: Mapping[str, Any], where: str) -> bool:
    """Return `legacy_ids`; false by default.

    Raises:
        SettingError: The value is not a boolean.
    """
    value = content.get("legacy_ids", False)
    if not isinstance(value, bool):
        raise SettingError(f"{where}: legacy_ids", "wrong value", allowed="true or false", value=value)
    return value


def mappings_in(content: Mapping[str, Any], where: str) -> list[MappingOverride]:
    """Return the mappings of the file.

    Raises:
        SettingError: A model is unknown, or a mapping is invalid.
    """
    given = content.get("mappings") or {}
    if not isinstance(given, dict):
        raise SettingError(f"{where}: mappings", "expected a mapping", allowed="mappings: {model: {columns: {…}}}")
    return [mapping_from_file(_model(name, where), each, f"{where}: mappings.{name}") for name, each in given.items()]


def gem_mappings(directory: Path) -> list[MappingOverride]:
    """Return the mappings of the gem's file, if the directory or its `config/` contains one.

    Raises:
        SettingError: The file is not readable, a model is unknown, or a mapping is invalid.
    """
    for file in (directory / GEM_FILE, directory / "config" / GEM_FILE):
        if file.is_file():
            content = _read_mapping(file, allowed="{model: {conflict_target, report_columns}}")
            return [_gem_mapping(name, each, file.name) for name, each in content.items()]
    return []


def _gem_mapping(name: object, content: Any, where: str) -> MappingOverride:
    if name == "xlist":
        return cross_listing_from_gem(content, f"{where}: {name}")
    return mapping_from_gem(_model(name, where), content, f"{where}: {name}")


def _read_mapping(file: Path, *, allowed: str) -> dict[Any, Any]:
    content = read_yaml(file, setting=file.name, allowed="a YAML file")
    if not isinstance(content, dict):
        raise SettingError(file.name, "expected a mapping", allowed=allowed)
    return content


def _model(name: object, where: str) -> str:
    known = [model.name for model in BUILT_IN]
    if name not in known:
        raise SettingError(f"{where}: {name}", "unknown model", allowed=", ".join(known))
    return str(name)
