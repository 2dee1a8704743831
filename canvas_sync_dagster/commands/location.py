"""The code location of a command: the built-in one, or the user's by `-m` or `-f`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.commands.output import say
from canvas_sync_dagster.commands.projects import project_in_file, project_in_module, project_in_working_directory
from canvas_sync_dagster.configuration.environment import contradicted
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
        "-m", "module", help="Module that contains your CanvasSync, or Definitions that include one or a component."
    )
    file = click.option(
        "-f",
        "file",
        type=click.Path(exists=True, path_type=Path),
        help="Python file that contains them, defs.yaml of a component, or directory or pyproject.toml of a dg project.",
    )
    return module(file(command))


def located(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options `-m` and `-f`, and the location as its first argument."""

    @location_options
    @functools.wraps(command)
    def wrapped(module: str | None, file: Path | None, **options: Any) -> Any:
        return command(find(module, file), **options)

    return wrapped


def contradiction(names: Sequence[str]) -> str:
    """Return the sentence about variables that differ between the environment and `.env`; it shows no value."""
    return (
        f"{', '.join(names)} {'differs' if len(names) == 1 else 'differ'} between the environment and .env: `canvas-sync` "
        "uses the environment, `dagster` commands use .env"
    )


def find(module: str | None, file: Path | None, *, needs_tokens: bool = True) -> Location:
    """Find the code location of a command.

    `-m` and `-f` name it. Without them it is the dg project of the working directory, if that contains a `CanvasSync` or a
    `CanvasSyncComponent`, and otherwise the built-in location.

    Args:
        module: Module of the location.
        file: Python file, `defs.yaml`, or directory or configuration file of a dg project, in place of a module.
        needs_tokens: Whether a variable that `canvas_sync.yaml` names for a token must be set. A user's location reads its
            settings itself.

    Raises:
        SettingError: A setting is wrong, both a module and a file are given, or the location cannot be loaded or does not
            contain exactly one `CanvasSync`.
    """
    if names := contradicted(os.environ, Path.cwd()):
        say(f"warning: {contradiction(names)}", err=True)
    if module is not None and file is not None:
        raise SettingError("-m and -f", "exclude each other", allowed="one of them")
    if module is not None:
        return Location(project_in_module(module))
    if file is not None:
        return Location(project_in_file(file))
    project = project_in_working_directory()
    return Location(project or CanvasSync(Settings.from_environment(needs_tokens=needs_tokens)).project())
