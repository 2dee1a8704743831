"""Find the `Project` of a user's code location: in a module, a Python file, a component's `defs.yaml`, or a dg project."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canvas_sync_dagster.commands.dg_project import DgProject, dg_project_above, dg_project_in
from canvas_sync_dagster.configuration.environment import read_variables
from canvas_sync_dagster.errors import CanvasSyncError, SettingError
from canvas_sync_dagster.project.builder import CanvasSync

if TYPE_CHECKING:
    import dagster as dg

    from canvas_sync_dagster.sync.project import Project

RESOURCE = "code_location"
"""Name of the resource that holds the project of definitions."""
ALLOWED = "a location with one CanvasSync, such as `sync = CanvasSync.from_environment()`, or one CanvasSyncComponent"
SUFFIXES_OF_COMPONENTS = {".yaml", ".yml"}


def project_in_module(name: str) -> Project:
    """Return the project of a module that can be imported from the working directory or its `src`.

    Raises:
        SettingError: The module cannot be imported, or does not contain exactly one project.
    """
    _search(Path.cwd(), Path.cwd() / "src")
    if ours := dg_project_in(Path.cwd()):
        _use_variables_of(ours)
    with _explained(name):
        return _one_of(_contents(importlib.import_module(name)), name)


def project_in_file(path: Path) -> Project:
    """Return the project of a Python file, a component's `defs.yaml`, or a dg project.

    Args:
        path: The file, or the directory of a dg project.

    Raises:
        SettingError: It cannot be loaded, or does not contain exactly one project.
    """
    if path.is_dir() or path.suffix == ".toml":
        found = dg_project_in(path if path.is_dir() else path.parent)
        if found is None:
            raise SettingError(
                str(path), "not a dg project", allowed="a pyproject.toml with [tool.dg.project], or its directory"
            )
        return _one_of(_loaded_project(found), str(path))
    around = dg_project_above(path)
    if path.suffix in SUFFIXES_OF_COMPONENTS:
        if around is None:
            allowed = "defs.yaml below the directory of a pyproject.toml with [tool.dg.project]"
            raise SettingError(str(path), "it is not part of a dg project", allowed=allowed)
        return _one_of(_component(around, path), str(path))
    _search(path.resolve().parent, *(around.search_path if around else ()))
    with _explained(str(path)):
        return _one_of(_contents(_python_file(path)), str(path))


def project_in_working_directory() -> Project | None:
    """Return the project of the dg project in the working directory.

    Returns:
        None if the directory is not a dg project, or its definitions contain none of ours.

    Raises:
        SettingError: Its definitions cannot be loaded, or contain several.
    """
    found = dg_project_in(Path.cwd())
    projects = _loaded_project(found) if found else []
    return _one_of(projects, str(Path.cwd())) if projects else None


def _loaded_project(found: DgProject) -> list[Project]:
    import dagster as dg  # noqa: PLC0415 (its import takes 0.6 seconds, which other locations need not wait)

    _search(*found.search_path)
    _use_variables_of(found)
    with _explained(str(found.root)):
        if found.module is None:
            return list(_of_definitions(dg.load_from_defs_folder(path_within_project=found.root)))
        return _contents(importlib.import_module(found.module))


def _component(around: DgProject, path: Path) -> list[Project]:
    import dagster as dg  # noqa: PLC0415 (as above)

    _search(*around.search_path)
    _use_variables_of(around)
    with _explained(str(path)):
        tree = dg.ComponentTree.for_project(around.root)
        return list(_of_definitions(tree.build_defs_at_path(path.resolve().parent)))


def _contents(module: Any) -> list[Project]:
    """Return the projects of a module: of its `CanvasSync`s, or else of its definitions."""
    values = list(vars(module).values())
    syncs = {id(value): value for value in values if isinstance(value, CanvasSync)}
    if syncs:
        return [sync.project() for sync in syncs.values()]
    # A module that has not imported Dagster has no definitions.
    return list(_in_definitions(values)) if "dagster" in sys.modules else []


def _in_definitions(values: list[Any]) -> Iterator[Project]:
    import dagster as dg  # noqa: PLC0415 (as above)

    # The class of a function that is decorated by `dagster.definitions`, which has no public name.
    decorated = type(dg.definitions(lambda: dg.Definitions()))  # noqa: PLW0108 (a class has other parameters)
    found: dict[int, Project] = {}
    for value in values:
        definitions = value() if type(value) is decorated else value
        if isinstance(definitions, dg.Definitions):
            found |= {id(project): project for project in _of_definitions(definitions)}
    yield from found.values()


def _of_definitions(definitions: dg.Definitions) -> Iterator[Project]:
    # Only definitions of ours have this resource, so Dagster is imported already.
    from canvas_sync_dagster.resources import LocationResource  # noqa: PLC0415

    resource = (definitions.resources or {}).get(RESOURCE)
    if isinstance(resource, LocationResource):
        yield resource.project


def _one_of(projects: list[Project], named: str) -> Project:
    if len(projects) != 1:
        problem = f"contains {len(projects)} CanvasSyncs" if projects else "contains no CanvasSync"
        raise SettingError(named, problem, allowed=ALLOWED)
    return projects[0]


def _python_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None  # noqa: S101 (importing a file that does not end in .py fails below)
    assert spec.loader is not None  # noqa: S101
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def _search(*directories: Path) -> None:
    """Let Python find modules in these directories, as `dagster` and an installed project do."""
    for directory in directories:
        if directory.is_dir() and str(directory) not in sys.path:
            sys.path.insert(0, str(directory))


def _use_variables_of(found: DgProject) -> None:
    """Set the variables of the project's `.env`, as `dg` does before it loads a `defs.yaml` with `{{ env.NAME }}`."""
    for name, value in read_variables({}, found.root).items():
        os.environ.setdefault(name, value)


@contextmanager
def _explained(named: str) -> Iterator[None]:
    """Raise what the user's code raises as an error of the configuration of this command."""
    try:
        yield
    except CanvasSyncError:
        raise
    except Exception as error:
        if ours := next((each for each in _causes(error) if isinstance(each, CanvasSyncError)), None):
            raise ours from None
        if RESOURCE in str(error):
            # Dagster merges definitions only if no name is defined twice.
            raise SettingError(named, "contains several CanvasSyncs", allowed=ALLOWED) from error
        problem = f"cannot be imported: {type(error).__name__}{_line(error)}: {error}"
        raise SettingError(named, problem, allowed="Python or YAML that can be loaded") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _line(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
