"""One report, from the question to the committed tables.

Canvas is asked, the file arrives, and everything it says is published in one transaction together with the
watermarks, the ledger and the journal. Killed at any moment, a re-run adopts the report and reaches the same tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import polars as pl

from canvas_sync_dagster.canvas.archive import Opener, open_tables
from canvas_sync_dagster.canvas.lifecycle import Limits
from canvas_sync_dagster.canvas.reports import ReportDriver, ReportFile, available_reports
from canvas_sync_dagster.catalogue import Enrichment, Model, ProvisioningFeed, ReportFeed
from canvas_sync_dagster.catalogue.parameters import digest
from canvas_sync_dagster.errors import CanvasError, DataRejectedError, SettingError
from canvas_sync_dagster.sync.downloads import download_directory
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import ModelOutcome, SyncOutcome
from canvas_sync_dagster.sync.plan import ReportGroup, Request, plan_request, refuse_skipped, requested
from canvas_sync_dagster.sync.policy import Decision, Mark, decide
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.terms import is_deleted
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.absence import (
    GATE,
    Absence,
    clear_unlisted,
    mark_missing,
    no_keys,
)
from canvas_sync_dagster.warehouse.loading.known_rows import keep_known
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, enrich_csv, load_csv
from canvas_sync_dagster.warehouse.loading.row_by_row import load_row_by_row
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.job_logs import JobLog
from canvas_sync_dagster.warehouse.state.ledger import ReportLedger, mark_loaded
from canvas_sync_dagster.warehouse.state.watermarks import (
    Watermark,
    Watermarks,
    row_mark,
)
from canvas_sync_dagster.warehouse.table_counts import count_rows
from canvas_sync_dagster.warehouse.warehouse import Warehouse

Tell = Callable[[str], None]


def sync_report(
    session: Session,
    group: ReportGroup,
    selected: Collection[str],
    scope: str,
    options: SyncOptions,
    *,
    tell: Tell,
    following: Sequence[tuple[ReportGroup, Collection[str]]] = (),
) -> SyncOutcome:
    """Runs one report and loads what it says.

    Args:
        session: The tenant's Canvas and database.
        group: Models that the report feeds. If models have parameters of their own, `plan.requested` splits it first.
        selected: Names of those that are wanted now.
        scope: Canvas term id, or empty for a report without a term.
        options: What this run asks for in place of the settings.
        tell: Takes a line about the progress.
        following: What this run asks for next, with the models that are wanted; Canvas may begin with it.

    Raises:
        CanvasSyncError: Nothing was published; the message says what to do.
    """
    if group.term_scoped and not scope.isdecimal():
        raise SettingError("partition", "this is not a Canvas term", allowed="the id of a term, in digits", value=scope)
    tenant = options.over(session.tenant)
    found = prepare_schema(session.database_url, session.schema, session.models, selected)
    available = available_reports(session.canvas)
    request = plan_request(_one_report(group, selected, tenant), selected, available, tenant.provisioning_report)
    refuse_skipped(request, tenant.models, tenant=tenant.slug)
    request = request.without({name: f"{why}; see `canvas-sync doctor`" for name, why in found.without_key.items()})
    if not request.models:
        return _skipped(session, request, scope, options)
    decision = _decide(session, tenant, request, scope, options)
    tell(f"{request.report}: {decision.mode}, because {decision.reason}")
    arguments = {"models": [model.name for model in request.models], "scope": scope, "mode": decision.mode}
    with (
        journaled(session, request.report, arguments, options.run_id) as job,
        download_directory(session.home, session.tenant.slug) as directory,
    ):
        start = time.perf_counter()
        parameters = request.parameters(scope, decision.updated_after)
        if not request.lists_all:
            tell(f"{request.report} has parameters of your own, so that no row is taken for missing")
        ledger = ReportLedger(session.database_url, session.schema, session.canvas.account_id)
        driver = ReportDriver(session.canvas, ledger, limits(tenant), tell=tell)

        def order_ahead() -> None:
            for next_group, wanted in requested(following, tenant.params)[: tenant.reports_ahead]:
                ahead = plan_request(next_group, wanted, available, tenant.provisioning_report)
                if ahead.models:
                    _order(driver, ahead, scope, _decide(session, tenant, ahead, scope, options), tell)

        file = driver.obtain(request.report, parameters, directory, meanwhile=order_ahead)
        waited = time.perf_counter() - start
        try:
            return _Publication(session, request, scope, decision, file, job, waited, options).publish()
        except DataRejectedError as error:
            # Whoever runs it again wants another file, not this one once more.
            ledger.reject(file.entry, str(error))
            raise


def _one_report(group: ReportGroup, selected: Collection[str], tenant: TenantSettings) -> ReportGroup:
    reports = requested([(group, selected)], tenant.params)
    if len(reports) > 1:
        raise ValueError(f"{group.name} is {len(reports)} reports, because models have parameters of their own")
    return reports[0][0] if reports else group


def _skipped(session: Session, request: Request, scope: str, options: SyncOptions) -> SyncOutcome:
    """Write into the journal that this Canvas cannot feed any of the models, and return that."""
    outcome = SyncOutcome.nothing(request.report, scope, session.canvas.now(), request.skipped)
    arguments = {"models": [], "scope": scope}
    with (
        journaled(session, request.report, arguments, options.run_id) as job,
        session.warehouse("writing the journal") as warehouse,
    ):
        job.succeed(warehouse, outcome.summary())
    return outcome


def _order(driver: ReportDriver[Any], ahead: Request, scope: str, decision: Decision, tell: Tell) -> None:
    """Has Canvas begin with a report; if it cannot, whoever needs the report will hear of it."""
    try:
        driver.order(ahead.report, ahead.parameters(scope, decision.updated_after))
    except CanvasError as error:
        tell(f"{ahead.report} is not ordered ahead: {error}")


def limits(tenant: TenantSettings) -> Limits:
    """Reads from the settings how long and how often a report is tried."""
    return Limits(
        total=tenant.report_timeout,
        compilation=tenant.report_compilation_timeout,
        queue=tenant.report_timeout,
        tries=tenant.report_max_tries,
        poll=timedelta(seconds=tenant.poll_seconds),
    )


def _decide(session: Session, tenant: TenantSettings, request: Request, scope: str, options: SyncOptions) -> Decision:
    names = [_mark_name(session, model, options) for model in request.models]
    with session.warehouse("reading watermarks") as warehouse:
        known = Watermarks(warehouse).read(names, scope)
    marks = marks_of([known.get(name) for name in names], digest(request.fixed))
    return decide(
        now=options.started_at,
        marks=marks,
        takes_updated_after=request.takes_updated_after,
        mode=options.mode,
        updated_after=tenant.updated_after,
        full_sync_every=tenant.rhythm,
        timezone=tenant.time_zone,
        batch_id=options.batch_id,
    )


def marks_of(known: Sequence[Watermark | None], parameters: str) -> list[Mark | None]:
    """Return the marks that count for a report: what was loaded with other parameters says nothing about these."""
    same = [mark if mark is not None and mark.parameters == parameters else None for mark in known]
    return [Mark(mark.observed_at, mark.full_observed_at, mark.full_started_at) if mark else None for mark in same]


def _mark_name(session: Session, model: Model, options: SyncOptions) -> str:
    """Names a model's watermark: what the user's function has seen of it says nothing of the table, nor the reverse."""
    functions = session.extensions.row_functions(options.legacy_support)
    return row_mark(model.name) if model.name in functions else model.name


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A table that was loaded, and the keys that the report lists of it."""

    model: Model
    counts: LoadCounts
    enriched: Mapping[str, int]
    listed: pl.DataFrame | None


