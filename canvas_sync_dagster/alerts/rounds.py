"""One round over all tenants: read what is wrong, decide what is due, send one message per target, store what was sent.

A message is sent at least once: if the process dies between sending and keeping, the next round sends it again.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from canvas_sync_dagster.alert_settings import AlertSettings
from canvas_sync_dagster.alerts.conditions import Condition, FailedRun, conditions, failed_run, unreadable
from canvas_sync_dagster.alerts.delivery import Target, targets_of
from canvas_sync_dagster.alerts.due import Notice, due, updated
from canvas_sync_dagster.alerts.facts import read_facts
from canvas_sync_dagster.alerts.messages import message
from canvas_sync_dagster.alerts.standings import Standings, as_json, from_json, read_standings, write_standings
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.redaction import summary
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.warehouse.schema.prepare import schema_exists
from canvas_sync_dagster.warehouse.state.alert_states import AlertStates
from canvas_sync_dagster.warehouse.warehouse import Warehouse

READERS = 8
"""Tenants that are read at once, so many connections at most; each takes about 20 ms."""
READ_SECONDS = 15.0
SENDERS = 32
"""Targets that are sent to at once; they wait for other servers."""
SEND_SECONDS = 25.0
"""A delivery takes up to 10 seconds, and a slow connection once more; Dagster allows a tick 60."""
PAUSE = timedelta(minutes=5)
"""Shortest time between two messages to one target. What becomes due meanwhile is in the next one, as a digest."""

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run outside a batch that ended since the last round and is not retried.

    Attributes:
        tenant: Slug of its tenant.
        run: Its job, partition and id.
        failed: Whether it failed.
    """

    tenant: str
    run: FailedRun
    failed: bool


@dataclass(frozen=True, slots=True)
class AlertTenant:
    """A tenant with alerts.

    Attributes:
        slug: Its slug.
        settings: Its alerts.
        covered: Returns its terms; called within a round, because it may start the embedded database.
        asset_path: Returns the path of a model's page in the Dagster UI.
    """

    slug: str
    settings: AlertSettings
    covered: Callable[[], CoveredTerms] = field(repr=False)
    asset_path: Callable[[str], str] = field(default=lambda _: "", repr=False)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the sensor keeps between two rounds.

    Attributes:
        unreadable: Slug → channel → standings of a tenant whose database could not be read.
        sent: Digest of a target → when a message was last sent to it.
    """

    unreadable: Mapping[str, Mapping[str, Standings]] = field(default_factory=dict)
    sent: Mapping[str, datetime] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Memory:
        """Return the memory that `as_json` wrote."""
        unreadable = {
            slug: {channel: from_json(slug, rows) for channel, rows in channels.items()}
            for slug, channels in content.get("unreadable", {}).items()
        }
        return cls(unreadable, {key: datetime.fromisoformat(at) for key, at in content.get("sent", {}).items()})

    def as_json(self) -> dict[str, Any]:
        """Return the memory for the sensor's cursor; it contains no secret."""
        unreadable = {
            slug: {channel: as_json(each.values()) for channel, each in channels.items() if each}
            for slug, channels in self.unreadable.items()
        }
        kept = {slug: channels for slug, channels in unreadable.items() if channels}
        return {"unreadable": kept, "sent": {key: at.isoformat() for key, at in self.sent.items()}}


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a notice comes from: a tenant, and whether its standing is in the database or in the memory."""

    tenant: AlertTenant
    channel: str
    in_database: bool


@dataclass(slots=True)
class Round:
    """One round.

    Attributes:
        tenants: Tenants with alerts.
        memory: What the last round kept.
        now: Current time, aware.
        runs: Runs that ended since the last round, the latest last.
        lines: What happened, for the log.
    """

    tenants: Sequence[AlertTenant]
    memory: Memory
    now: datetime
    runs: Sequence[EndedRun] = ()
    lines: list[str] = field(default_factory=list)

    def run(self) -> Memory:
        """Execute the round, and return what the next one needs. A tenant or a target that fails affects no other."""
        results = _at_once(self._read, {each.slug: each for each in self.tenants}, READERS, READ_SECONDS)
        outgoing: dict[Target, list[tuple[_Source, Notice]]] = defaultdict(list)
        unreadable: dict[str, dict[str, Standings]] = {}
        for tenant in self.tenants:
            found = results.get(tenant.slug)
            read = found if isinstance(found, dict) else {}
            problem = summary(found) if isinstance(found, Exception) else ""
            if problem:
                self.lines.append(f"{tenant.slug}: {problem}")
            unreadable[tenant.slug] = self._remembered(tenant, problem, known=tenant.slug in results)
            for target in targets_of(tenant.settings):
                for standings, stored in (
                    (read.get(target.channel, {}), True),
                    (unreadable[tenant.slug][target.channel], False),
                ):
                    source = _Source(tenant, target.channel, stored)
                    notices = due(standings.values(), self.now, tenant.settings.remind_after)
                    outgoing[target] += [(source, notice) for notice in notices]
        sent = self._send({target: notices for target, notices in outgoing.items() if notices}, unreadable)
        return Memory(unreadable, sent)

    def _read(self, tenant: AlertTenant) -> dict[str, Standings]:
        """Read a tenant, write what is new, and return channel → standings."""
        covered = tenant.covered()
        with covered.warehouse("reading alerts") as warehouse:
            if not schema_exists(warehouse.connection, warehouse.schema):
                return {}
            facts = read_facts(warehouse, covered, self.now)
            settings = tenant.settings
            present = [
                each
                for each in conditions(
                    tenant.slug, facts, self.now, token_warning=settings.token_warning, asset_path=tenant.asset_path
                )
                if each.kind in settings.kinds
            ]
            channels = [target.channel for target in targets_of(settings)]
            AlertStates(warehouse).keep_channels(channels)
            return {channel: self._updated(warehouse, tenant, channel, present) for channel in channels}

    def _updated(
        self, warehouse: Warehouse, tenant: AlertTenant, channel: str, present: Sequence[Condition]
    ) -> Standings:
        before = read_standings(warehouse, tenant.slug, channel)
        known = {key: each for key, each in before.items() if each.condition.kind in tenant.settings.kinds}
        after = updated(known, [*present, *failed_runs(tenant, self.runs, known)], self.now)
        write_standings(warehouse, channel, before, after)
        return after

    def _remembered(self, tenant: AlertTenant, problem: str, *, known: bool) -> dict[str, Standings]:
        """Return channel → standings of a tenant's database: whether it can be read."""
        before = self.memory.unreadable.get(tenant.slug, {})
        present = [unreadable(tenant.slug, problem)] if problem else []
        present = [each for each in present if each.kind in tenant.settings.kinds]
        channels = [target.channel for target in targets_of(tenant.settings)]
        if not known:
            # The round had no time for the tenant: nothing is known.
            return {channel: dict(before.get(channel, {})) for channel in channels}
        return {channel: updated(before.get(channel, {}), present, self.now) for channel in channels}

    def _send(
        self, outgoing: Mapping[Target, list[tuple[_Source, Notice]]], unreadable: Mapping[str, dict[str, Standings]]
    ) -> dict[str, datetime]:
        """Send one message to each target, store what was sent, and return when each target was last sent to."""
        sent = {key: at for key, at in self.memory.sent.items() if self.now - at < PAUSE}
        ready = {target: notices for target, notices in outgoing.items() if _digest(target) not in sent}

        def deliver(target: Target) -> None:
            target.deliver(message([(notice, source.tenant.settings.ui_url) for source, notice in outgoing[target]]))

        results = _at_once(deliver, {target: target for target in ready}, SENDERS, SEND_SECONDS)
        settled: dict[_Source, list[tuple[Notice, str]]] = defaultdict(list)
        for target, notices in ready.items():
            error = "no time was left" if target not in results else _text(results[target])
            if not error:
                sent[_digest(target)] = self.now
            self.lines.append(f"{len(notices)} alerts by {target.channel}: {error or 'sent'}")
            for source, notice in notices:
                settled[source].append((notice, error))
        self._keep(settled, unreadable)
        return sent

    def _keep(
        self, settled: Mapping[_Source, list[tuple[Notice, str]]], unreadable: Mapping[str, dict[str, Standings]]
    ) -> None:
        """Store what was sent to each channel, and which deliveries failed."""
        in_database: dict[str, dict[_Source, Standings]] = defaultdict(dict)
        for source, results in settled.items():
            after: Standings = {}
            for notice, error in results:
                standing = notice.standing.failed(self.now, error) if error else notice.standing.notified(self.now)
                if standing is not None:
                    after[standing.condition.key] = standing
            if source.in_database:
                in_database[source.tenant.slug][source] = after
                continue
            standings = unreadable[source.tenant.slug][source.channel]
            for notice, _ in results:
                standings.pop(notice.standing.condition.key, None)
            standings.update(after)

        def write(by_source: Mapping[_Source, Standings]) -> None:
            source = next(iter(by_source))
            with source.tenant.covered().warehouse("keeping alerts") as warehouse:
                for each, after in by_source.items():
                    before = {notice.standing.condition.key: notice.standing for notice, _ in settled[each]}
                    write_standings(warehouse, each.channel, before, after)

        for slug, result in _at_once(write, in_database, READERS, READ_SECONDS).items():
            if isinstance(result, Exception):
                self.lines.append(f"{slug}: {summary(result)}; its alerts are sent again")


