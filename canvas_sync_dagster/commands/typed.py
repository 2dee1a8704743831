"""How a person types the commands of this environment, for hints that can be pasted into a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path


def typed(
    command: str,
    *,
    directory: Path | None = None,
    prefix: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Return a command as it can be typed: by its name if the shell finds it, otherwise by `./run` or its path.

    Args:
        command: The command with its arguments, such as `canvas-sync doctor`.
        directory: Where it will be typed; the working directory by default.
        prefix: The virtual environment; that of this process by default.
        environ: Environment of the person's shell; that of this process by default.
    """
    environ = os.environ if environ is None else environ
    prefix = Path(sys.prefix) if prefix is None else prefix
    directory = Path.cwd() if directory is None else directory
    checkout = prefix.parent
    if environ.get("VIRTUAL_ENV") == str(prefix):
        return command
    # `./run` puts its environment on the PATH of its command only.
    if prefix.name == ".venv" and (checkout / "run").is_file():
        run = "./run" if directory.resolve() == checkout.resolve() else shlex.quote(str(checkout / "run"))
        return f"{run} {command}"
    name = command.split(maxsplit=1)[0]
    found = shutil.which(name, path=environ.get("PATH", ""))
    if found is None and (prefix / "bin" / name).is_file():
        return f"{shlex.quote(str(prefix / 'bin'))}/{command}"
    return command
