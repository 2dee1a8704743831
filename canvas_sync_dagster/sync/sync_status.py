"""Sync status per model and scope: how fresh the table is, how the last sync ended, and what the next one requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.catalogue.parameters import Parameters
from canvas_sync_dagster.cron import Cron
from canvas_sync_dagster.full_sync_policy import schedule_problem
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.declared_columns import versions_of
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.policy import Decision, SyncPolicy
from canvas_sync_dagster.sync.report_request import (
    PROPRIETARY,
    STOCK,
    ReportGroup,
    plan_request,
    report_groups,
    requested,
    rest_models,
)
from canvas_sync_dagster.sync.rest_sync import IN_FULL, walk_parameters
from canvas_sync_dagster.sync.staleness import staleness_of
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.state.job_logs import JobLogs, LastSync
from canvas_sync_dagster.warehouse.state.watermarks import Watermark, Watermarks

JUDGED_DAYS = 400
"""How far ahead a schedule is compared with `full_sync_every`: a year, and some weeks for intervals of weeks."""
JUDGED_TICKS = 2_000
"""Maximum number of ticks that are compared, which takes some milliseconds; twelve weeks of an hourly schedule."""
Place = tuple[str, str]
"""Model and scope."""


@dataclass(frozen=True, slots=True)
class ScopeStatus:
    """Sync status of one model in one scope.

    Attributes:
        model: Name of the model.
        scope: Canvas term id, or empty for the whole account.
        mark: Its watermark; None if it was never loaded.
        behind: Whether it is stale.
        last: Its last sync; None if there was none.
        coming: What a sync would request now; None for a term that is out of scope.
    """

    model: str
    scope: str
    mark: Watermark | None
    behind: bool
    last: LastSync | None
    coming: Decision | None


def read_status(covered: CoveredTerms) -> list[ScopeStatus]:
    """Return the sync status of a tenant's models, in the order of the catalogue.

    Raises:
        CanvasSyncError: The database cannot be reached.
    """
    tenant, now = covered.tenant, datetime.now(UTC)
    with covered.warehouse("reading the journal") as warehouse:
        marks = Watermarks(warehouse).read_all(versions_of(warehouse, tenant, covered.models))
        results = JobLogs(warehouse).last_syncs()
    terms = covered.in_scope(now)
    behind = {(each.model, scope) for each in staleness_of(covered).models for scope in each.stale}
    chosen = tenant.chosen(covered.models)
    coming = dict(_coming(tenant, chosen, marks, results, terms, now))
    return [
        ScopeStatus(
            model.name,
            scope,
            marks.get((model.name, scope)),
            (model.name, scope) in behind,
            results.get((model.name, scope)),
            coming.get((model.name, scope)),
        )
        for model in chosen
        for scope in _scopes(model, marks, terms)
    ]


def unmet_schedules(tenant: TenantSettings, now: datetime) -> Iterator[str]:
    """Yield one sentence for each schedule of a tenant that cannot keep its `full_sync_every`."""
    for genre in (tenant.batch_genre, *tenant.genres):
        settings = tenant.of_genre(genre)
        if settings.full_sync_policy is None or settings.updated_after is False:
            continue
        ticks = list(
            islice(Cron.parse(settings.schedule).ticks(now, settings.time_zone, days=JUDGED_DAYS), JUDGED_TICKS)
        )
        if problem := schedule_problem(settings.full_sync_policy, ticks, settings.time_zone):
            yield (
                f"genre {genre}: full_sync_every is {settings.full_sync_every!r}, the schedule is "
                f"{settings.schedule!r} ({settings.timezone}): {problem}"
            )


def _scopes(model: Model, marks: Mapping[Place, Watermark], terms: list[str]) -> list[str]:
    if not model.term_scoped:
        return [""]
    return sorted({scope for name, scope in marks if name == model.name and scope} | set(terms), key=int)


def _coming(
    tenant: TenantSettings,
    chosen: tuple[Model, ...],
    marks: Mapping[Place, Watermark],
    results: Mapping[Place, LastSync],
    terms: list[str],
    now: datetime,
) -> Iterator[tuple[Place, Decision]]:
    policy = replace(SyncOptions().over(tenant), started_at=now)
    by_name = [model.name for model in chosen]
    for model in rest_models(chosen):
        for scope in terms if model.term_scoped else [""]:
            yield (model.name, scope), _decide_walk(policy, model, marks.get((model.name, scope)))
    models = {model.name: model for model in chosen}
    for group, names in requested(((group, by_name) for group in report_groups(chosen)), policy.params):
        for scope in terms if group.term_scoped else [""]:
            decision = _decide(policy, group, scope, marks, results)
            for name in names:
                last = results.get((name, scope))
                walked = last is not None and last.feed == "rest"
                mark = marks.get((name, scope))
                yield (name, scope), _decide_walk(policy, models[name], mark) if walked else decision


def _decide_walk(policy: SyncPolicy, model: Model, mark: Watermark | None) -> Decision:
    """Decide as the op of a walk over REST will."""
    if model.walk is None or not model.walk.active_by:
        return Decision(None, IN_FULL)
    return _decided(policy, [mark], walk_parameters(model), takes_updated_after=True)


def _decide(
    policy: SyncPolicy,
    group: ReportGroup,
    scope: str,
    marks: Mapping[Place, Watermark],
    results: Mapping[Place, LastSync],
) -> Decision:
    """Decide as the op will; a percentage is drawn only in a batch."""
    last = {results[model.name, scope].source for model in group.models if (model.name, scope) in results}
    provisioning = STOCK if STOCK in {policy.provisioning_report, *last} else PROPRIETARY
    names = [model.name for model in group.models]
    request = plan_request(group, names, {group.report or provisioning}, provisioning, policy.split_reports)
    known = [marks.get((model.name, scope)) for model in request.models]
    return _decided(policy, known, request.basis, takes_updated_after=request.takes_updated_after)


def _decided(
    policy: SyncPolicy, marks: Sequence[Watermark | None], parameters: Parameters, *, takes_updated_after: bool
) -> Decision:
    drawn = policy.full_sync_every is not None and policy.full_sync_every.percent
    decision = replace(policy, full_sync_every=None if drawn else policy.full_sync_every).decide(
        [mark and mark.believed(policy.started_at) for mark in marks],
        parameters,
        takes_updated_after=takes_updated_after,
    )
    if drawn and decision.mode == "incremental":
        return Decision(decision.updated_after, f"{decision.reason}; full with a chance of {drawn}%")
    return decision
