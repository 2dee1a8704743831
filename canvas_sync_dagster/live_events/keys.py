"""The set of public keys that events are signed with; it rotates every month and its server is now and then away."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

LOG = logging.getLogger(__name__)
LIFETIME = 3600.0
"""Seconds that a set is used before it is asked for again. Keys rotate monthly, and the next one stands in the set before."""
COOL_DOWN = 30.0
"""Seconds between two questions because of an unknown key: whoever sends rubbish must not make us flood the key server."""
LARGEST_SET = 1 << 20
TIMEOUT = httpx.Timeout(5.0)


class KeySet:
    """Keys by their id, fetched when they are needed.

    Args:
        url: Of the JWK set.
        clock: Seconds that never go back.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._clock = clock
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._lock = asyncio.Lock()

    @property
    def size(self) -> int:
        """Number of keys that are known."""
        return len(self._keys)

    @property
    def age(self) -> float | None:
        """Seconds since the set was fetched; None if it never was."""
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    async def get(self, kid: str) -> RSAPublicKey | None:
        """Returns a key; the set is fetched anew when it is old, and once for an unknown key.

        While the key server is away the old set goes on being used.
        """
        stale = self.age is None or self.age > LIFETIME
        if (stale or kid not in self._keys) and self._may_ask():
            async with self._lock:
                if kid not in self._keys or self.age is None or self.age > LIFETIME:
                    await self._fetch()
        return self._keys.get(kid)

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at >= COOL_DOWN

    async def _fetch(self) -> None:
        if not self._may_ask():
            return
        self._asked_at = self._clock()
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False) as client:
                response = await client.get(self.url)
            response.raise_for_status()
            found = read_keys(response.content)
        except (httpx.HTTPError, ValueError) as error:
            LOG.warning("the key set at %s cannot be had: %s", self.url, error)
            return
        self._keys, self._fetched_at = found, self._clock()


def read_keys(content: bytes) -> dict[str, RSAPublicKey]:
    """Reads the RSA keys of a JWK set; others are passed over.

    Raises:
        ValueError: It is no JWK set, or holds no RSA key.
    """
    if len(content) > LARGEST_SET:
        raise ValueError("the key set is too large")
    data = json.loads(content)
    listed = data.get("keys") if isinstance(data, dict) else None
    found: dict[str, RSAPublicKey] = {}
    for each in listed if isinstance(listed, list) else []:
        try:
            key = jwt.PyJWK(each, algorithm="RS256").key
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError):
            continue
        if isinstance(key, RSAPublicKey) and key.key_size >= 2048 and isinstance(each.get("kid"), str):
            found[each["kid"]] = key
    if not found:
        raise ValueError("this is no key set, or it holds no RSA key")
    return found
