"""Canvas's answers to requests that fail, word by word."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

LOGIN_PAGE = "<!DOCTYPE html><html><title>Log In to Canvas</title><form id=login_form></form></html>"
REALM = {"WWW-Authenticate": 'Bearer realm="canvas-lms"'}


def not_found() -> Response:
    """Answer for an object that is missing or hidden."""
    return JSONResponse({"errors": [{"message": "The specified resource does not exist."}]}, 404)


def no_token() -> Response:
    """Answer a request without a token."""
    body = {"status": "unauthenticated", "errors": [{"message": "user authorization required"}]}
    return JSONResponse(body, 401, REALM)


def bad_token() -> Response:
    """Answer a token that is wrong, expired or revoked."""
    return JSONResponse({"errors": [{"message": "Invalid access token."}]}, 401, REALM)


def throttled() -> Response:
    """Answer a throttled request; only the body differs from a missing permission."""
    return PlainTextResponse("403 Forbidden (Rate Limit Exceeded)\n", 403)


def forbidden() -> Response:
    """Answer a token that lacks a permission."""
    body = {"status": "unauthorized", "errors": [{"message": "user not authorized to perform that action"}]}
    return JSONResponse(body, 403)


def unauthorized_object() -> Response:
    """Return the response for a single object that the token may not read: 401, without WWW-Authenticate."""
    body = {"status": "unauthorized", "errors": [{"message": "user not authorized to perform that action"}]}
    return JSONResponse(body, 401)


def crashed() -> Response:
    """Return the response after an internal error of Canvas."""
    error = {"message": "An error occurred.", "error_code": "internal_server_error"}
    return JSONResponse({"errors": [error], "error_report_id": 7}, 500)


def torn() -> Response:
    """Announce more bytes than are sent; the server then breaks the connection."""
    return StreamingResponse(iter([b'{"id": 1']), headers={"Content-Length": "1000"})


REFUSALS: dict[str, Callable[[], Response]] = {
    "throttled_403": throttled,
    "throttled_429": lambda: PlainTextResponse("Too Many Requests", 429, {"Retry-After": "1"}),
    "bad_gateway": lambda: HTMLResponse("<html>This website is under heavy load</html>", 502),
    "maintenance_page": lambda: HTMLResponse("<html>Canvas is down for maintenance</html>"),
    "dropped_connection": torn,
    "token_expired": bad_token,
    "no_permission": forbidden,
    "server_error": crashed,
}
"""Fault of `REQUEST_FAULTS` → its answer."""
