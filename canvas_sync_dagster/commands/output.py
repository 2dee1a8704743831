"""Output of the commands. All of it passes through this module, which removes escape sequences of external text.

Names of terms, messages of Canvas and events are written by others: a terminal would execute their control characters,
and rich would interpret `[link=…]` as markup. Rich reads NO_COLOR, TERM and COLUMNS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.text import Text

from canvas_sync_dagster.printable import printable

WIDTH_OF_A_FILE = 200
LONGEST_DOCUMENT = 1 << 30
"""Maximum characters of output for other programs (SQL, YAML, JSON), which is never truncated in practice."""


class _Plain(Console):
    """A console that prints every string literally, without markup."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})


def console(*, stderr: bool = False, soft_wrap: bool = False, width: int | None = None) -> Console:
    """Return a console; pipes and files get a fixed width, so that names are not truncated.

    Args:
        stderr: Whether it writes to standard error.
        soft_wrap: Whether the terminal wraps long lines.
        width: Columns; those of the terminal by default.
    """
    made = _Plain(stderr=stderr, highlight=False, soft_wrap=soft_wrap, markup=False, emoji=False, width=width)
    if not made.is_terminal and width is None:
        made.width = WIDTH_OF_A_FILE
    return made


def say(text: str, *, err: bool = False) -> None:
    """Print a line."""
    click.echo(printable(text), err=err)


def ask_for(prompt: str) -> None:
    """Print a prompt to standard error; the cursor stays behind it."""
    click.echo(prompt, nl=False, err=True)


def complain(text: str) -> None:
    """Print an error to standard error: wrapped between words at a terminal, one line elsewhere."""
    screen = console(stderr=True)
    screen.print(text, style="red", soft_wrap=not screen.is_terminal)


def write(document: str) -> None:
    """Print output for another program, complete and unchanged except for control characters."""
    click.echo(printable(document, LONGEST_DOCUMENT), nl=False)


def write_json(document: object) -> None:
    """Print a document as JSON; what JSON has no type for, such as a time, is printed as text."""
    write(json.dumps(document, default=str, indent=2) + "\n")


def show(renderables: Iterable[RenderableType]) -> None:
    """Print what a rendering function returned, to standard output."""
    screen = console()
    for each in renderables:
        # Lines are fitted already; without a terminal they are as long as they are.
        screen.print(each, soft_wrap=isinstance(each, Text))


def width_of_output() -> int | None:
    """Return the columns of standard output; None if it is not a terminal."""
    screen = console()
    return screen.width if screen.is_terminal else None


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--json`, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
