"""How each model stands in each scope: how fresh it is, how its last sync ended and why so, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from psycopg import sql

from canvas_sync_dagster.catalogue import Model, ReportFeed
from canvas_sync_dagster.cron import Cron
from canvas_sync_dagster.rhythm import unmet
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.plan import PROPRIETARY, STOCK, ReportGroup, carries, report_groups, rest_models
from canvas_sync_dagster.sync.policy import Decision, Mark, decide
from canvas_sync_dagster.sync.staleness import staleness_of
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.state.job_logs import CANCELLED, JOB_LOGS
from canvas_sync_dagster.warehouse.state.state_rows import OUR_JOBS, as_json
from canvas_sync_dagster.warehouse.state.watermarks import model_marked

JUDGED_DAYS = 400
"""How far ahead a schedule is compared with its rhythm: a year and what a rhythm of some weeks needs beyond it."""
JUDGED_TICKS = 2_000
"""Ticks that are compared at most, which takes some milliseconds; of an hourly schedule they are twelve weeks."""
Place = tuple[str, str]
"""Model and scope."""


@dataclass(frozen=True, slots=True)
class Result:
    """How the last sync of a scope ended.

    Attributes:
        source: Canvas's name of the report, or `rest:` and the model.
        status: running, success, error, skipped (this Canvas cannot feed the model) or cancelled.
        at: When it ended, or began.
        mode: Full or incremental; None if it came to nothing.
        reason: Why it was so, or why it was skipped.
        rows: Of the report or list.
        superseded: Of them, those for which the table had newer content.
        error: What went wrong.
    """

    source: str
    status: str
    at: datetime
    mode: str | None
    reason: str | None
    rows: int | None
    superseded: int | None
    error: str | None


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
    last: Result | None
    coming: Decision | None


def standings(covered: CoveredTerms) -> list[Standing]:
    """Reads how a tenant's models stand, in the order of the catalogue.

    Raises:
        CanvasSyncError: The database is away.
    """
    tenant, now = covered.tenant, datetime.now(UTC)
    with covered.connected("reading the journal") as connection:
        marks = _marks(connection, tenant.schema_in_database)
        results = _results(connection, tenant.schema_in_database)
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
    results: Mapping[Place, Result],
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
    results: Mapping[Place, Result],
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


def _marks(connection: Connection, schema: str) -> dict[Place, Mark]:
    query = sql.SQL(
        "select model, scope, observed_at, full_observed_at, full_started_at from {} order by observed_at nulls first"
    )
    rows = connection.execute(query.format(sql.Identifier(schema, "canvas_sync_watermarks"))).fetchall()
    return {(model_marked(name), scope): Mark(*rest) for name, scope, *rest in rows}


def _results(connection: Connection, schema: str) -> dict[Place, Result]:
    # The gem's own rows in the table are left out: their arguments may be anything.
    query = sql.SQL(
        "select distinct on (fed.model, scope) fed.model, j.arguments->>'scope' as scope, j.job_class, "
        "case when skipped ? fed.model then 'skipped' when j.exception = %s then 'cancelled' else j.status end, j.at, "
        "j.metadata->>'mode', coalesce(skipped->>fed.model, j.metadata->>'mode_reason'), "
        "(j.metadata->'models'->fed.model->>'rows_in_report')::bigint, "
        "(j.metadata->'models'->fed.model->>'superseded')::bigint, j.exception from (select id, job_class, status, "
        "exception, coalesce(completed_at, started_at)::timestamptz as at, {} as arguments, {} as metadata from {}) j "
        "cross join lateral (select coalesce(j.metadata->'skipped', '{{}}')) as left_out(skipped) "
        "cross join lateral (select jsonb_array_elements_text(j.arguments->'models') "
        "union all select jsonb_object_keys(skipped) "
        "union all select substr(j.job_class, 6) where j.job_class like 'rest:%%') as fed(model) "
        "where j.arguments->>'scope' is not null order by fed.model, scope, j.id desc"
    ).format(
        sql.SQL(as_json("job_arguments", OUR_JOBS)),
        sql.SQL(as_json("metadata", OUR_JOBS)),
        sql.Identifier(schema, JOB_LOGS),
    )
    rows = connection.execute(query, (CANCELLED,)).fetchall()
    return {(str(model), str(scope)): Result(*rest) for model, scope, *rest in rows}
