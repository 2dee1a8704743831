"""Verify the origin of an event: signed by Instructure's Data Services, encrypted by EventsManager, or unknown.

The signature is verified by `cryptography` itself: PyJWT takes 149 µs per event for what takes 28 µs, and a receiver on
one core has 250 µs for all its work. PyJWT still reads the keys, and the algorithm is RS256 and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from canvas_sync_dagster.errors import EventError, ProvenanceError
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.live_events.symmetric import SecretKey, decrypt

ISSUERS = ("https://live-events.canvas.instructure.com",)
LEEWAY = 300.0
"""Seconds by which clocks may differ."""
OLDEST = 26 * 3600.0
"""Seconds since `iat` after which a delivery is refused as too old; Canvas retries for twenty minutes."""
LARGEST_HEADER = 4096
"""Largest size in bytes of a token's header in base64. Canvas's have about 100; headers are cached."""
_PADDING, _HASH = PKCS1v15(), SHA256()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Verifies and decrypts deliveries.

    Attributes:
        keys: Public keys for signatures.
        secrets: Keys for encrypted payloads; the first is the primary one.
        unsigned: Whether an event without a signature is accepted.
        issuers: Allowed values of the claim `iss`.
    """

    keys: KeySet
    secrets: Sequence[SecretKey] = field(default=(), repr=False)
    unsigned: bool = False
    issuers: Sequence[str] = ISSUERS

    async def open(self, body: bytes, content_type: str = "") -> Mapping[str, Any]:
        """Return the content of an authentic delivery.

        Args:
            body: Body of the request.
            content_type: Content type of the request.

        Raises:
            ProvenanceError: The delivery is not signed, or its signature or its key is wrong.
            DeliveryDeferredError: The key cannot be looked up now; the sender should retry.
            EventError: The delivery cannot be read.
        """
        text = body.strip()
        if (payload := _form_payload(text, content_type)) is not None:
            return self._decrypted(payload)
        if text.startswith(b'"') and text.endswith(b'"') and len(text) > 1:
            text = text[1:-1]
        if not text.startswith(b"{"):
            return await self._verified(text)
        return self._plain(text)

    def _plain(self, text: bytes) -> Mapping[str, Any]:
        found = _json(text)
        if isinstance(found.get("payload"), str):
            return self._decrypted(found["payload"])
        if not self.unsigned:
            raise ProvenanceError("the event is not signed")
        return found

    def _decrypted(self, payload: str) -> Mapping[str, Any]:
        if not self.secrets:
            raise ProvenanceError("the event is encrypted, and PRODUCTION_KEY1 is not set")
        try:
            return _json(decrypt(payload, list(self.secrets)))
        except EventError:
            # CBC does not detect a wrong key, but the result is then not JSON.
            raise ProvenanceError("the payload cannot be decrypted with PRODUCTION_KEY1") from None

    async def _verified(self, token: bytes) -> Mapping[str, Any]:
        parts = token.split(b".")
        if len(parts) != 3 or not all(parts) or len(parts[0]) > LARGEST_HEADER:
            raise EventError("the body is neither JSON nor a signed event")
        key = await self.keys.get(_kid(parts[0]))
        if key is None:
            raise ProvenanceError("the event is signed with an unknown key")
        try:
            key.verify(_base64(parts[2]), token[: len(parts[0]) + 1 + len(parts[1])], _PADDING, _HASH)
        except InvalidSignature:
            raise ProvenanceError("the signature is wrong") from None
        claims = _json(_base64(parts[1]))
        self._check(claims)
        return claims

    def _check(self, claims: Mapping[str, Any]) -> None:
        now = time.time()
        if "iss" in claims and claims["iss"] not in self.issuers:
            raise ProvenanceError("the event names another issuer")
        for name, problem in (
            ("exp", "is expired"),
            ("nbf", "is not valid yet"),
            ("iat", "was signed at another time"),
        ):
            if name not in claims:
                continue
            at = claims[name]
            if isinstance(at, bool) or not isinstance(at, (int, float)):
                raise ProvenanceError(f"the event's {name} is not a time")
            bad = {"exp": now > at + LEEWAY, "nbf": now < at - LEEWAY, "iat": not at - LEEWAY <= now <= at + OLDEST}[
                name
            ]
            if bad:
                raise ProvenanceError(f"the event {problem}")


def _form_payload(text: bytes, content_type: str) -> str | None:
    """Return the payload of a form. A token with the content type of a form, as curl sends it, is not a form."""
    if "form-urlencoded" not in content_type and not text.startswith(b"payload="):
        return None
    try:
        return parse_qs(text.decode("utf-8", "replace"), max_num_fields=10).get("payload", [None])[0]
    except ValueError:
        raise EventError("the form has too many fields") from None


@lru_cache(maxsize=64)
def _kid(header: bytes) -> str:
    """Return the id of the key; a token of another algorithm is refused before any key is looked up."""
    found = _json(_base64(header))
    if found.get("alg") != "RS256" or "crit" in found:
        raise ProvenanceError("the event is not signed by RS256")
    if not isinstance(found.get("kid"), str):
        raise ProvenanceError("the signature names no key")
    return str(found["kid"])


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise EventError("the body is neither JSON nor a signed event") from None


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise EventError("the event is not JSON") from None
    if not isinstance(found, dict):
        raise EventError("the event is not a JSON object")
    return found
