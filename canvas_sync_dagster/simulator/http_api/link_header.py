"""Cuts lists into pages as Canvas does: opaque bookmarks in a `Link` header."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request

PER_PAGE, MOST_PER_PAGE = 10, 100
"""Canvas's default, and what it clamps to in silence."""


def page(request: Request, rows: Sequence[dict[str, Any]], base_url: str) -> tuple[list[dict[str, Any]], str]:
    """Returns a page and its `Link` header, which tells no last page.

    Raises:
        HTTPException: `page` is neither a number nor a bookmark; Canvas responds with 404.
    """
    asked = request.query_params.get("per_page", "")
    size = min(MOST_PER_PAGE, int(asked)) if asked.isdecimal() and int(asked) else PER_PAGE
    number = _number(request.query_params.get("page", "first"))
    links = {"current": number, "next": number + 1 if (number + 1) * size < len(rows) else None, "first": 0}
    header = ",".join(
        f'<{_url(request, base_url, other)}>; rel="{rel}"' for rel, other in links.items() if other is not None
    )
    return list(rows[number * size : (number + 1) * size]), header


def _url(request: Request, base_url: str, number: int) -> str:
    kept = [(key, value) for key, value in parse_qsl(request.url.query) if key not in {"page", "access_token"}]
    mark = "bookmark:" + base64.urlsafe_b64encode(json.dumps([number]).encode()).decode() if number else "first"
    return f"{base_url}{request.url.path}?{urlencode([*kept, ('page', mark)])}"


def _number(asked: str) -> int:
    if asked == "first":
        return 0
    if asked.isdecimal():
        return max(0, int(asked) - 1)
    try:
        (number,) = json.loads(base64.urlsafe_b64decode(asked.removeprefix("bookmark:")))
    except (ValueError, TypeError):
        raise HTTPException(404) from None
    if not asked.startswith("bookmark:") or not isinstance(number, int) or number < 0:
        raise HTTPException(404)
    return number
