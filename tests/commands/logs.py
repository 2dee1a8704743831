"""Read logs as a collector of logs does."""

from __future__ import annotations

import json
import re

PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)(?: |$)')


def logfmt(text: str) -> list[dict[str, str]]:
    """Return the values of each line.

    Raises:
        ValueError: A line is not logfmt, or names a value twice.
    """
    return [_values(line) for line in text.splitlines()]


def _values(line: str) -> dict[str, str]:
    values: dict[str, str] = {}
    at = 0
    while at < len(line):
        found = PAIR.match(line, at)
        if found is None or found[1] in values:
            raise ValueError(f"not logfmt from column {at}: {line!r}")
        values[found[1]] = json.loads(found[2]) if found[2].startswith('"') else found[2]
        at = found.end()
    return values
