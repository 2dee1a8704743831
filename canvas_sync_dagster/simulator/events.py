"""Live events of the simulated Canvas: what changed since last time, signed as Data Services signs."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import jwt
import polars as pl
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from canvas_sync_dagster.simulator.university import ROOT_ACCOUNT, SHARD, University

SHARD_NUMBER = 7
"""The shard that this Canvas lives on; its own ids are local in REST and reports, global in most events."""
ISSUER = "https://live-events.canvas.instructure.com"
TRIES = 4

Body = dict[str, Any]


def global_id(number: int | None) -> str | None:
    """Spells an id as events do: global, as text; those of other shards are global already."""
    if number is None:
        return None
    return str(number if number >= SHARD else SHARD_NUMBER * SHARD + number)


def _local(number: int | None) -> str | None:
    return None if number is None else str(number)


def _course(row: Body) -> Body:
    return {"course_id": global_id(row["id"]), "account_id": global_id(row["account_id"]), "name": row["name"],
            "workflow_state": row["state"], "uuid": f"uuid-{row['id']}"}  # fmt: skip


def _section(row: Body) -> Body:
    return {"course_section_id": _local(row["id"]), "course_id": _local(row["course_id"]), "name": row["name"],
            "nonxlist_course_id": _local(row["nonxlist_course_id"]), "sis_source_id": row["sis_id"],
            "workflow_state": row["state"], "start_at": None, "end_at": None}  # fmt: skip


def _enrollment(row: Body) -> Body:
    return {"enrollment_id": global_id(row["id"]), "user_id": global_id(row["user_id"]), "type": row["type"],
            "course_section_id": global_id(row["section_id"]), "course_id": global_id(row["course_id"]),
            "workflow_state": row["state"], "limit_privileges_to_course_section": False}  # fmt: skip


def _user(row: Body) -> Body:
    name = f"{row['first_name']} {row['last_name']}".strip()
    return {
        "user_id": global_id(row["id"]),
        "name": name,
        "short_name": row["first_name"],
        "workflow_state": "registered",
    }


def _assignment(row: Body) -> Body:
    return {"assignment_id": global_id(row["id"]), "context_id": global_id(row["course_id"]), "context_type": "Course",
            "title": row["title"], "description": row["description"], "points_possible": row["points"],
            "workflow_state": row["state"]}  # fmt: skip


def _account(row: Body) -> Body:
    return {"account_id": row["id"], "name": row["name"], "parent_account_id": row["parent_id"],
            "root_account_id": ROOT_ACCOUNT, "workflow_state": row["state"]}  # fmt: skip


BODIES: dict[str, tuple[str, Callable[[Body], Body]]] = {
    "accounts": ("account", _account),
    "users": ("user", _user),
    "courses": ("course", _course),
    "sections": ("course_section", _section),
    "enrollments": ("enrollment", _enrollment),
    "assignments": ("assignment", _assignment),
}
"""Table of the university → what its events are called, and what they say."""


class EventSource:
    """What changed in a university since it was last asked."""

    def __init__(self, university: University) -> None:
        self._university = university
        self._seen = {table: getattr(university, table) for table in BODIES}

    def take(self) -> list[Body]:
        """Returns an event for each row that is new or differs."""
        found = []
        for table, (name, body) in BODIES.items():
            now: pl.DataFrame = getattr(self._university, table)
            before = self._seen[table]
            self._seen[table] = now
            changed = now.join(before, on=now.columns, how="anti", nulls_equal=True, maintain_order="left")
            known = set(changed.join(before, on="id", how="semi").get_column("id").to_list())
            for row in self._with_course(table, changed).to_dicts():
                verb = "updated" if row["id"] in known else "created"
                found.append(event(f"{name}_{verb}", body(row), row["updated_at"], row.get("course_id")))
        return found

    def saved_again(self, table: str, number: int) -> list[Body]:
        """Returns the events of rows that were saved without a change, which Canvas tells as well."""
        name, body = BODIES[table]
        rows: pl.DataFrame = self._with_course(table, getattr(self._university, table).head(number))
        now = self._university.now
        return [event(f"{name}_updated", body(row), now, row.get("course_id")) for row in rows.to_dicts()]

    def _with_course(self, table: str, rows: pl.DataFrame) -> pl.DataFrame:
        if table != "enrollments":
            return rows
        homes = self._university.sections.select(section_id="id", course_id="course_id")
        return rows.join(homes, on="section_id", how="left", maintain_order="left")


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
