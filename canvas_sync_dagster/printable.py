"""Make values readable, and external text safe to print: without control characters, and bounded in length.

Messages of Canvas, names of terms, entries of ZIP files and events are written by others. A terminal would execute their
escape sequences, and a message of 10 MB would fill a log.
"""

from __future__ import annotations

import re
from datetime import timedelta

LONGEST_MESSAGE = 20_000
"""Maximum characters of a message; enough for the errors of two hundred tenants."""
LONGEST_QUOTE = 300
"""Maximum characters of external text that a message quotes."""
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 control characters, except tab and newline
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # marks that hide or reorder text
    "\ud800-\udfff]"  # halves of surrogate pairs, which no terminal and no UTF-8 file can hold
)


def printable(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Return text with escaped control characters, truncated to a length; tabs and newlines are kept.

    >>> printable("a\\x1b[31mred")
    'a\\\\x1b[31mred'
    >>> printable("abcdef", 4)
    'abc…'
    """
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return UNPRINTABLE.sub(_escaped, cut)


def quotable(text: object, limit: int = LONGEST_QUOTE) -> str:
    """Return external text on one line, for quotation in a message.

    >>> quotable("  two\\nlines ")
    'two lines'
    """
    # Truncated before splitting, because the text may have megabytes.
    return printable(" ".join(str(text)[: 4 * limit].split()), limit)


def ended(text: str) -> str:
    """Return a text of another program as one sentence, which ends with exactly one mark.

    >>> ended("before or while processing the request."), ended("accepting connections?"), ended("connection refused")
    ('before or while processing the request.', 'accepting connections?', 'connection refused.')
    """
    text = text.rstrip().rstrip(".;:, ")
    return text if text.endswith(("?", "!", "…")) else f"{text}."


def duration(value: timedelta) -> str:
    """Return a duration in its largest whole unit, as it is typed in settings.

    >>> duration(timedelta(days=1)), duration(timedelta(minutes=90))
    ('1 day', '90 minutes')
    """
    seconds = int(value.total_seconds())
    units = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
    unit, size = next((unit, size) for unit, size in units.items() if seconds % size == 0)
    return f"{seconds // size:,} {unit}{'s' if seconds != size else ''}"


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
