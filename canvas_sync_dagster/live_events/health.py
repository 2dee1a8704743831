"""How a receiver is, for probes and for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.live_events.budget import Budget
from canvas_sync_dagster.live_events.inbox import depth
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.warehouse.connection import transaction


@dataclass(frozen=True, slots=True)
class InboxHealth:
    """What is told of one tenant's inbox.

    Attributes:
        database: `ok`, or what is wrong with it.
        waiting: Events that are not applied yet.
        dead: Events that were tried as often as they may be.
        oldest_seconds: How long the oldest one waits.
    """

    database: str = "ok"
    waiting: int = 0
    dead: int = 0
    oldest_seconds: float = 0.0


UNANSWERED = InboxHealth("failing: it does not answer in time")


def inbox_health(url: str, schema: str) -> InboxHealth:
    """Looks into an inbox; blocking."""
    try:
        with transaction(url, "looking into the inbox") as connection:
            found = depth(connection, schema)
    except CanvasSyncError as error:
        return InboxHealth(f"failing: {type(error).__name__}")
    age = (datetime.now(UTC) - found.oldest).total_seconds() if found.oldest else 0.0
    return InboxHealth("ok", found.waiting, found.counts.get("dead", 0), round(max(0.0, age), 1))


def health_document(keys: KeySet, inboxes: Mapping[str, InboxHealth]) -> tuple[bool, bytes]:
    """Returns whether all is well, and what a probe is told."""
    fine = all(each.database == "ok" for each in inboxes.values())
    told = {
        "status": "ok" if fine else "failing",
        "keys": {"known": keys.size, "age_seconds": keys.age, "server": "away" if keys.away else "ok"},
        **{tenant: asdict(each) for tenant, each in inboxes.items()},
    }
    return fine, json.dumps(told).encode()


Samples = Sequence[tuple[Mapping[str, object], float]]


def metrics_text(
    answers: Mapping[tuple[str, int], int],
    uncommitted: Mapping[str, int],
    keys: KeySet,
    inboxes: Mapping[str, InboxHealth],
    budget: Budget,
) -> bytes:
    """Write Prometheus's text format. Counters and connections are those of one process; the inboxes are shared."""
    counted = [({"tenant": tenant, "status": status}, number) for (tenant, status), number in sorted(answers.items())]
    families: list[tuple[str, str, str, Samples]] = [
        ("total", "counter", "Deliveries, by how they were answered.", counted),
        ("uncommitted", "gauge", "Events that wait for their commit.", _by_tenant(uncommitted.items())),
        ("connections", "gauge", "Open connections.", [({}, len(budget))]),
        ("unfinished_bytes", "gauge", "Bytes of requests that are not answered yet.", [({}, budget.held)]),
        (
            "closed_total",
            "counter",
            "Connections that the receiver closed, by the limit that they reached.",
            [({"limit": limit}, number) for limit, number in sorted(budget.closed.items())],
        ),
        ("keys", "gauge", "Public keys that are known.", [({}, keys.size)]),
    ]
    of_inboxes: dict[str, tuple[str, dict[str, float]]] = {
        "database_up": ("Whether the database answers.", {t: each.database == "ok" for t, each in inboxes.items()}),
        "waiting": ("Events in the inbox that are not applied yet.", {t: e.waiting for t, e in inboxes.items()}),
        "dead": ("Events that were given up.", {t: each.dead for t, each in inboxes.items()}),
        "oldest_seconds": ("Age of the oldest event that waits.", {t: e.oldest_seconds for t, e in inboxes.items()}),
    }
    families += [(name, "gauge", text, _by_tenant(found.items())) for name, (text, found) in of_inboxes.items()]
    return "".join(_family(*family) for family in families).encode()


def _by_tenant(numbers: Iterable[tuple[str, float]]) -> Samples:
    return [({"tenant": tenant}, float(number)) for tenant, number in numbers]


def _family(name: str, kind: str, text: str, samples: Samples) -> str:
    whole = f"canvas_sync_live_events_{name}"
    lines = [f"# HELP {whole} {text}", f"# TYPE {whole} {kind}"]
    for labels, number in samples:
        told = ",".join(f'{label}="{value}"' for label, value in labels.items())
        lines.append(f"{whole}{f'{{{told}}}' if told else ''} {number:g}")
    return "\n".join(lines) + "\n"
