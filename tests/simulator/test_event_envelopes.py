"""Live events against recorded ones: envelope, keys, types, local and global ids, signature."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import jwt
import pytest

from canvas_sync_dagster.simulator import DeliveryFaults, SimulatedCanvas, deliver
from canvas_sync_dagster.simulator.event_feed.event_bodies import EVENT_TABLES
from tests.simulator.conftest import recorded

METADATA = {"event_name", "event_time", "producer", "root_account_id", "root_account_uuid", "root_account_lti_guid"}
"""What every event has, whatever caused it."""
UNRECORDED = {"group_id"}
"""Keys that Instructure documents but that the recorded events lack: the group of an assignment_override."""
LONGEST_LOCAL_ID = 13
"""Digits; global ids have the number of their shard before them."""


def sample(name: str) -> dict[str, Any]:
    return dict(recorded(f"samples/live_events/{name}_created.json"))


def numeric(value: object) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


@pytest.mark.parametrize("table", sorted(set(EVENT_TABLES) - {"learning_outcomes"}))
def test_a_body_has_recorded_keys_with_recorded_types(canvas: SimulatedCanvas, table: str) -> None:
    real = sample(EVENT_TABLES[table].event)["body"]
    events = canvas.save_again(table, 20)
    assert events
    for body in (each["body"] for each in events):
        assert set(body) <= set(real) | UNRECORDED
        for key in set(body) & set(real):
            if body[key] is not None and real[key] is not None:
                assert numeric(body[key]) == numeric(real[key]), key


@pytest.mark.parametrize("table", sorted(set(EVENT_TABLES) - {"learning_outcomes"}))
def test_ids_are_local_or_global_as_recorded(canvas: SimulatedCanvas, table: str) -> None:
    real = sample(EVENT_TABLES[table].event)["body"]
    for body in (each["body"] for each in canvas.save_again(table, 5)):
        for key in (key for key in set(body) & set(real) if key.endswith("_id")):
            if str(body[key]).isdecimal() and str(real[key]).isdecimal():
                local = [len(str(each[key])) <= LONGEST_LOCAL_ID for each in (body, real)]
                assert local[0] == local[1], (key, body[key], real[key])


def test_an_event_has_the_metadata_that_every_recorded_event_has(canvas: SimulatedCanvas) -> None:
    assert set(sample("account")["metadata"]) >= METADATA
    (event,) = canvas.save_again("courses", 1)
    assert set(event) == {"metadata", "body"}
    metadata = event["metadata"]
    assert set(metadata) == METADATA | {"context_type", "context_id"}
    assert set(metadata) <= set(sample("enrollment")["metadata"])
    assert (metadata["event_name"], metadata["producer"]) == ("course_updated", "canvas")
    assert metadata["context_id"] == event["body"]["course_id"]
    assert metadata["event_time"].endswith("Z")
    assert datetime.fromisoformat(metadata["event_time"]) == canvas.now


def test_events_tell_created_rows_from_changed_ones(canvas: SimulatedCanvas) -> None:
    canvas.take_events()
    canvas.advance(days=1)
    names = {event["metadata"]["event_name"] for event in canvas.take_events()}
    assert {"enrollment_created", "user_updated"} <= names
    # Canvas has no *_deleted for these: a deletion is an update with another state.
    assert not {name for name in names if name.endswith("_deleted")}
    assert canvas.take_events() == []


@pytest.fixture
def received() -> Iterator[tuple[str, list[bytes]]]:
    """The URL of a receiver that refuses the first delivery, and what it received."""
    bodies: list[bytes] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(503 if len(bodies) == 1 else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()


def test_events_are_delivered_again_as_quoted_tokens_that_the_key_set_verifies(
    canvas: SimulatedCanvas, received: tuple[str, list[bytes]]
) -> None:
    url, bodies = received
    (event,) = canvas.save_again("users", 1)
    assert deliver(url, canvas.signer, [event]) == [204]
    assert bodies[0] == bodies[1]
    # A receiver gets a JSON text: the token in quotes.
    token = json.loads(bodies[1])
    header = jwt.get_unverified_header(token)
    keys = jwt.PyJWKSet.from_dict(httpx.get(canvas.jwk_url).json())
    claims = jwt.decode(token, keys[header["kid"]].key, algorithms=["RS256"])
    assert claims["iss"] == "https://live-events.canvas.instructure.com"
    assert {"metadata": claims["metadata"], "body": claims["body"]} == event


def test_the_key_set_holds_the_previous_the_current_and_the_next_key(canvas: SimulatedCanvas) -> None:
    before = [key["kid"] for key in httpx.get(canvas.jwk_url).json()["keys"]]
    canvas.signer.rotate()
    after = [key["kid"] for key in httpx.get(canvas.jwk_url).json()["keys"]]
    assert len(after) == 3
    assert after[:2] == before[1:]
    assert jwt.get_unverified_header(canvas.signer.sign({}))["kid"] == before[2]


def test_deliveries_can_be_lost_doubled_and_disordered_in_a_repeatable_way() -> None:
    events: list[dict[str, Any]] = [{"number": number} for number in range(200)]
    faults = DeliveryFaults(loss=0.2, duplicates=0.2, disorder=True, seed=3)
    sent = [event["number"] for event in faults.apply(events)]
    assert sent == [event["number"] for event in faults.apply(events)]
    assert sent != sorted(sent)
    assert 20 < 200 - len(set(sent)) < 60
    assert 15 < len(sent) - len(set(sent)) < 55
    assert DeliveryFaults().apply(events) == events
