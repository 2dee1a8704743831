"""The sensor `canvas_sync_batches`: ticks the driver of each open batch of all tenants, and requests the runs it launches."""

from __future__ import annotations

import contextlib
import functools
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from canvas_sync_dagster.orchestration import term_watch
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.callbacks import OnSync
from canvas_sync_dagster.orchestration.driver import BatchParts, Driver, executor_of
from canvas_sync_dagster.orchestration.early_sync import EarlySync
from canvas_sync_dagster.orchestration.identifiers import TENANT_TAG
from canvas_sync_dagster.orchestration.next_step import Close
from canvas_sync_dagster.orchestration.orphaned_runs import fail_orphaned_runs
from canvas_sync_dagster.orchestration.run_requests import RunRequests
from canvas_sync_dagster.orchestration.term_sync import TermSync
from canvas_sync_dagster.orchestration.term_watch import TermWatch
from canvas_sync_dagster.sensors.tenant_tasks import TaskLimits, TenantTasks
from canvas_sync_dagster.sensors.tick_report import TickReport
from canvas_sync_dagster.sensors.watched_tenants import TenantDatabase, WatchedTenants
from canvas_sync_dagster.sync.scope import Term
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.state.many_schemas import schemas_at_work
from canvas_sync_dagster.warehouse.state.sync_batches import Batch

SECONDS = 14
"""Shortest time between two ticks. The daemon evaluates every five seconds: with 15 here a tick would come every 20."""


@dataclass(slots=True)
class Driven:
    """What was done for one tenant.

    Attributes:
        lines: Sentences for people.
        requests: Runs to launch.
    """

    lines: list[str] = field(default_factory=list)
    requests: list[dg.RunRequest] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TenantSync:
    """What a tenant's syncs consist of.

    Attributes:
        tenant: Settings of the tenant.
        batches: Returns the tenant's batches of a genre; it may start the database.
        per_term: Whether the tenant syncs anything per term.
        has_end: Whether there are steps at the end of a batch.
        term_assets: Genre → assets of its term runs; a genre that is not in it has all of the term job.
        first: Names of the steps at the start of a batch.
        first_assets: What the root run of a batch for certain terms materializes: the terms, and the steps at the start.
        list_terms: Reads the terms of the tenant from Canvas; None if new terms are not looked for.
    """

    tenant: TenantSettings
    batches: Callable[[str], BatchService]
    per_term: bool = True
    has_end: bool = False
    term_assets: Mapping[str, Sequence[dg.AssetKey]] = field(default_factory=dict)
    first: Sequence[str] = ()
    first_assets: Sequence[dg.AssetKey] = ()
    list_terms: Callable[[], Sequence[Term]] | None = None


