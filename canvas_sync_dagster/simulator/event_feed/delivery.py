"""Deliver live events to a receiver over HTTP, as reliably or unreliably as Canvas."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx

from canvas_sync_dagster.simulator.event_feed.event_bodies import Body
from canvas_sync_dagster.simulator.event_feed.signer import Signer

TRIES = 4
"""Canvas sends an event up to four times."""
TIMEOUT_SECONDS = 15
"""After which Canvas takes an event as not delivered."""
FIRST_PAUSE_SECONDS = 0.05
"""Doubles with each try. Canvas waits minutes; nothing in a receiver depends on that."""


@dataclass(frozen=True, slots=True)
class DeliveryFaults:
    """What goes wrong on the way from Canvas to a receiver.

    Attributes:
        loss: Share of events that are never sent, from 0 to 1.
        duplicates: Share of the sent ones that are sent twice, from 0 to 1.
        disorder: Whether they are sent in random order.
        seed: Decides which; equal values treat the same events in the same way.
    """

    loss: float = 0.0
    duplicates: float = 0.0
    disorder: bool = False
    seed: int = 1

    def apply(self, events: Iterable[Body]) -> list[Body]:
        """Return the events in the order and number in which they are sent."""
        dice = random.Random(self.seed)
        sent = [each for each in events if dice.random() >= self.loss]
        sent += [each for each in sent if dice.random() < self.duplicates]
        if self.disorder:
            dice.shuffle(sent)
        return sent


def deliver(url: str, signer: Signer, events: Sequence[Body], faults: DeliveryFaults | None = None) -> list[int]:
    """Post signed events to a receiver, one after the other.

    Args:
        url: Address of the receiver's endpoint.
        signer: Signs them: `SimulatedCanvas.signer`.
        events: In the order in which they happened.
        faults: What goes wrong; nothing if not given.

    Returns:
        The last HTTP status of each event that was sent; 0 where there was no answer.
    """
    with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
        return [_deliver(client, url, signer.sign(each)) for each in (faults or DeliveryFaults()).apply(events)]


def _deliver(client: httpx.Client, url: str, token: str) -> int:
    status = 0
    for attempt in range(TRIES):
        try:
            # Data Services sends the token as a JSON text, in quotes.
            answer = client.post(url, content=json.dumps(token), headers={"Content-Type": "application/json"})
            status = answer.status_code
        except httpx.HTTPError:
            status = 0
        if 200 <= status < 300:
            break
        time.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
    return status
