"""The Dagster instance that a command works on: that of DAGSTER_HOME, or that of the working directory, as for `dagster dev`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef

from canvas_sync_dagster.errors import SettingError

CONFIGURATION = "dagster.yaml"
ALLOWED = "the directory that holds your dagster.yaml"


def dagster_instance(home: Path) -> dg.DagsterInstance:
    """Opens the instance; leaving a `with` closes it.

    Args:
        home: Of the code location; takes logs where DAGSTER_HOME is not set.

    Raises:
        SettingError: There is neither DAGSTER_HOME nor a dagster.yaml here.
    """
    if named := os.environ.get("DAGSTER_HOME"):
        if not Path(named).is_absolute() or not Path(named).is_dir():
            raise SettingError(
                "DAGSTER_HOME", "this is not an absolute path of a directory", allowed=ALLOWED, value=named
            )
        with _explained(Path(named)):
            return dg.DagsterInstance.get()
    if not Path(CONFIGURATION).is_file():
        problem = f"is not set, and there is no {CONFIGURATION} in the working directory"
        raise SettingError("DAGSTER_HOME", problem, allowed=ALLOWED)
    logs = home / "dagster"
    logs.mkdir(parents=True, exist_ok=True)
    with _explained(Path.cwd()):
        return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(logs.absolute()), config_dir=str(Path.cwd())))


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn Dagster's complaints about its configuration into ours."""
    try:
        yield
    except (dg.DagsterInvalidConfigError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise SettingError(
            str(directory / CONFIGURATION), problem, allowed="the configuration of a Dagster instance"
        ) from None