@dataclass(frozen=True, slots=True)
class _Publication:
    """A report on disk, about to be published."""

    session: Session
    request: Request
    scope: str
    decision: Decision
    file: ReportFile
    job: JobLog
    waited: float
    options: SyncOptions

    def publish(self) -> SyncOutcome:
        """Loads all tables of the report in one transaction."""
        number = self.file.status.id
        tables = open_tables(
            self.file.path, self.request.tables() or [self.request.report], where=f"{self.request.report} {number}"
        )
        names = [model.name for model in self.request.models]
        what = f"loading {', '.join(names)}{f' of term {self.scope}' if self.scope else ''}"
        with self.session.warehouse(what) as warehouse:
            watermarks = Watermarks(warehouse)
            watermarks.lock(names, self.scope)
            marked = {model.name: _mark_name(self.session, model, self.options) for model in self.request.models}
            marks = watermarks.read(marked.values(), self.scope)
            source = Source(
                scope=self.scope,
                observed_at=self.file.observed_at,
                report=self.request.report,
                report_id=number,
                complete=self.decision.updated_after is None,
                reload=self.options.reload,
            )
            loaded = []
            for model in self.request.models:
                mark = marks.get(marked[model.name])
                own = replace(source, watermark=mark.observed_at if mark else None)
                loaded.append((own, self._load(warehouse, model, tables, own)))
            # Only now does every row know its parents, and so its term.
            outcomes = [self._told(warehouse, own, each) for own, each in loaded]
            mark_loaded(warehouse, self.file.entry)
            outcome = self._outcome(tuple(outcomes))
            self.job.succeed(warehouse, outcome.summary())
        return outcome

    def _load(self, warehouse: Warehouse, model: Model, tables: Mapping[str, Opener], source: Source) -> _Loaded:
        feed, connection, schema = model.feed, warehouse.connection, warehouse.schema
        table = feed.table if isinstance(feed, ProvisioningFeed) else self.request.report
        prefer = feed.prefer if isinstance(feed, (ProvisioningFeed, ReportFeed)) else None
        function = self.session.extensions.row_functions(self.options.legacy_support).get(model.name)
        if function is not None:
            counts = load_row_by_row(connection, schema, model, tables[table], source, function)
            self._advance(warehouse, model, source)
            return _Loaded(model, counts, {}, None)
        with keep_known(connection, schema, model, tables[table], source) as (narrow, opener, unfit):
            counts = load_csv(
                connection,
                schema,
                narrow,
                opener,
                source,
                prefer=prefer,
                batch_rows=self.session.batch_rows,
                lists=True,
                scratch=self.file.path.parent,
            )
        counts = replace(counts, rows_in_report=counts.rows_in_report + unfit, rejected=counts.rejected + unfit)
        extras = feed.enrichments if isinstance(feed, ProvisioningFeed) else ()
        enriched = {extra.table: self._enrich(warehouse, model, extra, tables, source) for extra in extras}
        self._advance(warehouse, model, source)
        return _Loaded(model, counts, enriched, no_keys(model) if counts.listed is None else counts.listed)

    def _advance(self, warehouse: Warehouse, model: Model, source: Source) -> None:
        Watermarks(warehouse).advance(
            _mark_name(self.session, model, self.options),
            self.scope,
            observed_at=source.observed_at,
            complete=source.complete,
            report_id=source.report_id,
            started_at=self.options.started_at,
            parameters=digest(self.request.fixed),
        )

    def _enrich(
        self, warehouse: Warehouse, model: Model, extra: Enrichment, tables: Mapping[str, Opener], source: Source
    ) -> int:
        connection, schema = warehouse.connection, warehouse.schema
        scratch = self.file.path.parent
        counts = enrich_csv(connection, schema, model, extra, tables[extra.table], source, lists=True, scratch=scratch)
        if not source.complete or source.is_outdated or not self.request.lists_all:
            return counts.updated
        return counts.updated + clear_unlisted(
            connection,
            schema,
            model,
            self.session.by_name,
            source,
            columns=list(extra.columns),
            listed=no_keys(model) if counts.listed is None else counts.listed,
        )

    def _told(self, warehouse: Warehouse, source: Source, loaded: _Loaded) -> ModelOutcome:
        """Marks what a complete report no longer lists, and says what the table holds now."""
        connection, schema, model = warehouse.connection, warehouse.schema, loaded.model
        absence = Absence()
        if source.complete and loaded.listed is not None and self.request.lists_all:
            deleted = is_deleted(connection, schema, self.session.by_name, source.scope)
            gate = None if self.options.accept_shrinkage or deleted else GATE
            absence = mark_missing(connection, schema, model, self.session.by_name, source, loaded.listed, gate=gate)
        counted = count_rows(connection, schema, model, self.session.by_name)
        header = loaded.counts.header
        return ModelOutcome(
            model, loaded.counts, counted.rows, header, loaded.enriched, absence, counted.suspects, counted.orphans
        )

    def _outcome(self, models: tuple[ModelOutcome, ...]) -> SyncOutcome:
        base = str(self.session.canvas.url(f"/accounts/{{account_id}}/reports/{self.request.report}"))
        return SyncOutcome(
            source=self.request.report,
            scope=self.scope,
            observed_at=self.file.observed_at,
            decision=self.decision,
            waited=self.waited,
            models=models,
            skipped=self.request.skipped,
            report_id=self.file.status.id,
            report_url=f"{base}/{self.file.status.id}",
            adopted=self.file.adopted,
        )
