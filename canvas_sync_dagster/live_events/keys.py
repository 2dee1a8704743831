"""The set of public keys that events are signed with. It rotates every month, and its server does not always answer."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from canvas_sync_dagster.errors import DeliveryDeferredError

LOG = logging.getLogger(__name__)
LIFETIME = 3600.0
"""Seconds for which a set is used before it is fetched again. Keys rotate monthly; the set contains the next one in advance."""
COOL_DOWN = 30.0
"""Seconds between two fetches because of unknown keys. Limits the requests that are caused by invalid tokens."""
AWAY_PAUSE = 3.0
"""Seconds until the next request to a key server that did not answer."""
LARGEST_SET = 1 << 20
TIMEOUT = httpx.Timeout(5.0)


class KeySet:
    """Public keys by their id, fetched when they are needed.

    Args:
        url: Address of the JWK set.
        clock: Returns seconds of a monotonic clock.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._clock = clock
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._away = False
        self._fetching: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """Return the number of known keys."""
        return len(self._keys)

    @property
    def away(self) -> bool:
        """Return whether the last fetch of the set failed."""
        return self._away

    @property
    def age(self) -> float | None:
        """Return the seconds since the set was fetched; None if it never was."""
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    async def get(self, kid: str) -> RSAPublicKey | None:
        """Return a key, or None if the set does not contain it.

        An old set is refreshed in the background while its keys are still used, also when the key server does not
        answer. An unknown key causes a fetch, at most one per cool-down. Only a set that was requested after the event
        arrived shows that a key does not exist: during the cool-down, or with a fetch that was already under way, the
        key may have been published since.

        Raises:
            DeliveryDeferredError: The key is unknown, and the set could not be fetched for this event.
        """
        if kid in self._keys:
            if self.age is None or self.age > LIFETIME:
                self._refresh()
            return self._keys[kid]
        under_way = self._under_way()
        refresh = under_way or self._refresh()
        if refresh is not None:
            await asyncio.shield(refresh)
        if kid in self._keys:
            return self._keys[kid]
        if self._away:
            raise DeliveryDeferredError("the event is signed with an unknown key, and the key server does not answer")
        if refresh is None or under_way is not None:
            raise DeliveryDeferredError("the event is signed with a key that is not known yet")
        return None

    def _under_way(self) -> asyncio.Task[None] | None:
        return self._fetching if self._fetching is not None and not self._fetching.done() else None

    def _refresh(self) -> asyncio.Task[None] | None:
        """Return the fetch that is under way, or start one unless the last one is too recent."""
        if (under_way := self._under_way()) is not None:
            return under_way
        pause = AWAY_PAUSE if self._away else COOL_DOWN
        if self._asked_at is not None and self._clock() - self._asked_at < pause:
            return None
        self._asked_at = self._clock()
        self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False) as client:
                response = await client.get(self.url)
            response.raise_for_status()
            found = read_keys(response.content)
        except (httpx.HTTPError, ValueError) as error:
            LOG.warning("the key set at %s cannot be fetched: %s", self.url, error)
            self._away = True
            return
        self._keys, self._fetched_at, self._away = found, self._clock(), False


def read_keys(content: bytes) -> dict[str, RSAPublicKey]:
    """Read the RSA keys of a JWK set, and skip the others.

    Args:
        content: The set in JSON.

    Returns:
        Key id → key.

    Raises:
        ValueError: The content is not a JWK set, or the set contains no RSA key.
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
        raise ValueError("the content is not a key set, or contains no RSA key")
    return found
