"""The Dagster instance of a command: that of DAGSTER_HOME, or that of the working directory, as for `dagster dev`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from canvas_sync_dagster.errors import SettingError

CONFIGURATION = "dagster.yaml"
ALLOWED = "the directory that contains your dagster.yaml"


def dagster_instance(home: Path) -> dg.DagsterInstance:
    """Open the instance; use it in a `with` statement, which closes it.

    Args:
        home: Home directory of the code location; logs are written below it if DAGSTER_HOME is not set.

    Raises:
        SettingError: DAGSTER_HOME is not set and the working directory has no dagster.yaml, or a value in it is wrong.
    """
    if named := os.environ.get("DAGSTER_HOME"):
        if not Path(named).is_absolute() or not Path(named).is_dir():
            raise SettingError(
                "DAGSTER_HOME", "not the absolute path of an existing directory", allowed=ALLOWED, value=named
            )
        with _explained(Path(named)):
            return dg.DagsterInstance.get()
    if not Path(CONFIGURATION).is_file():
        problem = f"is not set, and there is no {CONFIGURATION} in the working directory"
        raise SettingError("DAGSTER_HOME", problem, allowed=ALLOWED)
    logs = home / "dagster"
    logs.mkdir(parents=True, exist_ok=True)
    with _explained(Path.cwd()):
        return dg.DagsterInstance.local_temp(str(logs.absolute()), overrides=_content(Path(CONFIGURATION)))


def _content(file: Path) -> dict[str, Any]:
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if not isinstance(content, dict):
        raise SettingError(
            str(file.absolute()), "expected a mapping", allowed="the configuration of a Dagster instance"
        )
    return content


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Raise Dagster's errors about its configuration as a `SettingError`."""
    try:
        yield
    except (dg.DagsterInvalidConfigError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise SettingError(
            str(directory / CONFIGURATION), problem, allowed="the configuration of a Dagster instance"
        ) from None
