"""Opens a tenant's batches, finds its terms in scope, and closes what is over; Dagster's side is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.catalogue.built_in.organisation import terms
from canvas_sync_dagster.sync.batches import leaving
from canvas_sync_dagster.sync.scope import Term, TermScope, in_scope, ordered, refuse_unknown
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.terms import read_terms
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import Connection, transaction
from canvas_sync_dagster.warehouse.process_lock import ProcessLock, is_released
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.job_logs import JOB_LOGS, JobLog, close_lost_jobs, journal_silences
from canvas_sync_dagster.warehouse.state.state_rows import OUR_JOBS, as_json
from canvas_sync_dagster.warehouse.state.sync_batches import (
    Batch,
    close_batch,
    last_scope,
    note,
    open_batch,
    open_batches,
)

LOCKED_AT = "locked_at"
"""Detail of a batch: since when the process that works on it holds its lock; null where it cannot."""


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of one tenant.

    Attributes:
        tenant: Its settings.
        url: Of its database.
        models: Of the code location.
        scope: The user's own choice of terms; the settings' if None.
        connect: Opens a session of the tenant, for the user's functions.
    """

    tenant: TenantSettings
    url: str
    models: tuple[Model, ...]
    scope: TermScope | None = None
    connect: Callable[[], AbstractContextManager[Session]] | None = None

    def open(self, key: str, details: Mapping[str, Any] | None = None) -> Batch | None:
        """Opens a batch; None if one of the genre is under way."""
        schema = self.tenant.schema_in_database
        prepare_schema(self.url, schema, self.models, ())
        with self.connected("opening a batch") as connection:
            return open_batch(connection, schema, key, self.tenant.batch_genre, details or {})

    def under_way(self) -> list[Batch]:
        """Returns the batches that are not over."""
        schema = self.tenant.schema_in_database
        with self.connected("reading batches") as connection:
            exists = connection.execute("select to_regclass(%s)", (f'"{schema}".canvas_sync_sync_batches',)).fetchone()
            return open_batches(connection, schema) if exists and exists[0] else []

    def started_at(self, key: str) -> datetime | None:
        """Return when a batch that is under way started; None if it is not."""
        return next((batch.started_at for batch in self.under_way() if batch.key == key), None)

    def lock(self, key: str) -> ProcessLock:
        """Return the lock that shows that a process works on a batch; the caller holds and releases it."""
        return ProcessLock(self.url, self.tenant.schema_in_database, key)

    def has_lost_its_process(self, batch: Batch) -> bool:
        """Return whether the process that locked a batch is gone; False for a batch that no process locked."""
        since = batch.details.get(LOCKED_AT)
        if since is None:
            return False
        with self.connected("looking for the process of a batch") as connection:
            moment = datetime.fromisoformat(since)
            return is_released(connection, self.tenant.schema_in_database, batch.key, moment)

    @property
    def named(self) -> Sequence[str]:
        """The terms that a person has named for this time, instead of a rule; empty if none."""
        return () if self.scope is None or callable(self.scope) else self.scope

    def terms(self, batch_key: str) -> list[str]:
        """Return the terms that a batch covers, in order: those in scope, and those that have just left it.

        A term that was deleted gets a last sync, too: Canvas still takes its id. One that Canvas no longer lists gets
        none, because Canvas would refuse its id.
        """
        with self.connected("reading terms") as connection:
            known = self._read_terms(connection)
            earlier = last_scope(connection, self.tenant.schema_in_database, self.tenant.batch_genre)
        scope = self._in_scope(known, datetime.now(UTC))
        # Whoever names terms for once says nothing of the others, neither now nor next time.
        last = () if self.named else earlier
        there = [term.id for term in known if not term.missing]
        return ordered([*scope, *leaving(last, scope, there)], self.tenant.term_order, batch_key)

    def refuse_unknown_terms(self) -> None:
        """Refuse names that no term has, and, if a person named them for this time, terms that Canvas no longer lists.

        Raises:
            SettingError: Gives the names, and the terms that exist.
        """
        with self.connected("reading terms") as connection:
            known = self._read_terms(connection)
        if self.named:
            refuse_unknown([term for term in known if not term.missing], self.named)
        elif self.scope is None:
            # A term that vanished must not fail every sync of a tenant whose settings name it.
            refuse_unknown(known, self.tenant.term_scope, "CANVAS_SYNC_TERM_SCOPE")

    def note_terms(self, batch: Batch, terms: Sequence[str]) -> Sequence[str]:
        """Write the terms of a batch, and which of them are in scope; return those that have left it.

        A term that has left the scope gets its last sync once, and in full.
        """
        details: dict[str, Any] = {"terms": list(terms)}
        if not self.named:
            # A sync of models that belong to no term may have no table of terms.
            scope = self.terms_in_scope(datetime.now(UTC)) if terms else ()
            details["scope"] = [term for term in terms if term in scope]
        self.note(batch, details)
        return [term for term in terms if term not in details.get("scope", terms)]

    def term_names(self) -> dict[str, str]:
        """Returns what people call the terms, by id."""
        with self.connected("reading terms") as connection:
            return {term.id: term.name for term in self._read_terms(connection)}

    def terms_in_scope(self, now: datetime) -> list[str]:
        """Returns the terms that a sync would cover."""
        with self.connected("reading terms") as connection:
            return self._in_scope(self._read_terms(connection), now)

    def _read_terms(self, connection: Connection) -> list[Term]:
        model = next((model for model in self.models if model.name == terms.name), terms)
        schema = self.tenant.schema_in_database
        # A tenant whose models belong to no term may have no such table.
        exists = connection.execute("select to_regclass(%s)", (f'"{schema}"."{model.table}"',)).fetchone()
        return read_terms(connection, schema, model) if exists and exists[0] else []

    def _in_scope(self, known: Sequence[Term], now: datetime) -> list[str]:
        return in_scope(known, self.scope or self.tenant.term_scope, now, once=bool(self.named))

    def note(self, batch: Batch, details: Mapping[str, Any]) -> None:
        """Keeps what has become known of a batch."""
        with self.connected("noting a batch") as connection:
            note(connection, self.tenant.schema_in_database, batch, details)

    def close(self, batch: Batch, status: str, reason: str, runs: Sequence[str]) -> bool:
        """Closes a batch; False if somebody else has."""
        schema = self.tenant.schema_in_database
        with self.connected("closing a batch") as connection:
            full = _was_full(connection, schema, runs)
            closed = close_batch(connection, schema, batch, status, {"reason": reason, "full_sync": full})
            if closed:
                arguments = {"genre": batch.genre, "terms": batch.terms, "reason": reason}
                error = reason if status == "failed" else None
                JobLog.write_batch(connection, schema, batch.key, arguments, batch.started_at, error)
            return closed

    def silences(self) -> dict[str, timedelta]:
        """Measures how long each run has been silent that has a job under way in the journal."""
        schema = self.tenant.schema_in_database
        with self.connected("reading the journal") as connection:
            exists = connection.execute("select to_regclass(%s)", (f'"{schema}".canvas_sync_job_logs',)).fetchone()
            return journal_silences(connection, schema) if exists and exists[0] else {}

    def close_journal(self, run_id: str, reason: str) -> dict[str, Any] | None:
        """Closes what a run has left open in the journal; returns its last failed job, else its last."""
        schema = self.tenant.schema_in_database
        with self.connected("closing the journal") as connection:
            exists = connection.execute("select to_regclass(%s)", (f'"{schema}".canvas_sync_job_logs',)).fetchone()
            return close_lost_jobs(connection, schema, run_id, reason) if exists and exists[0] else None

    @contextmanager
    def connected(self, doing: str) -> Iterator[Connection]:
        """Connects to the database; its errors say what was being done."""
        with transaction(self.url, doing) as connection:
            yield connection


def _was_full(connection: Connection, schema: str, runs: Sequence[str]) -> bool | None:
    """Says whether all reports of these runs were full; None if there were none."""
    query = sql.SQL(
        "select bool_and({metadata}->>'mode' = 'full') from {table} where job_id = any(%s) "
        "and {metadata}->>'report_id' is not null"
    ).format(table=sql.Identifier(schema, JOB_LOGS), metadata=sql.SQL(as_json("metadata", OUR_JOBS)))
    row = connection.execute(query, (list(runs),)).fetchone()
    return row[0] if row else None
