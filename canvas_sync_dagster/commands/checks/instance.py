"""Checks of the instance's `dagster.yaml`: the settings without which a sync works worse than it could."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from canvas_sync_dagster.commands.checks.finding import Finding, note, ok, run_checks
from canvas_sync_dagster.dagster_yaml import NAME, instance_directory, instance_settings, read_settings, setting


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
        return value == setting(instance_settings(), self.path) if self.exact else value is not None


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


def run() -> Iterator[Finding]:
    """Run all checks of this subject."""
    return run_checks(CHECKS)


def configured() -> Iterator[Finding]:
    """Dagster's own defaults neither limit reports nor free the slots of killed runs."""
    directory = instance_directory()
    if directory is None:
        yield note(
            f"DAGSTER_HOME is not set, and there is no {NAME} in the working directory, so it is not checked",
            f"Run `canvas-sync doctor` where Dagster finds its {NAME}",
        )
        return
    file = directory / NAME
    unmet = unmet_needs(file, read_settings(file) if file.is_file() else {})
    yield from unmet or [ok(f"{file} has the settings that the sync needs")]


def unmet_needs(file: Path, settings: Mapping[str, Any]) -> list[Finding]:
    """Return a note for each setting that the sync needs and that an instance does not have."""
    return [
        note(
            f"{file}: {need.path} is {_flow(setting(settings, need.path))}: {need.otherwise}",
            f"Set it to {_flow(setting(instance_settings(), need.path))}",
        )
        for need in NEEDS
        if not need.met(settings)
    ]


def _flow(value: Any) -> str:
    """Return a value as one line of YAML."""
    if value is None:
        return "not set"
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).removesuffix("...\n").strip()


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (configured,)
"""They are about the instance, which all tenants share. Add further checks here."""
