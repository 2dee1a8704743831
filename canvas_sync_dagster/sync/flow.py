"""The steps that the sync of every source takes, whether it is a report of models, a custom report or a list.

1. The journal gets a row, which is renewed by heartbeats.
2. The source is fetched: complete, or not at all. No transaction is open while Canvas is waited for.
3. One transaction locks the scope, reads the watermarks, publishes the rows, advances the watermarks, and closes the row
   of the journal. Killed at any moment, a re-run gets the same tables.

A source defines only what differs: what to request, and what to publish.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from canvas_sync_dagster.canvas.reports import ReportFiles
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.parameters import Parameters, digest
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.declared_columns import versions_of
from canvas_sync_dagster.sync.extensions import RowFunction
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.policy import Decision, SyncPolicy
from canvas_sync_dagster.sync.schema_owner import claim_schema
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.column_versions import Versions
from canvas_sync_dagster.warehouse.schema.existing import Fitness
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.ledger import mark_loaded
from canvas_sync_dagster.warehouse.state.stored_protection import protect_stored
from canvas_sync_dagster.warehouse.state.watermarks import Watermark, Watermarks, model_marked, row_mark
from canvas_sync_dagster.warehouse.warehouse import Warehouse

Log = Callable[[str], None]
"""Takes a line about the progress."""


class Content(Protocol):
    """A source that was fetched."""

    @property
    def observed_at(self) -> datetime:
        """How fresh the rows are, on Canvas's clock."""


class Outcome(Protocol):
    """What a sync did."""

    def summary(self) -> Mapping[str, Any]:
        """Return what the journal keeps."""


ContentT = TypeVar("ContentT", bound=Content)
OutcomeT_co = TypeVar("OutcomeT_co", bound=Outcome, covariant=True)


@dataclass(frozen=True, slots=True)
class Publication(Generic[ContentT]):
    """A source that was fetched, in the transaction that publishes it.

    Attributes:
        warehouse: The tenant's tables, in that transaction.
        content: The source: a file, or rows.
        watermarks: Name → watermark, as it is before this sync; only of what was loaded before.
        waited: Seconds until the source was complete: compiling, polling, downloading, paging.
    """

    warehouse: Warehouse
    content: ContentT
    watermarks: Mapping[str, Watermark]
    waited: float


