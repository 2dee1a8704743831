"""Output of the commands. All of it passes through this module, which removes escape sequences of external text.

Names of terms, messages of Canvas and events are written by others: a terminal would execute their control characters,
and rich would interpret `[link=…]` as markup.
"""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.text import Text

from canvas_sync_dagster.printable import printable

WIDTH_OF_A_FILE = 140
LONGEST_DOCUMENT = 1 << 30
"""Maximum characters of output for other programs (SQL, YAML, JSON), which is never truncated in practice."""


class _Plain(Console):
    """A console that prints every string literally, without markup."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Return a console; pipes and files get a fixed width, so that names are not truncated.

    Args:
        stderr: Whether it writes to standard error.
        soft_wrap: Whether the terminal wraps long lines.
    """
    made = _Plain(stderr=stderr, highlight=False, soft_wrap=soft_wrap, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = WIDTH_OF_A_FILE
    return made


def say(text: str, *, err: bool = False) -> None:
    """Print a line."""
    click.echo(printable(text), err=err)


def write(document: str) -> None:
    """Print output for another program, complete and unchanged except for control characters."""
    click.echo(printable(document, LONGEST_DOCUMENT), nl=False)
