"""The sensor `canvas_sync_live_events`: drains the inboxes of all tenants, a small backlog at once, a large one in a run."""

from __future__ import annotations

import functools
import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.assets.metadata import event_materializations
from canvas_sync_dagster.live_events.drain import Drained, drain
from canvas_sync_dagster.live_events.inbox_state import InboxState, looked, needs_look, seen
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG, live_events_job
from canvas_sync_dagster.sensors.tenant_tasks import TaskLimits, TenantTasks
from canvas_sync_dagster.sensors.tick_report import TickReport
from canvas_sync_dagster.sensors.watched_tenants import TenantDatabase, WatchedTenants
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.state.inbox import Backlog, backlog
from canvas_sync_dagster.warehouse.state.many_schemas import inbox_positions
from canvas_sync_dagster.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.session import Session

BUDGET = 5.0
"""Seconds for which one tenant's inbox is drained before it is another one's turn; what is left becomes a run."""
BACKLOG = 5_000
"""Number of events above which a run drains the inbox: `BUDGET` would not suffice, and the run is worth its five seconds
of CPU."""

INTERVAL = 4
"""Seconds. The daemon evaluates every five; with five here, too, every second evaluation would be milliseconds too early."""

Open = Callable[[str], AbstractContextManager["Session"]]


@dataclass(frozen=True, slots=True)
class Turn:
    """What was done for one tenant.

    Attributes:
        backlog: What its inbox contained.
        drained: What was applied; None if nothing was due, or if a run is to drain the inbox.
    """

    backlog: Backlog
    drained: Drained | None = None

    @property
    def needs_run(self) -> bool:
        """Whether events are left that a run has to drain."""
        return self.backlog.due > 0 and (self.drained is None or self.drained.left)


class InboxSensor:
    """Looks into the inboxes of all tenants, and drains those in which events are due.

    Args:
        tenants: The tenants.
        keys: Slug → keys of the tenant's assets.
        session: Opens the session of a tenant, given its slug.
        limits: Limits of the tasks.
        connections: Connections for the looks.
    """

    def __init__(
        self,
        tenants: WatchedTenants,
        keys: Mapping[str, AssetKeys],
        session: Open,
        limits: TaskLimits | None = None,
        connections: KeptConnections | None = None,
    ) -> None:
        self._tenants, self._keys, self._session = tenants, keys, session
        self._connections = connections or KeptConnections.for_looks()
        self._tasks: TenantTasks[Turn | None] = TenantTasks("canvas_sync_live_events", limits)
        # Each key is used by one task at a time.
        self._states: dict[str, InboxState] = {}
        self._drained_at: dict[str, float] = {}

    def tick(self) -> TickReport:
        """Look at all databases, wait for the drains, and report what has ended."""
        for each in self._tenants.databases:
            self._tasks.submit(each.key, functools.partial(self._look, each), priority=-1.0)
        report = TickReport("no events are waiting", self._tenants.skipped)
        for slug, turn in self._tasks.values().items():
            if turn is not None:
                self._report(report, slug, turn)
        report.problems |= self._tasks.problems
        return report

    def _look(self, database: TenantDatabase) -> None:
        """Submit a drain for each tenant whose inbox may contain an event that is due."""
        with self._connections.transaction(database.url(), "looking into the inboxes") as connection:
            positions = inbox_positions(connection, list(database.slugs))
        for schema, position in positions.items():
            slug, now = database.slugs[schema], time.monotonic()
            self._states[slug] = state = seen(self._states.get(slug), position, now)
            if needs_look(state, now):
                self._tasks.submit(slug, functools.partial(self._drain, slug, state), self._drained_at.get(slug, 0.0))

    def _drain(self, slug: str, state: InboxState) -> Turn:
        with transaction(self._tenants.urls[slug](), "looking into the inbox") as connection:
            waiting = backlog(Warehouse(connection, self._tenants.schemas[slug]))
        # Looked at again if it is not empty, or if its number has changed since.
        if self._states.get(slug) is state:
            self._states[slug] = looked(state, waiting, time.monotonic(), random.random())
        if not 0 < waiting.due <= BACKLOG:
            return Turn(waiting)
        with self._session(slug) as opened:
            done = drain(opened, budget=BUDGET)
        self._drained_at[slug] = time.monotonic()
        return Turn(waiting, done)

    def _report(self, report: TickReport, slug: str, turn: Turn) -> None:
        if turn.backlog.due:
            report.done[slug] = described(turn)
        if turn.drained is not None:
            report.events += event_materializations(self._keys[slug], turn.drained)
        if turn.needs_run:
            report.requests.append(run_request(slug, turn.backlog.first, time.time()))


def described(turn: Turn) -> str:
    """Return what was done for a tenant, in a few words."""
    if turn.drained is None:
        return f"{turn.backlog.due} events are waiting; a run drains them"
    if turn.drained.busy:
        return "another drain is at work"
    ended = ", ".join(f"{count} {state}" for state, count in sorted(turn.drained.events.items()))
    return f"{ended or 'nothing applied'}{'; a run drains the rest' if turn.drained.left else ''}"


def run_request(slug: str, first: int | None, now: float) -> dg.RunRequest:
    """Return the request for a run that drains an inbox.

    Args:
        slug: Slug of the tenant.
        first: Id of the oldest event that is due.
        now: Current time, in seconds. The key changes every five minutes, so that a failed run does not block later ones.
    """
    return dg.RunRequest(
        run_key=f"{slug}:{first}:{int(now) // 300}", job_name=live_events_job(slug), tags={TENANT_TAG: slug}
    )


class _LiveEventSensor(dg.SensorDefinition):
    """A sensor whose jobs get resources without a warning.

    Dagster copies a sensor to do so, with all parameters; one of them, `owners`, is in beta, and warns even if it is not
    used.
    """

    def with_updated_jobs(self, new_jobs: Sequence[Any]) -> dg.SensorDefinition:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            return super().with_updated_jobs(new_jobs)


def live_event_sensor(inboxes: InboxSensor, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """Return the sensor that drains the inboxes of all tenants.

    Args:
        inboxes: What it evaluates.
        jobs: The jobs `<tenant>__live_events` of the tenants.
    """

    def live_events(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return inboxes.tick().result(context.cursor)

    return _LiveEventSensor(
        name="canvas_sync_live_events",
        evaluation_fn=live_events,
        jobs=jobs,
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Applies the live events of all tenants: a few at once, many in a run of <tenant>__live_events.",
    )
