"""Tables that are stale, and in which terms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks

Marks = Mapping[tuple[str, str], datetime]
"""Model and scope → when it was last synced, on our own clock."""


@dataclass(frozen=True, slots=True)
class Staleness:
    """The stale scopes of one model.

    Attributes:
        model: Its name.
        oldest: Last sync of the stalest scope; None if one was never synced.
        scopes: Ids of the stale terms; an empty string is the whole account.
    """

    model: str
    oldest: datetime | None
    scopes: Sequence[str] = field(default=())


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
        seen = {scope: marks.get((model.name, scope)) for scope in scopes}
        behind = [scope for scope, at in seen.items() if at is None or now - at > limit]
        known = [at for at in seen.values() if at is not None]
        found.append(Staleness(model.name, min(known) if len(known) == len(seen) and known else None, behind))
    return found


def staleness_of(covered: CoveredTerms) -> list[Staleness]:
    """Judges a tenant's models now.

    Raises:
        CanvasSyncError: The database is away.
    """
    with covered.warehouse("reading watermarks") as warehouse:
        marks = Watermarks(warehouse).sync_times()
    if not marks:
        return []
    now = datetime.now(UTC)
    return staleness(covered.models, marks, covered.in_scope(now), now, covered.tenant.stale_after)
