"""The Dagster instance of a command: that of DAGSTER_HOME, or that of the working directory, as for `dagster dev`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import yaml

from canvas_sync_dagster.dagster_yaml import ALLOWED, CONTENT, NAME, instance_directory, read_settings
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.yaml_files import problem_in_yaml


def dagster_instance(home: Path) -> dg.DagsterInstance:
    """Open the instance; use it in a `with` statement, which closes it.

    Args:
        home: Home directory of the code location; logs are written below it if DAGSTER_HOME is not set.

    Raises:
        SettingError: DAGSTER_HOME is not set and the working directory has no dagster.yaml, or a value in it is wrong.
    """
    directory = instance_directory()
    if directory is None:
        problem = f"is not set, and there is no {NAME} in the working directory"
        raise SettingError("DAGSTER_HOME", problem, allowed=ALLOWED)
    with _explained(directory):
        if os.environ.get("DAGSTER_HOME"):
            return dg.DagsterInstance.get()
        logs = home / "dagster"
        logs.mkdir(parents=True, exist_ok=True)
        return dg.DagsterInstance.local_temp(str(logs.absolute()), overrides=read_settings(directory / NAME))


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Raise Dagster's errors about its configuration as a `SettingError`."""
    try:
        yield
    except (dg.DagsterInvalidConfigError, yaml.YAMLError) as error:
        problem = problem_in_yaml(error) if isinstance(error, yaml.YAMLError) else " ".join(str(error).split())
        raise SettingError(str(directory / NAME), problem, allowed=CONTENT) from None
