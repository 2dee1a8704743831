"""Durations of settings, such as `1 day`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
UNIT_NAMES = "seconds, minutes, hours, days or weeks"


def parse_duration(value: object) -> timedelta:
    """Parse a duration such as `1 day`, `90 minutes` or `30 seconds`.

    A number without a unit is refused, because it means days in the gem.

    >>> parse_duration("1 hour")
    datetime.timedelta(seconds=3600)

    Raises:
        ValueError: The value is not a positive duration with a unit.
    """
    if isinstance(value, timedelta):
        return value
    text = str(value).strip().lower()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+?)s?", text)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError(f"a duration needs a unit ({UNIT_NAMES}); write `{text} days` for the gem's meaning")
    if not match or match[2] not in UNITS or float(match[1]) <= 0:
        raise ValueError(f"not a duration: expected a number and a unit ({UNIT_NAMES})")
    try:
        return timedelta(seconds=float(match[1]) * UNITS[match[2]])
    except OverflowError:
        raise ValueError("duration is too large") from None


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
