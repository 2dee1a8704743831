"""Plain ASGI: reading requests and sending responses, without a framework.

Measured: one route of a framework costs as much as verifying the signature of an event.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

LARGEST_BODY = 1 << 20
"""Bytes. Canvas cuts texts at 8 KB, so that its largest events have some dozens of KB."""
RETRY_SECONDS = b"5"
"""After how many seconds a sender should retry what was answered by 503."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Response:
    """A response to a request.

    Attributes:
        status: HTTP status.
        body: Bytes of the body.
        content_type: Of the body.
        headers: Headers in addition to the type and the length of the body.
    """

    status: int
    body: bytes = b""
    content_type: bytes = b"text/plain"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, send: Send) -> None:
        """Send the response by ASGI."""
        length = (b"content-length", str(len(self.body)).encode())
        headers = [(b"content-type", self.content_type), length, *self.headers]
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", RETRY_SECONDS))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def problem_response(status: int, problem: str) -> Response:
    """Return a response that names a problem in JSON."""
    return Response(status, json.dumps({"error": problem}).encode(), b"application/json")


def organization(scope: Scope) -> str:
    """Return the tenant that `?org=` names; an empty text if there is none."""
    try:
        fields = parse_qs(bytes(scope["query_string"]).decode("latin-1"), max_num_fields=10)
    except ValueError:
        return ""
    return fields.get("org", [""])[0]


def path_of(scope: Scope) -> str:
    """Return the path below the one at which the application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


async def read_body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes | None:
    """Read the body of a request.

    Returns:
        The body; None if it is larger than `LARGEST_BODY`. Of a sender that disconnects it is the part that arrived,
        which no signature fits.
    """
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        return None
    body = bytearray()
    while True:
        part = await receive()
        body += part.get("body", b"")
        if len(body) > LARGEST_BODY:
            return None
        if not part.get("more_body", False):
            return bytes(body)
