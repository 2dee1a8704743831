"""A live event, however it was delivered: `{"metadata": {...}, "body": {...}}`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from canvas_sync_dagster.errors import EventError
from canvas_sync_dagster.warehouse.reading.documents import document, is_document
from canvas_sync_dagster.warehouse.reading.payloads import PayloadProtection

SECRET = re.compile(
    r"""
    ( (?:token|verifier)
      (?: = | %(?:25)*3D | (?<=access_token) \\*" \s* : \s* \\*" ) )   # in an address, encoded ones too, or in JSON
    (?: (?! %(?:25)*26 | &amp; ) [^&"\\\s#] )+
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Canvas's events contain the addresses of the requests that caused them, sometimes with a valid token in the query."""
TOKEN = re.compile(r"\b\d{1,8}~[A-Za-z0-9]{20,}")
"""Form of an access token of Canvas, in any place."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, ready to be stored.

    Attributes:
        name: As Canvas spells it (`course_updated`).
        time: When it happened, on Canvas's clock.
        payload: Metadata and body, without secrets.
        digest: Of the canonical payload; Canvas gives events no id.
        text: The payload as it is stored.
    """

    name: str
    time: datetime
    payload: Mapping[str, Any]
    digest: bytes
    text: str

    @property
    def metadata(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.payload["metadata"]
        return found

    @property
    def body(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.payload["body"]
        return found


def read_event(claims: object, now: datetime) -> Event:
    """Read an event from a delivery.

    Args:
        claims: Decoded JSON, of any shape.
        now: Time of the event if its own is missing, cannot be read, or lies in the future.

    Raises:
        EventError: The delivery is not a readable event.
    """
    if not isinstance(claims, Mapping):
        raise EventError("the event is not a JSON object")
    # The gem's older deliveries call the metadata attributes.
    metadata, body = claims.get("metadata", claims.get("attributes")), claims.get("body", {})
    if not isinstance(metadata, Mapping) or not isinstance(body, Mapping):
        raise EventError("the event has no metadata")
    name = metadata.get("event_name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_.:\-]{1,100}", name, re.IGNORECASE):
        raise EventError("the metadata has no event_name")
    try:
        text = redacted(document({"metadata": metadata, "body": body}, canonical=True))
    except RecursionError:
        raise EventError("the event is nested too deeply") from None
    if not is_document(text):
        raise EventError("the event holds what no JSON document may hold")
    return Event(name, read_time(metadata.get("event_time"), now), json.loads(text), _digest(text), text)


def protected_event(event: Event, protection: PayloadProtection) -> Event:
    """Return an event without the values that the tenant does not keep."""
    if protection.is_empty:
        return event
    text = document(protection.applied(event.name, event.payload), canonical=True)
    return replace(event, payload=json.loads(text), digest=_digest(text), text=text)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def redacted(text: str) -> str:
    """Replace tokens in a text.

    >>> redacted("https://x.test/?access_token=7~abc&amp;x=1"), redacted("r=%2F%3Ftoken%3D7~abc%26x%3D1")
    ('https://x.test/?access_token=[redacted]&amp;x=1', 'r=%2F%3Ftoken%3D[redacted]%26x%3D1')
    """
    # Most events contain no token, and looking for words takes a hundredth of the time of matching.
    lowered = text.lower()
    if "token" in lowered or "verifier" in lowered:
        text = SECRET.sub(r"\1[redacted]", text)
    return TOKEN.sub("[redacted]", text) if "~" in text else text


def read_time(value: object, default: datetime) -> datetime:
    """Read the times that events really carry; one that cannot be read, or that lies in the future, is the default.

    >>> from datetime import UTC, datetime
    >>> read_time("2019-11-05 07:38:00 -0800", datetime(2026, 1, 1, tzinfo=UTC)).isoformat()
    '2019-11-05T07:38:00-08:00'
    """
    text = str(value or "").strip()
    text = re.sub(r" ([+-]\d{2}):?(\d{2})$", r"\1:\2", text)
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        # Offsets lead out of Python's calendar: 0001-01-01T00:00:00+14:00 is a day of 1 BC.
        moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return default
    return min(moment, default)
