"""The one source of `dagster.yaml`: the file next to this module, with the reason for each value.

The file at the root of the repository is a copy of it (`docs/generate.py`); `canvas-sync init` and the demo write it; the
values for Dagster's chart are compared with it (`tests/test_deploy.py`); `canvas-sync doctor` takes its remedies from it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.yaml_files import read_yaml

NAME = "dagster.yaml"
ALLOWED = "the directory that contains your dagster.yaml"
CONTENT = "the configuration of a Dagster instance"
SOURCE = Path(__file__).with_name(NAME)


def instance_file(*, storage: bool = True) -> str:
    """Return the text of a `dagster.yaml`, with comments.

    Args:
        storage: Whether it configures our storage; otherwise Dagster's default remains.
    """
    text = SOURCE.read_text(encoding="utf-8")
    return text if storage else re.sub(r"^storage:\n(?: .*\n)+\n", "", text, flags=re.MULTILINE)


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
    content = read_yaml(file, setting=str(file.absolute()), allowed=CONTENT)
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


@dataclass(frozen=True, slots=True)
class Need:
    """A setting that the sync needs.

    Attributes:
        path: Its keys, separated by dots.
        otherwise: What happens without it.
        exact: Whether only our value does; otherwise any value will do.
    """

    path: str
    otherwise: str
    exact: bool = False

    def met(self, settings: Mapping[str, Any]) -> bool:
        """Return whether settings contain it. A value that the environment gives (`env: NAME`) counts."""
        value = setting(settings, self.path)
        return value == self.value if self.exact else value is not None

    @property
    def value(self) -> Any:
        """Our value."""
        return setting(instance_settings(), self.path)


NEEDS = (
    Need("concurrency.pools.default_limit", "the number of simultaneous reports of one Canvas has no limit"),
    Need("run_monitoring.enabled", "a run whose process died counts as running for ever", exact=True),
    Need("run_monitoring.free_slots_after_run_end_seconds", "a killed run keeps its slot of a pool for ever"),
    Need("run_retries.enabled", "a run whose process died is not started again", exact=True),
    Need(
        "run_retries.retry_on_asset_or_op_failure",
        "a sync that failed for a reason is repeated, although its requests and reports were already retried",
        exact=True,
    ),
    Need("sensors.use_threads", "a slow sensor delays all others", exact=True),
    Need("retention.sensor.purge_after_days", "the ticks of sensors are kept for ever"),
)


def unmet(settings: Mapping[str, Any]) -> list[Need]:
    """Return what the sync needs and an instance does not have."""
    return [need for need in NEEDS if not need.met(settings)]


def flow(value: Any) -> str:
    """Return a value as one line of YAML."""
    if value is None:
        return "not set"
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).removesuffix("...\n").strip()
