"""Environment variables, with those of `.env` below them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

PREFIX = "CANVAS_SYNC_"


def read_variables(environ: Mapping[str, str] | None, directory: Path) -> dict[str, str]:
    """Return the variables of `.env` and of the environment, which takes precedence.

    Args:
        environ: Environment variables; `os.environ` by default.
        directory: Directory of `.env`.
    """
    in_file = {name: value for name, value in dotenv_values(directory / ".env").items() if value is not None}
    return in_file | dict(os.environ if environ is None else environ)


def contradicted(environ: Mapping[str, str], directory: Path) -> tuple[str, ...]:
    """Return the names of our variables that have another value in `.env` than in the environment, sorted.

    The environment counts here. Dagster's own commands (`dagster dev`, `dagster asset materialize` and others) set what
    `.env` in the working directory contains, before they load a code location: for them `.env` counts.

    Args:
        environ: Environment variables.
        directory: Directory of `.env`.
    """
    in_file = dotenv_values(directory / ".env")
    return tuple(
        sorted(
            name
            for name, value in in_file.items()
            if name.startswith(PREFIX) and value is not None and environ.get(name, value) != value
        )
    )


def value_of(variables: Mapping[str, str], name: str) -> str | None:
    """Return a variable; None if it is unset or blank, because compose files and CI systems pass unset ones as empty."""
    text = variables.get(name, "")
    return text if text.strip() else None


def home_directory(variables: Mapping[str, str], directory: Path) -> Path:
    """Return the absolute `CANVAS_SYNC_HOME`; a relative path is resolved against the given directory."""
    return (directory / Path(variables.get(f"{PREFIX}HOME") or ".canvas_sync").expanduser()).resolve()
