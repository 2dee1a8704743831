"""Read `parameters[…]` from a request's body: a form, a multipart form or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

UNREADABLE = "The request could not be parsed."
LARGEST_BODY = 1 << 20
"""Bytes; the parameters of a report take a few hundred."""


async def read_parameters(request: Request) -> dict[str, Any]:
    """Return the parameters; values of a form are text, values of JSON keep their types.

    Raises:
        HTTPException: The body does not fit its content type (400), or is too large (413).
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, UNREADABLE)
    kind = request.headers.get("content-type", "")
    try:
        if "json" in kind:
            return _of_json(body)
        pairs = (
            _parts(body, kind) if kind.startswith("multipart/") else parse_qsl(body.decode(), keep_blank_values=True)
        )
        return of_form(pairs)
    except ValueError:
        raise HTTPException(400, UNREADABLE) from None


def of_form(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the parameters from `parameters[a][b]` and `parameters[a][]`, as Rails reads them."""
    whole: dict[str, Any] = {}
    for name, value in pairs:
        if name.startswith("parameters[") and name.endswith("]"):
            _put(whole, name.removeprefix("parameters[")[:-1].split("]["), value)
    return whole


def _put(into: dict[str, Any], path: list[str], value: str) -> None:
    name, *rest = path
    if not rest:
        into[name] = value
    elif rest == [""]:
        into.setdefault(name, []).append(value)
    elif rest[0] == "":
        items = into.setdefault(name, [])
        # Rails begins a further item when the last one has the key already.
        if not items or rest[1] in items[-1]:
            items.append({})
        _put(items[-1], rest[1:], value)
    else:
        _put(into.setdefault(name, {}), rest, value)


def _of_json(body: bytes) -> dict[str, Any]:
    given = json.loads(body or b"{}")
    parameters = given.get("parameters") or {} if isinstance(given, dict) else None
    if not isinstance(parameters, dict):
        raise ValueError("no parameters")  # noqa: TRY004 (as other malformed bodies)
    return parameters


def _parts(body: bytes, kind: str) -> Iterator[tuple[str, str]]:
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    if not message.is_multipart():
        raise ValueError("no parts")
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            yield str(part.get_param("name", header="content-disposition")), content.decode()
