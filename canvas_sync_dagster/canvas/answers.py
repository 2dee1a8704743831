"""What an answer of Canvas means: its JSON, or one error that says what to do.

Pure: answers go in. No message holds a token; queries are cut from addresses, for they may.
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
"""Digits of a whole number that is read as one."""
WORDS = 300
"""Characters of Canvas's own message that an error repeats."""


def read_json(response: httpx.Response) -> Any:
    """Returns the JSON of a good answer.

    Raises:
        CanvasError: The answer is none; each kind of trouble has a class of its own.
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
    """Tells what is wrong with an answer; None if nothing is."""
    status = response.status_code
    if is_throttled(response):
        return _error(
            CanvasThrottledError, response, "Canvas's rate limit is used up; this token is shared or too busy."
        )
    if status >= 500:
        return _error(CanvasUnavailableError, response, "Canvas is down or overloaded; it should work later.")
    if 200 <= status < 300:
        return None
    if _is_html(response) or 300 <= status < 400:
        return _not_canvas(response)
    if status == 401 and _speaks_of_token(response):
        return _error(
            CanvasUnauthorizedError,
            response,
            "Canvas does not accept the token: check CANVAS_SYNC_TOKEN, it may have expired.",
        )
    if status in {401, 403}:
        return _error(
            CanvasForbiddenError,
            response,
            "The token may not do this: its user needs the permission (for reports: `Reports - manage`) on the account.",
        )
    if status == 404:
        return _error(CanvasNotFoundError, response, "Canvas has no such thing, or hides it from this token's user.")
    return _error(CanvasRequestError, response, "Canvas calls the request wrong.")


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
    """Returns an address without its query, where tokens may stand."""
    return str(url.copy_with(query=None, fragment=None, username="", password=""))


def words(response: httpx.Response) -> str:
    """Find Canvas's own message in an answer, whose shape differs from place to place.

    The rest of a body is not repeated: it may hold an object, and so a person's data.
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
