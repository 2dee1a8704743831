"""Interpret a response of Canvas: its JSON, or an error with a remedy.

Pure functions of the response. Messages contain no token: queries, which may contain one, are removed from URLs.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from canvas_sync_dagster.canvas.throttle import is_throttled
from canvas_sync_dagster.errors import (
    CanvasError,
    CanvasForbiddenError,
    CanvasNotFoundError,
    CanvasRequestError,
    CanvasThrottledError,
    CanvasUnauthorizedError,
    CanvasUnavailableError,
    NotCanvasError,
)
from canvas_sync_dagster.printable import quotable

LONGEST_NUMBER = 1000
"""Maximum digits of an integer that is parsed as a number; longer ones are kept as text."""
WORDS = 300
"""Maximum characters of Canvas's message that an error quotes."""


def read_json(response: httpx.Response) -> Any:
    """Return the JSON of a successful response.

    Args:
        response: Response with its body read.

    Raises:
        CanvasError: The response is an error, or not JSON; the subclass states which error.
    """
    if error := error_of(response):
        raise error
    text = response.text.removeprefix("while(1);")
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            raise
        except ValueError:
            # Python refuses to convert a number of more than 4,300 digits; as text it fails its own cell only.
            return json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        raise _not_canvas(response) from None


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


def error_of(response: httpx.Response) -> CanvasError | None:
    """Return the error that a response means; None if it is successful."""
    status = response.status_code
    if is_throttled(response):
        return _error(
            CanvasThrottledError,
            response,
            "Canvas's rate limit is exhausted; the token is shared, or too many syncs use it.",
        )
    if status >= 500:
        return _error(CanvasUnavailableError, response, "Canvas is down or overloaded; try again later.")
    if 200 <= status < 300:
        return None
    if _is_html(response) or 300 <= status < 400:
        return _not_canvas(response)
    if status == 401 and _speaks_of_token(response):
        return _error(
            CanvasUnauthorizedError,
            response,
            "Canvas does not accept the token: check CANVAS_SYNC_TOKEN; the token may have expired.",
        )
    if status in {401, 403}:
        return _error(
            CanvasForbiddenError,
            response,
            "The token lacks a permission: give its user the permission on the account (for reports: `Reports - manage`).",
        )
    if status == 404:
        return _error(
            CanvasNotFoundError, response, "The object does not exist in Canvas, or the token's user may not see it."
        )
    return _error(CanvasRequestError, response, "Canvas rejected the request as invalid.")


def _error(kind: type[CanvasError], response: httpx.Response, advice: str) -> CanvasError:
    request = response.request
    said = words(response).rstrip(".")
    message = f"{request.method} {address(request.url)} answered {response.status_code}{f': {said}' if said else ''}. {advice}"
    return kind(message, method=request.method, url=address(request.url), status=response.status_code)


def _not_canvas(response: httpx.Response) -> NotCanvasError:
    what = (
        "a redirect" if response.is_redirect else "a web page" if _is_html(response) else "something that is not JSON"
    )
    return NotCanvasError(
        f"{response.request.method} {address(response.request.url)} answered {response.status_code} with {what} instead of "
        "Canvas's API. Check CANVAS_SYNC_BASE_URL: it is the address of your Canvas without a path.",
        method=response.request.method,
        url=address(response.request.url),
        status=response.status_code,
    )


def address(url: httpx.URL) -> str:
    """Return a URL without user, query and fragment, which may contain tokens."""
    return str(url.copy_with(query=None, fragment=None, username="", password=""))


def words(response: httpx.Response) -> str:
    """Return Canvas's message in a response, whose structure differs between endpoints.

    The rest of the body is not quoted, because it may contain personal data.
    """
    if _is_html(response):
        return "a web page"
    try:
        body = json.loads(response.text)
    except (ValueError, RecursionError):
        return quotable(response.text, WORDS)
    return quotable("; ".join(_messages(body)), WORDS)


def _messages(body: Any) -> list[str]:
    match body:
        case str():
            return [body]
        case list():
            return [text for each in body for text in _messages(each)]
        case dict():
            return [
                text for key in ("message", "error", "errors", "status") if key in body for text in _messages(body[key])
            ][:3]
        case _:
            return []


def _is_html(response: httpx.Response) -> bool:
    kind = response.headers.get("Content-Type", "")
    return "html" in kind or response.text[:200].lstrip().lower().startswith(("<!doctype", "<html"))


def _speaks_of_token(response: httpx.Response) -> bool:
    return "www-authenticate" in response.headers or "token" in words(response).lower()
