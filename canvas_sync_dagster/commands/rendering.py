"""Tables, paragraphs and numbers that fit a width: facts → what rich prints. Nothing here reads or prints.

A width is the number of a terminal's columns. It is None without a terminal: then no column of a table is dropped, and no
line is wrapped, so that programs can search the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich import box
from rich.cells import cell_len
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from canvas_sync_dagster.commands.output import console
from canvas_sync_dagster.printable import quotable

INDENT = 2
GAP = 2
NARROWEST_TEXT = 20
"""Minimum columns of wrapped text; a terminal that is narrower wraps it itself."""
NARROWEST_CELL = 8
SHRUNK_CELL = 24
"""Columns that a cell which may shrink keeps before a whole column is dropped; as many as the longest name of a model."""
MARK = "  ! "
"""Mark of what needs attention."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        heading: Its heading.
        right: Whether its cells are aligned to the right, as numbers are.
        drop: 0 for a column that is always shown. Of the others, those with the highest number are dropped first.
        shrinks: Whether its cells are truncated before the table exceeds the width.
        optional: Whether it is left out if all its cells are empty or 0.
    """

    heading: str
    right: bool = False
    drop: int = 0
    shrinks: bool = False
    optional: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None) -> Padding:
    """Return an indented table of one line per row that fits a width.

    Args:
        columns: Its columns.
        rows: Cells of each row, in the order of the columns.
        width: Columns of the terminal, or None.
    """
    cells = [[quotable(cell) for cell in row] for row in rows]
    chosen = [at for at, column in enumerate(columns) if not (column.optional and _is_blank(cells, at))]
    widths = {at: max(cell_len(columns[at].heading), *(cell_len(row[at]) for row in cells), 0) for at in chosen}
    room = None if width is None else width - INDENT
    least = {at: min(widths[at], SHRUNK_CELL) if columns[at].shrinks else widths[at] for at in chosen}
    while room is not None and _total({at: least[at] for at in widths}) > room:
        droppable = [at for at in widths if columns[at].drop]
        if not droppable:
            break
        del widths[max(droppable, key=lambda at: columns[at].drop)]
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP // 2), header_style="bold")
    shrunk = widths if room is None else _shrunk(columns, widths, _total(widths) - room)
    for at, cell_width in shrunk.items():
        made.add_column(
            columns[at].heading,
            justify="right" if columns[at].right else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=cell_width,
        )
    for row in cells:
        made.add_row(*(row[at] for at in widths))
    return Padding(made, (0, 0, 0, INDENT), expand=False)


def _shrunk(columns: Sequence[Column], widths: dict[int, int], excess: int) -> dict[int, int]:
    """Take an excess from the columns that may shrink: first what exceeds `SHRUNK_CELL`, from the last column on."""
    made = dict(widths)
    for least in (SHRUNK_CELL, NARROWEST_CELL):
        for at in sorted(made, reverse=True):
            if columns[at].shrinks:
                less = min(max(0, excess), max(0, made[at] - least))
                made[at] -= less
                excess -= less
    return made


def _is_blank(cells: Sequence[Sequence[str]], at: int) -> bool:
    return all(row[at] in {"", "0"} for row in cells)


def _total(widths: dict[int, int]) -> int:
    # rich separates columns by their padding, and one column for the border that is not drawn.
    return sum(widths.values()) + (GAP + 1) * (len(widths) - 1)


def paragraph(text: str, width: int | None, *, mark: str = "", style: str = "") -> Text:
    """Return text with a hanging indent.

    Args:
        text: The text.
        width: Columns of the terminal, or None.
        mark: What precedes the first line; further lines begin below the text.
        style: Style of rich.
    """
    if width is None:
        return Text(mark + text, style=style)
    room = max(NARROWEST_TEXT, width - cell_len(mark))
    lines = Text(text).wrap(console(width=room), room)
    return Text(mark + ("\n" + " " * cell_len(mark)).join(line.plain.rstrip() for line in lines), style=style)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names as a list; of a long one the first, and how many follow.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    >>> counted(1, "model"), counted(1200, "model")
    ('1 model', '1,200 models')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def elapsed(seconds: float) -> str:
    """Return how long something took.

    >>> elapsed(4.21), elapsed(372), elapsed(7500)
    ('4.2 s', '6 min 12 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def when(moment: datetime | None) -> str:
    """Return a time in UTC, to the minute."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if moment else "never"


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a time was, in its largest unit.

    >>> ago(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))
    '2 days ago'
    """
    for name, unit in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if number := (now - moment) // unit:
            return f"{counted(number, name)} ago" if number > 0 else "in the future"
    return "just now"


def unique(values: Iterable[str], several: Callable[[list[str]], str]) -> str:
    """Return the only value, or what a function makes of several."""
    found = list(dict.fromkeys(values))
    return found[0] if len(found) == 1 else several(found) if found else ""


def skipped_lines(reasons: Mapping[str, str]) -> list[str]:
    """Return each reason once, after the models that it applies to."""
    models: dict[str, list[str]] = {}
    for model, why in reasons.items():
        models.setdefault(why, []).append(model)
    return [f"{', '.join(names)} ({why})" for why, names in models.items()]