class BatchSensor:
    """Drives the batches of all tenants. An idle tenant shares one query with the others in its database.

    Args:
        tenants: The tenants that are looked at.
        syncs: Slug → what the tenant's syncs consist of.
        callbacks: `on_sync` functions.
        limits: Limits of the tasks.
        connections: Connections for the looks.
    """

    def __init__(
        self,
        tenants: WatchedTenants,
        syncs: Mapping[str, TenantSync],
        callbacks: Sequence[OnSync] = (),
        limits: TaskLimits | None = None,
        connections: KeptConnections | None = None,
    ) -> None:
        self._tenants, self._syncs, self._callbacks = tenants, syncs, callbacks
        self._terms = TermWatch()
        self._connections = connections or KeptConnections.for_looks()
        limits = limits or TaskLimits(wait_seconds=30.0, slow_seconds=10.0)
        self._tasks: TenantTasks[Driven | None] = TenantTasks("canvas_sync_batches", limits)
        self._due_at: dict[str, float] = {}

    def tick(self, context: dg.SensorEvaluationContext) -> TickReport:
        """Look at all databases, drive the batches, and report what has ended."""
        running = _tenants_with_runs(context.instance)
        for each in self._tenants.databases:
            look = functools.partial(self._look, context, each, running)
            self._tasks.submit(each.key, look, priority=-1.0)
        report = TickReport("no sync is under way", self._tenants.skipped)
        for slug, driven in self._tasks.values().items():
            if driven is not None:
                if driven.lines:
                    report.done[slug] = ", ".join(driven.lines)
                report.requests += driven.requests
        report.problems |= self._tasks.problems
        return report

    def _look(self, context: dg.SensorEvaluationContext, database: TenantDatabase, running: set[str]) -> None:
        """Submit a task for each tenant with a sync under way, and for those whose regular look is due."""
        with self._connections.transaction(database.url(), "looking for syncs that are under way") as connection:
            at_work = {database.slugs[schema] for schema in schemas_at_work(connection, list(database.slugs))}
        now = time.monotonic()
        for slug in database.slugs.values():
            if slug in at_work or slug in running or now >= self._due_at.get(slug, 0.0):
                self._tasks.submit(slug, functools.partial(self._drive, context, slug))

    def _drive(self, context: dg.SensorEvaluationContext, slug: str) -> Driven:
        """Drive the batches of one tenant, with one connection."""
        with contextlib.closing(KeptConnections()) as connections:
            return self._driven(context, slug, connections)

    def _driven(self, context: dg.SensorEvaluationContext, slug: str, connections: KeptConnections) -> Driven:
        sync, done = self._syncs[slug], Driven()
        service = replace(sync.batches(sync.tenant.batch_genre), connections=connections)
        done.lines += [f"run {run_id} is dead" for run_id in fail_orphaned_runs(context.instance, service)]
        for batch in service.under_way():
            launcher = _launcher(sync, batch)
            own = replace(sync.batches(batch.genre), connections=connections).for_batch(batch)
            step = self._driver(context, sync, own, batch, launcher).tick()
            reason = f"{step.status}, {step.reason}" if isinstance(step, Close) else step.reason
            done.lines.append(f"{batch.key.removeprefix(f'{slug}:')}: {reason}")
            done.requests += launcher.requests
        if sync.per_term and sync.tenant.base_url and sync.list_terms is not None:
            self._update_terms(context, sync, service, done)
        if sync.tenant.base_url:
            self._sync_early(context, sync, service, done)
        # A tenant without a sync is due when its terms are read again; spread, because a start makes all of them due.
        self._due_at[slug] = time.monotonic() + term_watch.EVERY * (1 + random.random()) / 2
        return done

    def _update_terms(
        self, context: dg.SensorEvaluationContext, sync: TenantSync, service: BatchService, done: Driven
    ) -> None:
        """Register the terms that Canvas lists now, and open a batch if terms are new."""
        listed = self._terms.look(sync.tenant.slug, sync.list_terms) if sync.list_terms else None
        if listed is not None:
            launcher = RunRequests(root_assets=sync.first_assets)
            done.lines += TermSync(context.instance, service, launcher, self._callbacks).update(listed)
            done.requests += launcher.requests

    def _sync_early(
        self, context: dg.SensorEvaluationContext, sync: TenantSync, service: BatchService, done: Driven
    ) -> None:
        """Open a batch before its time if live events wait for a report."""
        whole, terms = RunRequests(), RunRequests(root_assets=sync.first_assets)
        done.lines += EarlySync(context.instance, service, whole, terms, self._callbacks).update()
        done.requests += [*whole.requests, *terms.requests]

    def _driver(
        self,
        context: dg.SensorEvaluationContext,
        sync: TenantSync,
        service: BatchService,
        batch: Batch,
        launcher: RunRequests,
    ) -> Driver:
        has_terms = sync.per_term if launcher.term_assets is None else bool(launcher.term_assets)
        parts = BatchParts(has_terms=has_terms, has_end=sync.has_end, start=sync.first)
        return Driver(
            context.instance, service, batch, parts, launcher, executor_of(batch), self._callbacks, context.log
        )


def _launcher(sync: TenantSync, batch: Batch) -> RunRequests:
    return RunRequests(sync.term_assets.get(batch.genre), options=batch.details.get("options"))


def _tenants_with_runs(instance: dg.DagsterInstance) -> set[str]:
    """Return the slugs of the tenants that have a run in progress; its process may be gone."""
    records: Iterable[dg.RunRecord] = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return {slug for record in records if (slug := record.dagster_run.tags.get(TENANT_TAG)) is not None}


def batch_sensor(batches: BatchSensor, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """Return the sensor that drives the batches of all tenants.

    Args:
        batches: What it evaluates.
        jobs: The jobs of the root runs, term runs and steps at the end of all tenants.
    """

    @dg.sensor(
        name="canvas_sync_batches",
        jobs=jobs,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Launches the term runs of all tenants' syncs and closes the syncs that have ended.",
    )
    def drive(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return batches.tick(context).result(context.cursor)

    return drive
