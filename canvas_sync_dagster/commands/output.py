"""How commands print: tables and colours on a terminal, whole names in files."""

from __future__ import annotations

from rich.console import Console

WIDTH_OF_A_FILE = 140


def console(*, stderr: bool = False) -> Console:
    """Returns a console; of a pipe or a file nothing is known, and names should not be cut there."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = WIDTH_OF_A_FILE
    return made
