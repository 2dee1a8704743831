"""The code location of a command: the built-in one, or the user's by `-m` or `-f`."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import CanvasSyncError, MisconfiguredError, SettingError
from canvas_sync_dagster.project.builder import CanvasSync
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.tenants import TenantSettings


@dataclass(frozen=True, slots=True)
class Location:
    """The code location of a command.

    Attributes:
        project: Project of the location.
    """

    project: Project

    @property
    def settings(self) -> Settings:
        """Settings with the tenants."""
        return self.project.settings

    @property
    def models(self) -> tuple[Model, ...]:
        """All models, with their mappings."""
        return self.project.models

    @property
    def extensions(self) -> Extensions:
        """The user's functions."""
        return self.project.extensions

    def tenants(self, slug: str | None) -> list[TenantSettings]:
        """Return the tenant with this slug, or all tenants.

        Raises:
            SettingError: The tenant does not exist.
        """
        return [self.settings.tenant(slug)] if slug else list(self.settings.tenants)

    def models_of(self, tenant: TenantSettings) -> tuple[Model, ...]:
        """Return the models that a tenant syncs; commands ignore all other tables."""
        return self.project.models_of(tenant)

    def each(self, slug: str | None, work: Callable[[TenantSettings], None]) -> None:
        """Call a function for the tenant with this slug, or for all; an error of one tenant does not stop the others.

        Raises:
            CanvasSyncError: The function failed; for several tenants the message names those that failed.
        """
        tenants = self.tenants(slug)
        broken = () if slug else self.settings.broken
        if len(tenants) == 1 and not broken:
            work(tenants[0])
            return
        errors = {each.slug: each.error for each in broken} | dict(_errors(tenants, work))
        if errors:
            ours = all(isinstance(error, MisconfiguredError) for error in errors.values())
            kind = MisconfiguredError if ours else CanvasSyncError
            raise kind("\n".join(f"tenant {name}: {error}" for name, error in errors.items()))


def _errors(
    tenants: list[TenantSettings], work: Callable[[TenantSettings], None]
) -> Iterator[tuple[str, CanvasSyncError]]:
    for tenant in tenants:
        try:
            work(tenant)
        except CanvasSyncError as error:
            yield tenant.slug, error


def location_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options `-m` and `-f`, as `module` and `file`."""
    module = click.option(
        "-m", "module", help="Module that contains your CanvasSync, instead of the built-in code location."
    )
    file = click.option(
        "-f",
        "file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Python file that contains your CanvasSync.",
    )
    return module(file(command))


def located(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options `-m` and `-f`, and the location as its first argument."""

    @location_options
    @functools.wraps(command)
    def wrapped(module: str | None, file: Path | None, **options: Any) -> Any:
        return command(find(module, file), **options)

    return wrapped


def find(module: str | None, file: Path | None, *, needs_tokens: bool = True) -> Location:
    """Find a code location.

    Args:
        module: The user's module; the built-in location if neither a module nor a file is given.
        file: The user's file, in place of a module.
        needs_tokens: Whether a variable that `canvas_sync.yaml` names for a token must be set. A user's location reads its
            settings itself.

    Raises:
        SettingError: A setting is wrong, or the module has no `CanvasSync`.
    """
    if module is None and file is None:
        return Location(CanvasSync(Settings.from_environment(needs_tokens=needs_tokens)).project())
    loaded = _loaded(module, file)
    found = {name: value for name, value in vars(loaded).items() if isinstance(value, CanvasSync)}
    if len(set(map(id, found.values()))) != 1:
        problem = "contains no CanvasSync" if not found else f"contains several: {', '.join(found)}"
        raise SettingError(
            module or str(file), problem, allowed="a module with one CanvasSync, e.g. `sync = CanvasSync…`"
        )
    return Location(next(iter(found.values())).project())


def _loaded(module: str | None, file: Path | None) -> Any:
    try:
        if file is None:
            sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(str(module))
        spec = importlib.util.spec_from_file_location(file.stem, file.resolve())
        assert spec is not None  # noqa: S101 (importing a file that does not end in .py fails below)
        assert spec.loader is not None  # noqa: S101
        sys.path.insert(0, str(file.resolve().parent))
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = loaded
        spec.loader.exec_module(loaded)
    except CanvasSyncError:
        raise
    except Exception as error:
        # Any exception of the user's module is an error in the configuration of this command.
        problem = f"cannot be imported: {type(error).__name__}{_line(error)}: {error}"
        raise SettingError(module or str(file), problem, allowed="a Python module that can be imported") from error
    return loaded


def _line(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
