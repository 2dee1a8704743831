"""A tenant's batches in its database: opens, annotates and closes them, and closes the journal of runs that died."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.scope import TermScope
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import Connection, transaction
from canvas_sync_dagster.warehouse.process_lock import ProcessLock, is_released
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.job_logs import (
    JOB_LOGS,
    JobLog,
    close_lost_jobs,
    journal_silences,
    were_all_full,
)
from canvas_sync_dagster.warehouse.state.sync_batches import TABLE as BATCHES
from canvas_sync_dagster.warehouse.state.sync_batches import Batch, close_batch, note, open_batch, open_batches

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
    """

    tenant: TenantSettings
    url: str
    models: tuple[Model, ...]
    scope: TermScope | None = None
    connect: Callable[[], AbstractContextManager[Session]] | None = None

    @property
    def terms(self) -> CoveredTerms:
        """The terms that a batch of this tenant and genre covers."""
        return CoveredTerms(self.tenant, self.url, self.models, self.scope)

    def open(self, key: str, details: Mapping[str, Any] | None = None) -> Batch | None:
        """Open a batch; return None if another batch of the genre is under way.

        Args:
            key: Key of the batch. An open batch with this key is returned; a closed one is opened again.
            details: What else is stored with it, such as its `trigger`.
        """
        prepare_schema(self.url, self._schema, self.models, ())
        with self.connected("opening a batch") as connection:
            return open_batch(connection, self._schema, key, self.tenant.batch_genre, details or {})

    def under_way(self) -> list[Batch]:
        """Return the open batches of the tenant, of all genres, the oldest first."""
        with self.connected("reading batches") as connection:
            return open_batches(connection, self._schema) if self._exists(connection, BATCHES) else []

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
        with self.connected("looking for the process of a batch") as connection:
            return is_released(connection, self._schema, batch.key, datetime.fromisoformat(since))

    def note(self, batch: Batch, details: Mapping[str, Any]) -> None:
        """Store details of a batch, which replace details of the same name, and renew its heartbeat."""
        with self.connected("noting a batch") as connection:
            note(connection, self._schema, batch, details)

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
        with self.connected("closing a batch") as connection:
            full = were_all_full(connection, self._schema, runs)
            closed = close_batch(connection, self._schema, batch, status, {"reason": reason, "full_sync": full})
            if closed:
                arguments = {"genre": batch.genre, "terms": batch.terms, "reason": reason}
                error = reason if status == "failed" else None
                JobLog.write_batch(connection, self._schema, batch.key, arguments, batch.started_at, error)
            return closed

    def silences(self) -> dict[str, timedelta]:
        """Return, per run that has an open entry in the journal, the time since its last heartbeat."""
        with self.connected("reading the journal") as connection:
            return journal_silences(connection, self._schema) if self._exists(connection, JOB_LOGS) else {}

    def close_journal(self, run_id: str, reason: str) -> dict[str, Any] | None:
        """Close the open entries of a run in the journal as failed.

        Args:
            run_id: Id of the run.
            reason: Error of the entries, one sentence.

        Returns:
            The last failed entry of the run, otherwise its last entry; None if it has none.
        """
        with self.connected("closing the journal") as connection:
            exists = self._exists(connection, JOB_LOGS)
            return close_lost_jobs(connection, self._schema, run_id, reason) if exists else None

    @contextmanager
    def connected(self, doing: str) -> Iterator[Connection]:
        """Open a transaction on the tenant's database; `doing` becomes part of error messages."""
        with transaction(self.url, doing) as connection:
            yield connection

    @property
    def _schema(self) -> str:
        return self.tenant.schema_in_database

    def _exists(self, connection: Connection, table: str) -> bool:
        # A sensor ticks before the first sync has made any table.
        row = connection.execute("select to_regclass(%s)", (f'"{self._schema}".{table}',)).fetchone()
        return row is not None and row[0] is not None


def last_sync_of(batch: Batch) -> tuple[str, ...]:
    """Return the terms of a batch that are out of scope: each gets its last sync, in full."""
    terms = batch.terms or ()
    return tuple(term for term in terms if term not in batch.details.get("scope", terms))
