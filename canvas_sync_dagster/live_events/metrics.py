"""What a receiver counts and measures, in Prometheus's text format.

With several processes, `PROMETHEUS_MULTIPROC_DIR` names a directory in which `prometheus_client` keeps the values of each
process, so that whichever process answers reports the sums over all of them. The variable must be set before a process
imports this module.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from canvas_sync_dagster.live_events.budget import Budget
from canvas_sync_dagster.live_events.health import InboxHealth
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.warehouse.state.audits import StoredAudit

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of `prometheus_client`: directory that the processes of one receiver share."""
PREFIX = "canvas_sync_live_events"
AUDIT_PREFIX = "canvas_sync_audit"
AUDIT_METRICS: tuple[tuple[str, str, Callable[[StoredAudit], float | None]], ...] = (
    ("timestamp_seconds", "When the table was last compared with Canvas.", lambda each: each.audited_at.timestamp()),
    ("drifted", "Differences of the sample that are not lag.", lambda each: each.drifted),
    ("wrong_ratio", "Estimated share of rows that differ from Canvas.", lambda each: each.wrong_share),
    ("wrong_ratio_at_most", "Upper end of its 95 % interval.", lambda each: each.wrong_high),
    ("missing_ratio", "Estimated share of Canvas's objects that the table lacks.", lambda each: each.missing_share),
    ("missing_ratio_at_most", "Upper end of its 95 % interval.", lambda each: each.missing_high),
    (
        "lag_p95_seconds",
        "95 % of the changes that the table lacks are at most so old.",
        lambda each: each.lag_p95_seconds,
    ),
)
"""Metrics of the latest audit of each table: name, text and value; None if the audit has no such value."""
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters and gauges of one receiver process, and the text of all processes.

    Args:
        budget: Connections of this process.
        keys: Public keys of this process.
        directory: Shared directory of several processes; the environment's if not given, None for one process.
    """

    def __init__(self, budget: Budget, keys: KeySet, directory: str | None = None) -> None:
        self._budget, self._keys = budget, keys
        self._directory = directory or os.environ.get(DIRECTORY)
        self._registry = CollectorRegistry()
        self._answers = Counter(
            PREFIX, "Deliveries, by how they were answered.", ["tenant", "status"], registry=self._registry
        )
        # Looking a label up takes longer than counting.
        self._answer: dict[tuple[str, int], Counter] = {}
        self._closed = Counter(
            f"{PREFIX}_closed",
            "Connections that the receiver closed, by the limit that they reached.",
            ["limit"],
            registry=self._registry,
        )
        self._counted: Tally[str] = Tally()
        self._uncommitted = self._gauge("uncommitted", "Events that wait for their commit.", "tenant")
        self._connections = self._gauge("connections", "Open connections.")
        self._unfinished = self._gauge("unfinished_bytes", "Bytes of requests that are not answered yet.")
        self._known_keys = self._gauge("keys", "Public keys that are known.", mode="livemax")

    @property
    def is_shared(self) -> bool:
        """Return whether several processes report together, so that each must `refresh` its gauges."""
        return self._directory is not None

    def count_answer(self, tenant: str, status: int) -> None:
        """Count a delivery; `tenant` is empty if it names none."""
        counter = self._answer.get((tenant, status))
        if counter is None:
            counter = self._answer[tenant, status] = self._answers.labels(tenant, str(status))
        counter.inc()

    def refresh(self, uncommitted: Mapping[str, int]) -> None:
        """Take over what is measured elsewhere in this process.

        Args:
            uncommitted: Tenant → events that wait for their commit.
        """
        for tenant, number in uncommitted.items():
            self._uncommitted.labels(tenant).set(number)
        self._connections.set(len(self._budget))
        self._unfinished.set(self._budget.held)
        self._known_keys.set(self._keys.size)
        for limit, number in (self._budget.closed - self._counted).items():
            self._closed.labels(limit).inc(number)
        self._counted = self._budget.closed.copy()

    def text(self, inboxes: Mapping[str, InboxHealth]) -> bytes:
        """Return all metrics.

        Args:
            inboxes: Tenant → state of its inbox, which all processes share.
        """
        shared = CollectorRegistry()
        shared.register(_Inboxes(inboxes))
        return generate_latest(self._own()) + generate_latest(shared)

    def _own(self) -> CollectorRegistry:
        if self._directory is None:
            return self._registry
        _forget_dead_processes(self._directory)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, self._directory)  # type: ignore[no-untyped-call]
        return registry

    def _gauge(self, name: str, text: str, *labels: str, mode: str = "livesum") -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self._registry, multiprocess_mode=mode)  # type: ignore[arg-type]


class _Inboxes(Collector):
    """Metrics of the inboxes, which are looked up in the databases for each scrape."""

    def __init__(self, inboxes: Mapping[str, InboxHealth]) -> None:
        self._inboxes = inboxes

    def collect(self) -> Iterator[Metric]:
        yield self._family("database_up", "Whether the database answers.", lambda each: each.database == "ok")
        yield self._family("waiting", "Events in the inbox that are not applied yet.", lambda each: each.waiting)
        yield self._family("dead", "Events that failed as often as they may.", lambda each: each.dead)
        yield self._family("oldest_seconds", "Age of the oldest waiting event.", lambda each: each.oldest_seconds)

        for name, text, of in AUDIT_METRICS:
            yield self._audits(name, text, of)

    def _audits(self, name: str, text: str, value: Callable[[StoredAudit], float | None]) -> Metric:
        family = GaugeMetricFamily(f"{AUDIT_PREFIX}_{name}", text, labels=["tenant", "model"])
        for tenant, inbox in self._inboxes.items():
            for model, audit in inbox.audits.items():
                if (number := value(audit)) is not None:
                    family.add_metric([tenant, model], float(number))
        return family

    def _family(self, name: str, text: str, value: Callable[[InboxHealth], float]) -> Metric:
        family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["tenant"])
        for tenant, inbox in self._inboxes.items():
            family.add_metric([tenant], float(value(inbox)))
        return family


def _forget_dead_processes(directory: str) -> None:
    """Remove the gauges of processes that were killed; their counters stay."""
    for path in Path(directory).glob("gauge_live*.db"):
        process = path.stem.rpartition("_")[2]
        if process.isdigit() and not _is_alive(int(process)):
            # Another process may do the same at this moment.
            with contextlib.suppress(FileNotFoundError):
                mark_process_dead(int(process), directory)  # type: ignore[no-untyped-call]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
