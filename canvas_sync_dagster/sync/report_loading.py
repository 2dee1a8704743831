"""The tables of a downloaded report, loaded in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from psycopg import sql

from canvas_sync_dagster.canvas.archive import Opener
from canvas_sync_dagster.canvas.reports import ReportFiles
from canvas_sync_dagster.catalogue import Enrichment, Model, ProvisioningFeed, ReportFeed
from canvas_sync_dagster.sync.flow import Flow, Publication
from canvas_sync_dagster.sync.outcome import ModelOutcome
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.sync.report_request import ReportRequest
from canvas_sync_dagster.sync.terms import is_deleted
from canvas_sync_dagster.sync.unknown_columns import table_in_report, tables_of, with_added_columns
from canvas_sync_dagster.warehouse.absence import GATE, Absence, clear_unlisted, mark_missing
from canvas_sync_dagster.warehouse.listed_keys import ListedKeys
from canvas_sync_dagster.warehouse.loading.known_rows import keep_known
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, enrich_csv, load_csv
from canvas_sync_dagster.warehouse.loading.provisional_keys import remove_provisional
from canvas_sync_dagster.warehouse.loading.row_by_row import load_row_by_row
from canvas_sync_dagster.warehouse.row_conditions import EVERY_ROW, below_accounts
from canvas_sync_dagster.warehouse.state.observed_headers import remember_header
from canvas_sync_dagster.warehouse.table_counts import count_outside, count_rows
from canvas_sync_dagster.warehouse.warehouse import Table


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A table that was loaded.

    Attributes:
        model: Whose table.
        source: What it was loaded from.
        counts: What became of each record.
        enriched: Enriching table → rows that it changed.
        listed: Keys that the report lists; None if its rows went to the user's function.
    """

    model: Model
    source: Source
    counts: LoadCounts
    enriched: Mapping[str, int]
    listed: ListedKeys | None


@dataclass(frozen=True, slots=True)
class ReportLoad:
    """The load of a report.

    Attributes:
        flow: The tenant, the policy and the scope.
        request: What was requested.
        decision: In full or since when.
        publication: The files, and the transaction.
    """

    flow: Flow
    request: ReportRequest
    decision: Decision
    publication: Publication[ReportFiles]

    def run(self) -> tuple[ModelOutcome, ...]:
        """Load all tables, then mark what a complete report no longer lists.

        Rows are marked last: only when all tables are loaded does every row have its parents, and so its term.
        """
        tables = tables_of(self.request, self.publication.content)
        models = [with_added_columns(self.flow, self.publication.warehouse, model) for model in self.request.models]
        loaded = [self._load(model, tables) for model in models]
        return tuple(self._outcome(each) for each in loaded)

    def _source(self, model: Model) -> Source:
        content = self.publication.content
        watermark = self.publication.watermarks.get(self.flow.watermark_name(model.name))
        return Source(
            scope=self.flow.scope,
            observed_at=content.observed_at,
            report=self.request.report,
            report_id=content.report_id,
            complete=self.decision.updated_after is None,
            watermark=watermark.observed_at if watermark else None,
            # The digests of rows do not show that a column was emptied, or was not there when they were loaded.
            reload=self.flow.policy.reload or bool(watermark and watermark.unfilled),
        )

    def _load(self, model: Model, tables: Mapping[str, Opener]) -> _Loaded:
        feed, source = model.feed, self._source(model)
        csv = tables[table_in_report(self.request, model)]
        function = self.flow.row_functions.get(model.name)
        if function is not None:
            counts = load_row_by_row(self._table(model), csv, source, function)
            return _Loaded(model, source, counts, {}, None)
        counts = self._load_table(model, csv, source)
        if counts.header is not None:
            remember_header(self.publication.warehouse, model.name, counts.header.header)
        remove_provisional(self._table(model))
        extras = feed.enrichments if isinstance(feed, ProvisioningFeed) else ()
        enriched = {extra.table: self._enrich(model, extra, tables[extra.table], source) for extra in extras}
        return _Loaded(model, source, counts, enriched, counts.listed or ListedKeys(model))

    def _load_table(self, model: Model, csv: Opener, source: Source) -> LoadCounts:
        """Load the records that the table can take; the others become rejects."""
        with keep_known(self._table(model), csv, source) as (narrow, opener, unfit):
            counts = load_csv(
                narrow,
                opener,
                source,
                prefer=model.feed.prefer if isinstance(model.feed, (ProvisioningFeed, ReportFeed)) else None,
                batch_rows=self.flow.session.batch_rows,
                lists=True,
                scratch=self.publication.content.directory,
            )
        return replace(counts, rows_in_report=counts.rows_in_report + unfit, rejected=counts.rejected + unfit)

    def _enrich(self, model: Model, extra: Enrichment, csv: Opener, source: Source) -> int:
        """Update columns of the loaded rows from a second table; return how many rows it changed."""
        table, scratch = self._table(model), self.publication.content.directory
        counts = enrich_csv(table, extra, csv, source, lists=True, scratch=scratch)
        if not source.complete or source.is_outdated or not self.request.lists_all:
            return counts.updated
        listed = counts.listed or ListedKeys(model)
        columns, among = list(extra.columns), self._covered(table)
        return counts.updated + clear_unlisted(table, source, columns=columns, listed=listed, among=among)

    def _outcome(self, loaded: _Loaded) -> ModelOutcome:
        absence = self._mark_missing(loaded)
        table = self._table(loaded.model)
        counted = count_rows(table)
        return ModelOutcome(
            loaded.model,
            loaded.counts,
            counted.rows,
            header=loaded.counts.header,
            enriched=loaded.enriched,
            absence=absence,
            suspects=counted.suspects,
            orphans=counted.orphans,
            outside=self._count_outside(table),
        )

    def _mark_missing(self, loaded: _Loaded) -> Absence:
        """Mark the rows that a complete report no longer lists."""
        if not loaded.source.complete or loaded.listed is None or not self.request.lists_all:
            return Absence()
        deleted = is_deleted(self.publication.warehouse, self.flow.scope)
        gate = None if self.flow.policy.accept_shrinkage or deleted else GATE
        table = self._table(loaded.model)
        return mark_missing(table, loaded.source, loaded.listed, gate=gate, among=self._covered(table))

    def _covered(self, table: Table) -> sql.Composable:
        """Return the condition that the report covers a row; sub-accounts cover the rows of their courses only."""
        return below_accounts(table, self._sub_accounts) if self.request.split else EVERY_ROW

    def _count_outside(self, table: Table) -> int:
        """Count the courses of the term that are in none of the sub-accounts."""
        if not self.request.split or table.model.name != "courses":
            return 0
        outside = count_outside(table, self.flow.scope, self._covered(table))
        if outside:
            self.flow.log(f"{outside:,} courses of term {self.flow.scope} are in none of the sub-accounts: not updated")
        return outside

    @property
    def _sub_accounts(self) -> list[int]:
        return [int(account) for account in self.publication.content.parts]

    def _table(self, model: Model) -> Table:
        return self.publication.warehouse.table(model)
