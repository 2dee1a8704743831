"""Configuration of a dg project: `[tool.dg.project]` in `pyproject.toml`, or `[project]` in `dg.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canvas_sync_dagster.errors import SettingError


@dataclass(frozen=True, slots=True)
class DgProject:
    """A dg project.

    Attributes:
        root: Absolute directory of its configuration.
        module: Module of its definitions; None if `autoload_defs` is set, so that its `defs` folder is loaded directly.
    """

    root: Path
    module: str | None

    @property
    def search_path(self) -> tuple[Path, ...]:
        """Directories that may contain the packages of the project if it is not installed."""
        return (self.root, self.root / "src")


def dg_project_in(directory: Path) -> DgProject | None:
    """Return the dg project of a directory; None if the directory configures none.

    Raises:
        SettingError: The configuration is no TOML, or names no module.
    """
    root = directory.resolve()
    # As in dg, a dg.toml takes precedence.
    for name, keys in (("dg.toml", ("project",)), ("pyproject.toml", ("tool", "dg", "project"))):
        if found := _table(root / name, keys):
            return DgProject(root, _module(found, root / name))
    return None


def dg_project_above(path: Path) -> DgProject | None:
    """Return the dg project that contains a file; None if there is none."""
    return next((found for parent in path.resolve().parents if (found := dg_project_in(parent))), None)


def _table(file: Path, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    try:
        found: Any = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(str(file), str(error), allowed="TOML in UTF-8") from None
    for key in keys:
        found = found.get(key, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _module(project: Mapping[str, Any], file: Path) -> str | None:
    if project.get("autoload_defs"):
        return None
    module = project.get("code_location_target_module")
    if not module and not project.get("root_module"):
        raise SettingError(str(file), "the dg project names no module", allowed='root_module = "your_package"')
    return str(module or f"{project['root_module']}.definitions")
