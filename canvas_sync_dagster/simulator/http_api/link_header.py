"""Pages of a list as Canvas makes them: opaque bookmarks in a `Link` header."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request

PER_PAGE, MOST_PER_PAGE = 10, 100
"""Rows of a page: Canvas's default, and the most that it returns whatever is asked for."""
SET_BY_CANVAS = {"page", "per_page", "access_token"}
"""Parameters that Canvas removes from the query of a link, or sets itself."""


def page(request: Request, rows: Sequence[dict[str, Any]], base_url: str) -> tuple[list[dict[str, Any]], str]:
    """Return one page of a list and its `Link` header.

    Canvas's lists with bookmarks have no link to the last page and none to the previous one.

    Raises:
        HTTPException: `page` is neither a number nor a bookmark; Canvas responds with 404.
    """
    asked = request.query_params.get("per_page", "")
    size = min(MOST_PER_PAGE, int(asked)) if asked.isdecimal() and int(asked) else PER_PAGE
    number = _number(request.query_params.get("page", "first"))
    links = {"current": number, "next": number + 1 if (number + 1) * size < len(rows) else None, "first": 0}
    header = ",".join(
        f'<{_url(request, base_url, other, size)}>; rel="{rel}"' for rel, other in links.items() if other is not None
    )
    return list(rows[number * size : (number + 1) * size]), header


def _url(request: Request, base_url: str, number: int, size: int) -> str:
    """Return the URL of a page; as in Canvas it always has `page` and `per_page`, and never the token."""
    kept = [(key, value) for key, value in parse_qsl(request.url.query) if key not in SET_BY_CANVAS]
    mark = "bookmark:" + base64.urlsafe_b64encode(json.dumps([number]).encode()).decode() if number else "first"
    return f"{base_url}{request.url.path}?{urlencode([*kept, ('page', mark), ('per_page', size)])}"


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
