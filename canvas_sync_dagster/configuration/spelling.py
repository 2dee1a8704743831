"""How users write the values of settings."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum

from canvas_sync_dagster.printable import duration


def spelled(value: object) -> str:
    """Return a value as a user writes it: `1 day`, `false`, `30`.

    >>> spelled(timedelta(hours=2)), spelled(False), spelled(("users", "terms")), spelled(30.0)
    ('2 hours', 'false', 'users, terms', '30')
    """
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ", ".join(map(spelled, value))
        case Enum():
            return str(value.value)
        case timedelta():
            return duration(value)
        case float():
            return f"{value:g}"
    return str(value)