class FlowSource(Protocol[ContentT, OutcomeT_co]):
    """What differs between the kinds of sources."""

    @property
    def job(self) -> str:
        """Name in the journal: Canvas's name of the report, or `rest:` and the model."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What the journal keeps of the request."""

    @property
    def watermarks(self) -> Sequence[str]:
        """Names of the watermarks that it advances."""

    @property
    def decision(self) -> Decision:
        """Whether it is complete."""

    @property
    def parameters(self) -> Parameters:
        """Parameters of the report other than its term and `updated_after`."""

    def fetch(self) -> AbstractContextManager[ContentT]:
        """Get the source from Canvas; its files exist until the context ends."""

    def publish(self, publication: Publication[ContentT]) -> OutcomeT_co:
        """Write the rows in the open transaction."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The sync of a source in one scope.

    Attributes:
        session: The tenant's Canvas and database.
        policy: Settings and options of the run.
        scope: Canvas term id, or empty for the whole account.
        log: Takes a line about the progress.
    """

    session: Session
    policy: SyncPolicy
    scope: str
    log: Log = field(repr=False)

    @classmethod
    def of(cls, session: Session, options: SyncOptions, scope: str = "", *, log: Log = lambda _: None) -> Flow:
        """Join the settings of the tenant with the options of a run; everything below takes the result.

        Args:
            session: The tenant's Canvas and database.
            options: Options of the run.
            scope: Canvas term id, or empty for the whole account.
            log: Takes a line about the progress.
        """
        return cls(session, options.over(session.tenant), scope, log)

    @property
    def row_functions(self) -> Mapping[str, RowFunction]:
        """Model → the user's function that gets its rows in place of the table."""
        return self.session.extensions.row_functions(self.policy.legacy_support)

    def prepare(self, models: Collection[str], *, per_term: bool) -> Fitness:
        """Check the scope and the tables before Canvas is asked.

        Args:
            models: Names of the models whose tables are needed.
            per_term: Whether the source is requested term by term.

        Raises:
            SettingError: The scope is not a term, or another tenant syncs into the schema.
            SchemaError: Tables are missing; run `canvas-sync migrate`.
        """
        if per_term and not self.scope.isdecimal():
            problem = "this is not a Canvas term"
            raise SettingError("partition", problem, allowed="the id of a term, in digits", value=self.scope)
        session = self.session
        found = prepare_schema(
            session.database_url, session.schema, session.models, models, connections=session.connections
        )
        claim_schema(session)
        self._protect_stored()
        return found

    def _protect_stored(self) -> None:
        """Apply changed settings `exclude` and `hash` to what is stored."""
        session = self.session
        others = [session.tenant.rules.of(model) for model in BUILT_IN if model.name not in session.by_name]
        with session.warehouse("applying the settings exclude and hash") as warehouse:
            cleaned = protect_stored(warehouse, session.models, others)
        if cleaned:
            self.log(f"the settings exclude and hash were applied to what is stored: {', '.join(cleaned)}")

    def watermark_name(self, model: str) -> str:
        """Return the name of a model's watermark: rows for the user's function have one of their own."""
        return row_mark(model) if model in self.row_functions else model

    def decide(self, names: Collection[str], parameters: Parameters, *, takes_updated_after: bool) -> Decision:
        """Decide whether a report is requested in full or since a time.

        Args:
            names: Of the watermarks that the report advances.
            parameters: Parameters of the report other than its term and `updated_after`.
            takes_updated_after: Whether the report can be limited to what changed.
        """
        with self.session.warehouse("reading watermarks") as warehouse:
            known = Watermarks(warehouse).read(names, self.scope, self._versions(warehouse, names))
        marks = [known.get(name) for name in names]
        return self.policy.decide(marks, parameters, takes_updated_after=takes_updated_after)

    def _versions(self, warehouse: Warehouse, names: Collection[str]) -> dict[str, Versions]:
        """Return name of a watermark → versions of the columns that a load fills; only of those about a table."""
        models = [self.session.by_name[name] for name in names if name in self.session.by_name]
        return versions_of(warehouse, self.session.tenant, models)

    def run(self, source: FlowSource[ContentT, OutcomeT_co]) -> OutcomeT_co:
        """Fetch a source and publish it in one transaction.

        Raises:
            CanvasSyncError: Nothing was published; the message names the remedy.
        """
        with journaled(self.session, source.job, source.arguments, self.policy.run_id) as job:
            start = time.perf_counter()
            with source.fetch() as content:
                waited = time.perf_counter() - start
                with self.session.warehouse(self._publishing(source)) as warehouse:
                    watermarks = self._lock(warehouse, source)
                    outcome = source.publish(Publication(warehouse, content, watermarks, waited))
                    self._advance(warehouse, source, content)
                    job.succeed(warehouse, outcome.summary())
        return outcome

    def _publishing(self, source: FlowSource[Any, Any]) -> str:
        names = ", ".join(model_marked(name) for name in source.watermarks)
        return f"loading {names}{f' of term {self.scope}' if self.scope else ''}"

    def _lock(self, warehouse: Warehouse, source: FlowSource[Any, Any]) -> dict[str, Watermark]:
        """Make other syncs of the same models and scope wait, and return the watermarks."""
        watermarks, names = Watermarks(warehouse), source.watermarks
        watermarks.lock([model_marked(name) for name in names], self.scope)
        return watermarks.read(names, self.scope, self._versions(warehouse, names))

    def _advance(self, warehouse: Warehouse, source: FlowSource[Any, Any], content: Content) -> None:
        """Advance the watermarks; a report is not adopted again once it was loaded."""
        report = content if isinstance(content, ReportFiles) else None
        versions = self._versions(warehouse, source.watermarks)
        for name in source.watermarks:
            Watermarks(warehouse).advance(
                name,
                self.scope,
                observed_at=content.observed_at,
                complete=source.decision.updated_after is None,
                report_id=report.report_id if report else None,
                started_at=self.policy.started_at,
                parameters=digest(source.parameters),
                versions=versions.get(name),
            )
        for file in report.files if report else ():
            mark_loaded(warehouse, file.entry)
