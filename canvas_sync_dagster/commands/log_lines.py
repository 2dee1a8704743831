"""Lines of a log: logfmt (`at=… level=info event=…`) or one JSON object per line."""

from __future__ import annotations

import json
import re
import time

PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")
"""A value that logfmt needs no quotes for."""


def log_line(values: dict[str, object], *, as_json: bool) -> str:
    """Return a line of a log.

    Args:
        values: Its values. In logfmt, the items of a list are separated by commas.
        as_json: Whether it is one JSON object; logfmt otherwise.

    >>> log_line({"event": "landed", "rows": 3, "reason": 'a "full" sync'}, as_json=False)
    'event=landed rows=3 reason="a \\\\"full\\\\" sync"'
    """
    if as_json:
        return json.dumps(values, default=str)
    return " ".join(f"{name}={_value(value)}" for name, value in values.items())


def now() -> str:
    """Return the time of a line, with its offset from UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    # The escapes of a JSON string are those of logfmt, and keep each line one line.
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
