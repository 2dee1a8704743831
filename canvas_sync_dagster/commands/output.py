"""How commands print: the one place that all their output passes, where texts of others lose their escape sequences.

Names of terms, messages of Canvas and events are written by other people: a terminal would execute the control
characters in them, and rich would read `[link=…]` in them as markup.
"""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.text import Text

from canvas_sync_dagster.printable import printable

WIDTH_OF_A_FILE = 140
LONGEST_DOCUMENT = 1 << 30
"""Characters of what a command writes for other programs (SQL, YAML, JSON): all of it."""


class _Plain(Console):
    """A console for which every string is a text to show, and never markup."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Return a console; the width of a pipe or a file is fixed, so that names are not cut there.

    Args:
        stderr: Whether it writes to standard error.
        soft_wrap: Whether long lines are left to the terminal.
    """
    made = _Plain(stderr=stderr, highlight=False, soft_wrap=soft_wrap, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = WIDTH_OF_A_FILE
    return made


def say(text: str, *, err: bool = False) -> None:
    """Print a line."""
    click.echo(printable(text), err=err)


def write(document: str) -> None:
    """Print what another program reads, whole and as it is, but for control characters."""
    click.echo(printable(document, LONGEST_DOCUMENT), nl=False)
