"""Checks of the instance's `dagster.yaml`: the settings without which a sync works worse than it could."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from canvas_sync_dagster.commands.checks.finding import Finding, note, ok, run_checks
from canvas_sync_dagster.dagster_yaml import NAME, flow, instance_directory, read_settings, setting, unmet


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
            f"{file}: {need.path} is {flow(setting(settings, need.path))}: {need.otherwise}",
            f"Set it to {flow(need.value)}",
        )
        for need in unmet(settings)
    ]


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (configured,)
"""They are about the instance, which all tenants share. Add further checks here."""
