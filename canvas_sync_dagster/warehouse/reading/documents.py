"""Proves that PostgreSQL will take a text as jsonb: it refuses some of what Python reads as JSON."""

from __future__ import annotations

import json
import re

DEEPEST = 500
"""Levels of nesting. PostgreSQL's stack ends at some thousands, Python's at a thousand; Canvas nests a handful."""
LONGEST_NUMBER = 1000
"""Characters, and the largest exponent: PostgreSQL's numeric takes more, and no value of Canvas has a tenth of it."""
NUL = r"\u0000"
"""What to look for first: measured, the pattern alone costs a live event 70 µs, two thirds of reading it."""
NUL_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""An escaped NUL character, which jsonb cannot hold; the backslash before it is not itself escaped."""


def is_document(text: str) -> bool:
    """Return whether PostgreSQL takes the text as jsonb.

    >>> [is_document(text) for text in ('{"a": [1.5, null]}', "NaN", "1e9999", '"\\\\ud800"')]
    [True, False, False, False]
    """
    if (NUL in text and NUL_ESCAPE.search(text)) or _may_be_too_deep(text):
        return False
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_number, parse_int=_number)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        # Half of a surrogate pair is a ValueError, too, once it is encoded.
        return False
    return True


def document(value: object, *, canonical: bool = False) -> str:
    """Writes a value that REST gave as JSON that jsonb takes: without NUL characters and halves of surrogate pairs.

    Args:
        value: Of JSON's types.
        canonical: Whether equal values are to be written equally.
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=canonical).encode("utf-8", errors="replace").decode()
    return NUL_ESCAPE.sub(r"\1", text) if NUL in text else text


def _may_be_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    depth = deepest = 0
    for bracket in re.findall(r"[\[{\]}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _number(text: str) -> int:
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > LONGEST_NUMBER or abs(int(exponent or "0")) > LONGEST_NUMBER:
        raise ValueError("a number beyond measure")
    return 0
