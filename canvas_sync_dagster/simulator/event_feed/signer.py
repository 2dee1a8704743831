"""Sign live events as Canvas Data Services does, with a set of keys that rotates."""

from __future__ import annotations

import json
import threading
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from canvas_sync_dagster.simulator.event_feed.event_bodies import Body

ISSUER = "https://live-events.canvas.instructure.com"


class Signer:
    """Keys that sign events: the previous one, the current one and the next, as the real set holds them."""

    def __init__(self) -> None:
        self._keys = [self._new(n) for n in range(3)]
        self._made = 3

    def rotate(self) -> None:
        """Make the next key the current one."""
        self._keys = [*self._keys[1:], self._new(self._made)]
        self._made += 1

    def jwks(self) -> Body:
        """Return the public keys as a JSON Web Key Set."""
        keys = []
        for kid, key in self._keys:
            keys.append({**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", "alg": "RS256"})
        return {"keys": keys}

    def sign(self, payload: Body, **claims: object) -> str:
        """Return an event signed with the current key.

        Args:
            payload: The event.
            claims: Added to the event's claims.
        """
        kid, key = self._keys[1]
        whole = {**payload, "iss": ISSUER, "iat": int(time.time()), **claims}
        return jwt.encode(whole, key, algorithm="RS256", headers={"kid": kid})

    @staticmethod
    def _new(number: int) -> tuple[str, rsa.RSAPrivateKey]:
        return f"2026-{number:02}", rsa.generate_private_key(public_exponent=65537, key_size=2048)


class LazySigner:
    """A signer that makes its keys when they are first needed, because that takes a second."""

    def __init__(self) -> None:
        self._signer: Signer | None = None
        self._lock = threading.Lock()

    def get(self) -> Signer:
        with self._lock:
            self._signer = self._signer or Signer()
            return self._signer
