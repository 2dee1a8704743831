"""The one source of `dagster.yaml`: the file next to this module, with the reason for each value.

The file at the root of the repository is a copy of it (`docs/generate.py`); `canvas-sync init` and the demo write it; the
values for Dagster's chart are compared with it (`tests/test_deploy.py`); `canvas-sync doctor` takes its remedies from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from canvas_sync_dagster.errors import SettingError

NAME = "dagster.yaml"
ALLOWED = "the directory that contains your dagster.yaml"
CONTENT = "the configuration of a Dagster instance"
SOURCE = Path(__file__).with_name(NAME)


def instance_file() -> str:
    """Return the text of a `dagster.yaml`, with comments."""
    return SOURCE.read_text(encoding="utf-8")


def instance_settings() -> dict[str, Any]:
    """Return the content of that file."""
    settings: dict[str, Any] = yaml.safe_load(instance_file())
    return settings


def instance_directory() -> Path | None:
    """Return the directory whose `dagster.yaml` configures the instance of a command; None if there is none.

    Raises:
        SettingError: DAGSTER_HOME is not a directory.
    """
    if named := os.environ.get("DAGSTER_HOME"):
        if not Path(named).is_absolute() or not Path(named).is_dir():
            raise SettingError(
                "DAGSTER_HOME", "not the absolute path of an existing directory", allowed=ALLOWED, value=named
            )
        return Path(named)
    return Path.cwd() if Path(NAME).is_file() else None


def read_settings(file: Path) -> dict[str, Any]:
    """Read the settings of an instance.

    Raises:
        SettingError: The file is not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise SettingError(str(file.absolute()), " ".join(str(error).split()), allowed=CONTENT) from None
    if not isinstance(content, dict):
        raise SettingError(str(file.absolute()), "expected a mapping", allowed=CONTENT)
    return content


def setting(settings: Mapping[str, Any], path: str) -> Any:
    """Return a value of an instance's settings.

    Args:
        settings: Content of a `dagster.yaml`.
        path: Keys, separated by dots: `run_monitoring.enabled`.

    Returns:
        The value; None if a key is missing.
    """
    value: Any = settings
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
