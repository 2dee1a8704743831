"""Live events of the simulated Canvas: what changed since last time, signed as Data Services signs."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from canvas_sync_dagster.simulator.event_bodies import OWN, SPOKEN, Body, Spoken, global_id
from canvas_sync_dagster.simulator.university import ROOT_ACCOUNT, University

ISSUER = "https://live-events.canvas.instructure.com"
TRIES = 4


class EventSource:
    """What changed in a university since it was last asked."""

    def __init__(self, university: University) -> None:
        self._university = university
        self._seen = {table: spoken.rows(university) for table, spoken in OWN.items()}

    def take(self, *, everything: bool = False) -> list[Body]:
        """Returns an event for each row that is new or differs.

        Args:
            everything: Also of the tables that follow from others; of those, since it was last asked for everything.
        """
        found = []
        for table, spoken in (SPOKEN if everything else OWN).items():
            now = spoken.rows(self._university)
            before = self._seen.get(table, now)
            self._seen[table] = now
            changed = now.join(before, on=now.columns, how="anti", nulls_equal=True, maintain_order="left")
            known = set(changed.join(before, on=spoken.key, how="semi").get_column(spoken.key).to_list())
            for row in changed.to_dicts():
                verb = "updated" if row[spoken.key] in known else "created"
                at = row.get("updated_at") if table in OWN else None
                found.append(_event_of(spoken, verb, row, at or self._university.now))
        return found

    def saved_again(self, table: str, number: int) -> list[Body]:
        """Returns the events of rows that were saved without a change, which Canvas tells as well."""
        spoken = SPOKEN[table]
        rows = spoken.rows(self._university).head(number).to_dicts()
        return [_event_of(spoken, "updated", row, self._university.now) for row in rows]


def _event_of(spoken: Spoken, verb: str, row: Body, at: datetime) -> Body:
    course = row.get(spoken.course) if spoken.course else None
    return event(f"{spoken.event}_{verb}", spoken.body(row), at, course)


def event(name: str, body: Body, at: datetime, course: int | None = None) -> Body:
    """Writes an event as Canvas delivers it."""
    context = {"context_type": "Course", "context_id": global_id(course)} if course is not None else {}
    return {
        "metadata": {
            "event_name": name,
            "event_time": at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "producer": "canvas",
            "root_account_id": global_id(ROOT_ACCOUNT),
            "root_account_uuid": f"uuid-of-account-{ROOT_ACCOUNT}",
            "root_account_lti_guid": f"uuid-of-account-{ROOT_ACCOUNT}.simulated",
            **context,
        },
        "body": body,
    }


class Signer:
    """Keys that sign events: the previous one, the current one and the next, as the real set holds them."""

    def __init__(self) -> None:
        self._keys = [self._new(n) for n in range(3)]
        self._made = 3

    def rotate(self) -> None:
        """Makes the next key the current one."""
        self._keys = [*self._keys[1:], self._new(self._made)]
        self._made += 1

    def jwks(self) -> Body:
        """Returns the public set."""
        keys = []
        for kid, key in self._keys:
            keys.append({**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", "alg": "RS256"})
        return {"keys": keys}

    def sign(self, payload: Body, **claims: object) -> str:
        """Signs an event with the current key; claims are added to it."""
        kid, key = self._keys[1]
        whole = {**payload, "iss": ISSUER, "iat": int(time.time()), **claims}
        return jwt.encode(whole, key, algorithm="RS256", headers={"kid": kid})

    @staticmethod
    def _new(number: int) -> tuple[str, rsa.RSAPrivateKey]:
        return f"2026-{number:02}", rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True)
class Weather:
    """What befalls deliveries.

    Attributes:
        loss: Share of events that are never sent.
        duplicates: Share that is sent twice.
        disorder: Whether they are sent in any order.
        seed: Decides which.
    """

    loss: float = 0.0
    duplicates: float = 0.0
    disorder: bool = False
    seed: int = 1

    def befall(self, events: Iterable[Body]) -> list[Body]:
        """Returns the deliveries of events."""
        dice = random.Random(self.seed)
        sent = [each for each in events if dice.random() >= self.loss]
        sent += [each for each in sent if dice.random() < self.duplicates]
        if self.disorder:
            dice.shuffle(sent)
        return sent


def deliver(url: str, signer: Signer, events: Sequence[Body], weather: Weather | None = None) -> list[int]:
    """Posts events one after the other, each up to four times, and returns the last status of each.

    Args:
        url: Of the receiver's endpoint.
        signer: Signs them.
        events: In the order in which they happened.
        weather: What befalls them; nothing if not given.
    """
    statuses = []
    with httpx.Client(timeout=15) as client:
        for each in (weather or Weather()).befall(events):
            token = json.dumps(signer.sign(each))
            for attempt in range(TRIES):
                try:
                    status = client.post(url, content=token, headers={"Content-Type": "application/json"}).status_code
                except httpx.HTTPError:
                    status = 0
                if 200 <= status < 300:
                    break
                time.sleep(0.05 * 2**attempt)
            statuses.append(status)
    return statuses


class LazySigner:
    """A signer whose keys are made when they are first needed: they take a second."""

    def __init__(self) -> None:
        self._signer: Signer | None = None
        self._lock = threading.Lock()

    def get(self) -> Signer:
        with self._lock:
            self._signer = self._signer or Signer()
            return self._signer
