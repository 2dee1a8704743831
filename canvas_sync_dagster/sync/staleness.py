"""Which tables have fallen behind, and in which terms."""

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
    """How far one model has fallen behind.

    Attributes:
        model: Its name.
        oldest: When the scope was synced that waits longest; None if one of them never was.
        scopes: Terms that are behind; an empty text stands for the whole account.
    """

    model: str
    oldest: datetime | None
    scopes: Sequence[str] = field(default=())


def staleness(
    models: Iterable[Model], marks: Marks, terms: Collection[str], now: datetime, limit: timedelta
) -> list[Staleness]:
    """Judges each model that was ever synced; of the others it is not known whether this Canvas can feed them.

    Args:
        models: Of the tenant.
        marks: The watermarks.
        terms: Ids of the terms in scope.
        now: Moment of the judgement, aware.
        limit: Age from which on a scope is behind.
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