def failed_runs(tenant: AlertTenant, ended: Iterable[EndedRun], known: Standings) -> list[Condition]:
    """Return the conditions of runs that failed, of this round and before, until the job has succeeded.

    Args:
        tenant: The tenant.
        ended: Runs that ended since the last round, the latest last.
        known: What a channel knew.
    """
    open_runs = {
        each.condition.subject: each.condition
        for each in known.values()
        if not each.resolved and each.condition.subject.startswith("run ")
    }
    for each in ended:
        if each.tenant == tenant.slug:
            condition = failed_run(tenant.slug, each.run)
            open_runs.pop(condition.subject, None)
            if each.failed:
                open_runs[condition.subject] = condition
    return [each for each in open_runs.values() if each.kind in tenant.settings.kinds]


def memory_of(cursor: str | None) -> tuple[Memory, dict[str, Any]]:
    """Return the memory of a cursor, and all of its content; empty for an unreadable cursor."""
    try:
        content = json.loads(cursor or "{}")
        return Memory.parse(content), content
    except (ValueError, KeyError, TypeError, AttributeError):
        return Memory(), {}


def _at_once(function: Callable[[T], Any], arguments: Mapping[K, T], workers: int, seconds: float) -> dict[K, Any]:
    """Call a function for each argument in threads, and return the result or the exception of those that ended in time."""
    pool = ThreadPoolExecutor(max_workers=min(workers, len(arguments)) or 1, thread_name_prefix="alerts")
    try:
        futures = {key: pool.submit(function, each) for key, each in arguments.items()}
        wait(futures.values(), seconds)
        return {key: each.exception() or each.result() for key, each in futures.items() if each.done()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _digest(target: Target) -> str:
    """Return a name of a target for the cursor, from which nothing about it can be read."""
    return hashlib.sha256(target.identity.encode()).hexdigest()[:16]


def _text(result: object) -> str:
    if isinstance(result, CanvasSyncError):
        return str(result)
    return summary(result) if isinstance(result, BaseException) else ""
