"""A tenant's batches in its database: opens, annotates and closes them, and closes the journal of runs that died."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import SyncUnderWayError
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.scope import TermScope
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.process_lock import ProcessLock, is_released, was_lost_with_server
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.job_logs import JobLogs
from canvas_sync_dagster.warehouse.state.sync_batches import Batch, SyncBatches
from canvas_sync_dagster.warehouse.warehouse import Warehouse

LOCKED_AT = "locked_at"
"""Detail of a batch: when the process that executes it took its lock (ISO-8601); null if it could not take one."""
OUTCOME = "outcome"
"""Detail of a batch: `status` and `reason` once only the steps at its end are left."""


@dataclass(frozen=True, slots=True)
class BatchService:
    """The batches of one tenant and genre.

    Every method raises `CanvasSyncError` if the database cannot be reached.

    Attributes:
        tenant: Settings of the tenant, with those of the genre applied.
        url: Address of its database.
        models: Models of the code location.
        scope: Terms that were chosen in place of the setting; None for the setting.
        connect: Opens a session of the tenant for the user's callbacks; None if they get none.
        connections: Connections to the database that are open already; None to open one for each transaction.
    """

    tenant: TenantSettings
    url: str
    models: tuple[Model, ...]
    scope: TermScope | None = None
    connect: Callable[[], AbstractContextManager[Session]] | None = None
    connections: KeptConnections | None = field(default=None, repr=False)

    @property
    def terms(self) -> CoveredTerms:
        """The terms that a batch of this tenant and genre covers."""
        return CoveredTerms(self.tenant, self.url, self.models, self.scope, self.connections)

    def for_batch(self, batch: Batch) -> BatchService:
        """Return the service for a batch, which may have been opened for certain terms only."""
        only = batch.details.get("only")
        return replace(self, scope=tuple(only)) if only else self

    def open(self, key: str, details: Mapping[str, Any] | None = None) -> Batch | None:
        """Open a batch; return None if another batch of the genre is under way.

        Args:
            key: Key of the batch. An open batch with this key is returned; a closed one is opened again.
            details: What else is stored with it, such as its `trigger`.
        """
        prepare_schema(self.url, self._schema, self.models, (), connections=self.connections)
        with self.warehouse("opening a batch") as warehouse:
            return SyncBatches(warehouse).open(key, self.tenant.batch_genre, details or {})

    def under_way(self) -> list[Batch]:
        """Return the open batches of the tenant, of all genres, the oldest first."""
        with self.warehouse("reading batches") as warehouse:
            return SyncBatches(warehouse).under_way()

    def find(self, key: str) -> Batch | None:
        """Return the open batch with this key; None if there is none."""
        return next((batch for batch in self.under_way() if batch.key == key), None)

    def lock(self, key: str) -> ProcessLock:
        """Return the lock that shows that a process executes the batch; the caller holds and releases it."""
        return ProcessLock(self.url, self._schema, key)

    def has_lost_its_process(self, batch: Batch) -> bool:
        """Return whether the process that locked a batch is gone; False for a batch that no process locked."""
        since = batch.details.get(LOCKED_AT)
        if since is None:
            return False
        with self.warehouse("looking for the process of a batch") as warehouse:
            return is_released(warehouse, batch.key, datetime.fromisoformat(since))

    def refusal(self) -> SyncUnderWayError:
        """Return the error of a sync that was not started, because another of its tenant and genre is under way."""
        genre = self.tenant.batch_genre
        with self.warehouse("reading batches") as warehouse:
            open_batches = [batch for batch in SyncBatches(warehouse).under_way() if batch.genre == genre]
            ends_at = next((ends_by_itself_at(warehouse, self.tenant, batch) for batch in open_batches), None)
        return SyncUnderWayError(self.tenant.slug, genre, ends_at)

    def note(self, batch: Batch, details: Mapping[str, Any]) -> None:
        """Store details of a batch, which replace details of the same name, and renew its heartbeat."""
        with self.warehouse("noting a batch") as warehouse:
            SyncBatches(warehouse).note(batch, details)

    def note_terms(self, batch: Batch, terms: Sequence[str]) -> Batch:
        """Store the terms of a batch, and which of them are in scope now; return the batch with them."""
        details: dict[str, Any] = {"terms": list(terms)}
        if not self.terms.named:
            # A sync of models that belong to no term may have no table of terms.
            scope = self.terms.in_scope(datetime.now(UTC)) if terms else ()
            details["scope"] = [term for term in terms if term in scope]
        self.note(batch, details)
        return replace(batch, terms=tuple(terms), details={**batch.details, **details})

    def note_outcome(self, batch: Batch, status: str, reason: str) -> None:
        """Store how a batch went, `completed` or `failed` and why, before the steps at its end run."""
        self.note(batch, {OUTCOME: {"status": status, "reason": reason}})

    def outcome(self, key: str) -> dict[str, Any] | None:
        """Return how the open batch with this key went: `key`, `genre`, `started_at`, `status`, `reason`."""
        batch = self.find(key)
        if batch is None:
            return None
        outcome = batch.details.get(OUTCOME) or {}
        return {"key": key, "genre": batch.genre, "started_at": batch.started_at, **outcome}

    def close(self, batch: Batch, status: str, reason: str, runs: Sequence[str]) -> bool:
        """Close a batch and write it to the journal.

        Args:
            batch: The batch.
            status: `completed` or `failed`.
            reason: One sentence for people.
            runs: Ids of its runs.

        Returns:
            False if another process has closed it.
        """
        with self.warehouse("closing a batch") as warehouse:
            full = JobLogs(warehouse).were_full(runs)
            closed = SyncBatches(warehouse).close(batch, status, {"reason": reason, "full_sync": full})
            if closed:
                arguments = {"genre": batch.genre, "terms": batch.terms, "reason": reason}
                error = reason if status == "failed" else None
                JobLogs(warehouse).write_batch(batch.key, arguments, batch.started_at, error)
            return closed

    def silences(self) -> dict[str, timedelta]:
        """Return, per run that has an open entry in the journal, the time since its last heartbeat."""
        with self.warehouse("reading the journal") as warehouse:
            return JobLogs(warehouse).silences()

    def close_journal(self, run_id: str, reason: str) -> dict[str, Any] | None:
        """Close the open entries of a run in the journal as failed.

        Args:
            run_id: Id of the run.
            reason: Error of the entries, one sentence.

        Returns:
            The last failed entry of the run, otherwise its last entry; None if it has none.
        """
        with self.warehouse("closing the journal") as warehouse:
            return JobLogs(warehouse).close_orphaned(run_id, reason)

    def warehouse(self, doing: str) -> AbstractContextManager[Warehouse]:
        """Open a transaction on the tenant's tables; `doing` becomes part of error messages."""
        return self.terms.warehouse(doing)

    @property
    def _schema(self) -> str:
        return self.tenant.schema_in_database


def ends_by_itself_at(warehouse: Warehouse, tenant: TenantSettings, batch: Batch) -> datetime | None:
    """Return when a batch counts as failed if its process shows no sign of life until then.

    Args:
        warehouse: The tenant's.
        tenant: Its settings.
        batch: An open batch of it.

    Returns:
        None if no process locked the batch, or nothing speaks against it being alive. The lock is lost with the database
        server; a process that lives takes it again.
    """
    since = batch.details.get(LOCKED_AT)
    if since is None or not was_lost_with_server(warehouse, batch.key, datetime.fromisoformat(since)):
        return None
    return datetime.now(UTC) + max(tenant.lost_after - batch.silence, timedelta())


def last_sync_of(batch: Batch) -> tuple[str, ...]:
    """Return the terms of a batch that are out of scope: each gets its last sync, in full."""
    terms = batch.terms or ()
    return tuple(term for term in terms if term not in batch.details.get("scope", terms))
