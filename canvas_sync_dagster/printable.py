"""Text from outside made safe to print: no control characters, no invisible direction marks, bounded length.

Canvas's messages, names of terms, entries of ZIP files and events are written by other people. A terminal executes the
escape sequences in them, and one message of 10 MB fills a log.
"""

from __future__ import annotations

import re

LONGEST_MESSAGE = 20_000
"""Characters of one message; the errors of two hundred tenants fit."""
LONGEST_QUOTE = 300
"""Characters of a text from outside that a message repeats."""
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 control characters, but for tab and newline
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # marks that hide or reorder text
    "\ud800-\udfff]"  # halves of surrogate pairs, which no terminal and no UTF-8 file can hold
)


def printable(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Return a text with its control characters escaped, cut at a length; tabs and newlines stay.

    >>> printable("a\\x1b[31mred")
    'a\\\\x1b[31mred'
    >>> printable("abcdef", 4)
    'abc…'
    """
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return UNPRINTABLE.sub(_escaped, cut)


def quotable(text: object, limit: int = LONGEST_QUOTE) -> str:
    """Return a text from outside on one line, as a message may repeat it.

    >>> quotable("  two\\nlines ")
    'two lines'
    """
    # Whatever is cut away need not be split: a text may have megabytes.
    return printable(" ".join(str(text)[: 4 * limit].split()), limit)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
