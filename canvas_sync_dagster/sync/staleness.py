"""Tables that are stale, and in which terms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Warehouse

Marks = Mapping[tuple[str, str], datetime]
"""Model and scope → when it was last synced, on our own clock."""


@dataclass(frozen=True, slots=True)
class Staleness:
    """How long ago one model was synced, in each scope that it should be synced in.

    Attributes:
        model: Its name.
        synced: Term in scope, or an empty string for the whole account → its last sync; None if it was never synced.
        stale: Those of them that were not synced within the limit.
    """

    model: str
    synced: Mapping[str, datetime | None]
    stale: Sequence[str] = field(default=())

    @property
    def oldest(self) -> datetime | None:
        """Last sync of the stalest scope; None if a scope was never synced."""
        known = [at for at in self.synced.values() if at is not None]
        return min(known) if known and len(known) == len(self.synced) else None


@dataclass(frozen=True, slots=True)
class TenantStaleness:
    """Staleness of a tenant's models.

    Attributes:
        models: Those that were ever synced.
        names: Term in scope → its name.
        limit: Age above which a scope is stale.
    """

    models: Sequence[Staleness]
    names: Mapping[str, str]
    limit: timedelta


def staleness(
    models: Iterable[Model], marks: Marks, terms: Collection[str], now: datetime, limit: timedelta
) -> list[Staleness]:
    """Return the staleness of each model that was ever synced. Whether Canvas can feed the others is unknown.

    Args:
        models: Models of the tenant.
        marks: The watermarks.
        terms: Ids of the terms in scope.
        now: Current time, aware.
        limit: Age above which a scope is stale.
    """
    found = []
    for model in models:
        if not any(name == model.name for name, _ in marks):
            continue
        scopes = sorted(terms, key=int) if model.term_scoped else [""]
        synced = {scope: marks.get((model.name, scope)) for scope in scopes}
        stale = [scope for scope, at in synced.items() if at is None or now - at > limit]
        found.append(Staleness(model.name, synced, stale))
    return found


def staleness_of(covered: CoveredTerms) -> TenantStaleness:
    """Return the staleness of a tenant's models now, in all terms in scope.

    Raises:
        CanvasSyncError: The database cannot be reached.
    """
    with covered.warehouse("reading watermarks") as warehouse:
        return staleness_on(warehouse, covered, datetime.now(UTC))


def staleness_on(warehouse: Warehouse, covered: CoveredTerms, now: datetime) -> TenantStaleness:
    """Return the staleness of a tenant's models at `now`, in an open transaction."""
    marks, limit = Watermarks(warehouse).sync_times(), covered.tenant.stale_after
    names = {term.id: term.name for term in covered.terms_in_scope(warehouse, now)}
    return TenantStaleness(staleness(covered.models, marks, names, now, limit), names, limit)
