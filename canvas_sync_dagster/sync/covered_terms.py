"""The terms that a tenant's sync covers, read from the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.catalogue.built_in.organisation import terms
from canvas_sync_dagster.sync.scope import Term, TermScope, in_scope, leaving, ordered, refuse_unknown
from canvas_sync_dagster.sync.terms import read_terms
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.state.sync_batches import SyncBatches
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class TermPartitions:
    """The terms that are partitions.

    Attributes:
        in_scope: Ids of the terms in scope, in order.
        synced: Ids of the terms that were ever synced.
    """

    in_scope: Sequence[str]
    synced: frozenset[str]

    @property
    def keys(self) -> frozenset[str]:
        """The partition keys: the terms in scope, and those that have rows here."""
        return self.synced | set(self.in_scope)


@dataclass(frozen=True, slots=True)
class CoveredTerms:
    """Which terms a tenant's sync covers.

    Attributes:
        tenant: Settings of the tenant, with those of the genre applied.
        url: Address of its database.
        models: Models of the code location.
        scope: Terms that were chosen in place of the setting: names for one sync, or the user's function; None for the
            setting.
        connections: Connections to the database that are open already; None to open one for each transaction.
    """

    tenant: TenantSettings
    url: str
    models: tuple[Model, ...]
    scope: TermScope | None = None
    connections: KeptConnections | None = field(default=None, repr=False)

    @property
    def named(self) -> Sequence[str]:
        """Terms that a person named for one sync; empty if a rule chooses them."""
        return () if self.scope is None or callable(self.scope) else self.scope

    def in_scope(self, now: datetime) -> list[str]:
        """Return the ids of the terms that a sync at `now` (aware) would cover, in the order of their ids.

        Raises:
            CanvasSyncError: The database cannot be reached.
        """
        return self._in_scope(self._known(), now)

    def terms_in_scope(self, warehouse: Warehouse, now: datetime) -> list[Term]:
        """Return the terms that a sync at `now` (aware) would cover, read in an open transaction."""
        known = self._read(warehouse)
        chosen = set(self._in_scope(known, now))
        return [term for term in known if term.id in chosen]

    def of_batch(self, batch_key: str) -> list[str]:
        """Return the ids of the terms that a batch covers, in order: those in scope, and those that just left it.

        A term that was deleted gets a last sync, too: Canvas still accepts its id. A term that Canvas no longer lists
        gets none, because Canvas would refuse its id.

        Args:
            batch_key: Key of the batch, which makes a random order reproducible.

        Raises:
            CanvasSyncError: The database cannot be reached.
        """
        with self.warehouse("reading terms") as warehouse:
            known = self._read(warehouse)
            earlier = SyncBatches(warehouse).last_scope(self.tenant.batch_genre)
        scope = self._in_scope(known, datetime.now(UTC))
        # Naming terms for one sync changes nothing for the others, now or in the next sync.
        last = () if self.named else earlier
        there = [term.id for term in known if not term.missing]
        return ordered([*scope, *leaving(last, scope, there)], self.tenant.term_order, batch_key)

    def partitions(self, now: datetime, listed: Sequence[Term] | None = None) -> TermPartitions:
        """Return the terms that are partitions.

        Args:
            now: Current time, aware.
            listed: The terms that Canvas lists; by default, those in the table.

        Raises:
            CanvasSyncError: The database cannot be reached.
        """
        with self.warehouse("reading terms") as warehouse:
            known = self._read(warehouse) if listed is None else listed
            synced = Watermarks(warehouse).synced_terms()
        return TermPartitions(self._in_scope(known, now), frozenset(synced))

    def refuse_unknown(self) -> None:
        """Refuse unknown terms, and terms that Canvas no longer lists if a person named them for one sync.

        Raises:
            SettingError: A name matches no term; the message lists the known ones.
            CanvasSyncError: The database cannot be reached.
        """
        known = self._known()
        if self.named:
            refuse_unknown([term for term in known if not term.missing], self.named)
        elif self.scope is None:
            # A term that vanished must not fail every sync of a tenant whose settings name it.
            refuse_unknown(known, self.tenant.term_scope, "CANVAS_SYNC_TERM_SCOPE")

    def names(self) -> dict[str, str]:
        """Return the name of each known term, by its id.

        Raises:
            CanvasSyncError: The database cannot be reached.
        """
        return {term.id: term.name for term in self._known()}

    @contextmanager
    def warehouse(self, doing: str) -> Iterator[Warehouse]:
        """Open a transaction on the tenant's tables; `doing` becomes part of error messages."""
        models = {model.name: model for model in self.models}
        begin = self.connections.transaction if self.connections else transaction
        with begin(self.url, doing) as connection:
            yield Warehouse(connection, self.tenant.schema_in_database, models)

    def _known(self) -> list[Term]:
        with self.warehouse("reading terms") as warehouse:
            return self._read(warehouse)

    def _read(self, warehouse: Warehouse) -> list[Term]:
        model = warehouse.models.get(terms.name, terms)
        # A tenant whose models belong to no term may have no such table.
        return read_terms(warehouse.table(model)) if warehouse.has(model.table) else []

    def _in_scope(self, known: Sequence[Term], now: datetime) -> list[str]:
        return in_scope(known, self.scope or self.tenant.term_scope, now, once=bool(self.named))
