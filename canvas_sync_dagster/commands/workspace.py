"""`canvas-sync workspace`: write a workspace whose code locations share one module, and the tenants among them.

A tenant stays in its location: Dagster keeps the state of schedules and sensors, such as started or stopped, by location.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import dagster as dg
import yaml

from canvas_sync_dagster import shares
from canvas_sync_dagster.commands.dg_project import DgProject, dg_project_above, dg_project_in
from canvas_sync_dagster.commands.location import find, location_options
from canvas_sync_dagster.commands.output import say
from canvas_sync_dagster.commands.projects import project_in_working_directory
from canvas_sync_dagster.errors import CanvasSyncError, SettingError

BUILT_IN = "canvas_sync_dagster.definitions"
PREFIX = "canvas_sync_"
HEADER = """\
# Written by `canvas-sync workspace`: run it again after you add or remove a tenant. It keeps each tenant in its location,
# and other entries as they are.
"""

Shares = dict[int, list[str]]
"""Number of a location → slugs of its tenants."""


@click.command()
@click.option(
    "--tenants-per-location",
    "size",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="Number of tenants from which on a further location is added.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("workspace.yaml"),
    show_default=True,
    help="The file.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if the file does not fit the tenants.")
@location_options
def workspace(module: str | None, file: Path | None, size: int, output: Path, check: bool) -> None:
    """Write a workspace.yaml whose locations share the tenants among them."""
    settings = find(module, file, needs_tokens=False).settings
    name, directory = _module(module, file)
    slugs = [*(each.slug for each in settings.tenants), *(each.slug for each in settings.broken)]
    target = _target(name)
    old = _entries(output)
    before = shares_of(old, target)
    after = arranged(before, slugs, size)
    entries = [*(each for each in old if not _is_ours(each, target)), *_written(after, target, directory)]
    changed = entries != old
    if changed and not check:
        output.write_text(HEADER + yaml.safe_dump({"load_from": entries}, sort_keys=False, width=120), encoding="utf-8")
    for number, names in after.items():
        say(f"{PREFIX}{number}: {', '.join(names)}")
    if changed and check:
        raise CanvasSyncError(f"{output} does not fit the tenants; run `canvas-sync workspace` to update it")


def arranged(before: Mapping[int, Sequence[str]], slugs: Sequence[str], size: int) -> Shares:
    """Return the shares of the locations; a tenant that has a location stays there.

    Args:
        before: The shares as they are.
        slugs: All tenants.
        size: Number of tenants that a location may have. One that has more keeps them.
    """
    after = {number: [slug for slug in names if slug in slugs] for number, names in sorted(before.items())}
    placed = {slug for names in after.values() for slug in names}
    for slug in slugs:
        if slug not in placed:
            free = (number for number, names in after.items() if len(names) < size)
            number = next(free, max(after, default=0) + 1)
            after.setdefault(number, []).append(slug)
    return {number: names for number, names in after.items() if names}


def shares_of(entries: Sequence[Mapping[str, Any]], target: str) -> Shares:
    """Return the shares that the entries of a workspace declare for a target, `MODULE:ATTRIBUTE`."""
    found: Shares = {}
    for entry in entries:
        options = entry.get("python_module")
        if isinstance(options, Mapping) and _is_ours(entry, target) and options["module_name"] == shares.__name__:
            number = str(options.get("location_name", "")).removeprefix(PREFIX)
            slugs = str(options["attribute"]).rpartition(":")[2].split(",")
            found[int(number) if number.isdecimal() else max(found, default=0) + 1] = slugs
    return found


def _is_ours(entry: Mapping[str, Any], target: str) -> bool:
    """Return whether an entry loads tenants of the target: a share, or all of them."""
    options = entry.get("python_module")
    name = options.get("module_name") if isinstance(options, Mapping) else options
    attribute = str(options.get("attribute")) if isinstance(options, Mapping) else ""
    return name == target.partition(":")[0] or (name == shares.__name__ and attribute.startswith(f"{target}:"))


def _written(after: Shares, target: str, directory: str | None) -> list[dict[str, Any]]:
    place = {} if directory is None else {"working_directory": directory}
    return [
        {
            "python_module": {
                "module_name": shares.__name__,
                "attribute": f"{target}:{','.join(names)}",
                "location_name": f"{PREFIX}{number}",
                **place,
            }
        }
        for number, names in after.items()
    ]


def _entries(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        entries = content.get("load_from") or []
    except (yaml.YAMLError, AttributeError):
        raise SettingError(str(path), "not a workspace", allowed="a file with load_from, or none") from None
    return entries if isinstance(entries, list) else [entries]


def _module(module: str | None, file: Path | None) -> tuple[str, str | None]:
    """Return the module of the location that `find` has found, and the directory in which a code server finds it."""
    if module is not None:
        return module, None
    if file is not None and file.suffix == ".py":
        return file.stem, None if file.parent == Path() else str(file.parent)
    project = _dg_project(file)
    if project is None or (file is None and project_in_working_directory() is None):
        return BUILT_IN, None
    if project.module is None:
        allowed = "a module with the definitions instead of autoload_defs"
        raise SettingError(str(project.root), "the dg project has no module for a share", allowed=allowed)
    sources = Path(os.path.relpath(project.root)) / "src"
    return project.module, str(sources) if sources.is_dir() else None


def _dg_project(file: Path | None) -> DgProject | None:
    if file is not None and file.suffix in {".yaml", ".yml"}:
        return dg_project_above(file)
    return dg_project_in(Path.cwd() if file is None else file if file.is_dir() else file.parent)


def _target(module: str) -> str:
    """Return `MODULE:ATTRIBUTE` of the definitions in a module; `find` has made it importable."""
    if module == BUILT_IN:
        return f"{module}:defs"
    values = vars(sys.modules.get(module) or importlib.import_module(module))
    names = (
        ["defs"] if "defs" in values else [name for name, each in values.items() if isinstance(each, dg.Definitions)]
    )
    if len(names) != 1:
        problem = f"has several Definitions: {', '.join(names)}" if names else "has no Definitions"
        raise SettingError(module, problem, allowed="a module whose Definitions are called defs")
    return f"{module}:{names[0]}"
