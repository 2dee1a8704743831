"""How each model stands in each scope: how fresh it is, how its last sync ended and why so, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from canvas_sync_dagster.catalogue import Model, ReportFeed
from canvas_sync_dagster.cron import Cron
from canvas_sync_dagster.rhythm import unmet
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.plan import PROPRIETARY, STOCK, ReportGroup, carries, report_groups, rest_models
from canvas_sync_dagster.sync.policy import Decision, Mark, decide
from canvas_sync_dagster.sync.staleness import staleness_of
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.state.job_logs import JobLogs, LastSync
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks

JUDGED_DAYS = 400
"""How far ahead a schedule is compared with its rhythm: a year and what a rhythm of some weeks needs beyond it."""
JUDGED_TICKS = 2_000
"""Ticks that are compared at most, which takes some milliseconds; of an hourly schedule they are twelve weeks."""
Place = tuple[str, str]
"""Model and scope."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one model stands in one scope.

    Attributes:
        model: Its name.
        scope: Canvas term id, or empty for the whole account.
        mark: How fresh it is; None if it was never loaded.
        behind: Whether it has not been synced for too long.
        last: Its last sync; None if there was none.
        coming: What a sync would ask for now; None for a term that is out of scope.
    """

    model: str
    scope: str
    mark: Mark | None
    behind: bool
    last: LastSync | None
    coming: Decision | None


def standings(covered: CoveredTerms) -> list[Standing]:
    """Reads how a tenant's models stand, in the order of the catalogue.

    Raises:
        CanvasSyncError: The database is away.
    """
    tenant, now = covered.tenant, datetime.now(UTC)
    with covered.warehouse("reading the journal") as warehouse:
        watermarks = Watermarks(warehouse).read_all()
        results = JobLogs(warehouse).last_syncs()
    marks = {
        place: Mark(each.observed_at, each.full_observed_at, each.full_started_at) for place, each in watermarks.items()
    }
    terms = covered.in_scope(now)
    behind = {(each.model, scope) for each in staleness_of(covered) for scope in each.scopes}
    chosen = tenant.chosen(covered.models)
    coming = dict(_coming(tenant, chosen, marks, results, terms, now))
    return [
        Standing(
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


def unmet_rhythms(tenant: TenantSettings, now: datetime) -> Iterator[str]:
    """Yield one sentence for each schedule of a tenant that cannot meet its rhythm of full syncs."""
    for genre in (tenant.batch_genre, *tenant.genres):
        settings = tenant.of_genre(genre)
        if settings.rhythm is None or settings.updated_after is False:
            continue
        ticks = list(
            islice(Cron.parse(settings.schedule).ticks(now, settings.time_zone, days=JUDGED_DAYS), JUDGED_TICKS)
        )
        if problem := unmet(settings.rhythm, ticks, settings.time_zone):
            yield (
                f"genre {genre}: full_sync_every is {settings.full_sync_every!r}, the schedule is "
                f"{settings.schedule!r} ({settings.timezone}): {problem}"
            )


def _scopes(model: Model, marks: Mapping[Place, Mark], terms: list[str]) -> list[str]:
    if not model.term_scoped:
        return [""]
    return sorted({scope for name, scope in marks if name == model.name and scope} | set(terms), key=int)


def _coming(
    tenant: TenantSettings,
    chosen: tuple[Model, ...],
    marks: Mapping[Place, Mark],
    results: Mapping[Place, LastSync],
    terms: list[str],
    now: datetime,
) -> Iterator[tuple[Place, Decision]]:
    for model in rest_models(chosen):
        for scope in terms if model.term_scoped else [""]:
            yield (model.name, scope), Decision(None, "a list over REST is always read in full")
    for group in report_groups(chosen):
        for scope in terms if group.term_scoped else [""]:
            decision = _decided(tenant, group, scope, marks, results, now)
            for model in group.models:
                yield (model.name, scope), decision


def _decided(
    tenant: TenantSettings,
    group: ReportGroup,
    scope: str,
    marks: Mapping[Place, Mark],
    results: Mapping[Place, LastSync],
    now: datetime,
) -> Decision:
    """Decides as the op will; a percentage is drawn only when there is a batch."""
    last = [results[model.name, scope].source for model in group.models if (model.name, scope) in results]
    feeds = [model.feed for model in group.models]
    limited = any(isinstance(feed, ReportFeed) and feed.takes_updated_after for feed in feeds)
    provisioning = STOCK if STOCK in {tenant.provisioning_report, *last} else PROPRIETARY
    report = group.report or provisioning
    known = [marks.get((model.name, scope)) for model in group.models if carries(report, model)]
    drawn = tenant.rhythm is not None and tenant.rhythm.percent is not None
    decision = decide(
        now=now,
        marks=[mark and mark.believed(now) for mark in known],
        takes_updated_after=limited or report == PROPRIETARY,
        updated_after=tenant.updated_after,
        full_sync_every=None if drawn else tenant.rhythm,
        timezone=tenant.time_zone,
    )
    if drawn and decision.mode == "incremental":
        return Decision(decision.updated_after, f"{decision.reason}; full with a chance of {tenant.full_sync_every}")
    return decision
