"""Decides whether terms that came into scope are synced at once: pure, from what is known about the tenant.

This is our equal of Dagster's `AutomationCondition.on_missing()`. The condition would be evaluated for every asset and
partition of every tenant twice a minute, although a term comes into scope a few times a year: 5.1 s of CPU for ten tenants
with three terms each, which is 17 % of a core. It would also launch runs outside of any batch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

MOST = 10
"""More terms at once mean that a person changed `term_scope`; then the schedule syncs them."""
SOON = timedelta(minutes=30)
"""If the schedule's next tick is this near, it syncs the terms: it would be skipped while a batch is under way."""


@dataclass(frozen=True, slots=True)
class TermSituation:
    """All that the decision depends on.

    Attributes:
        in_scope: Ids of the terms in scope, in order.
        synced: Ids of the terms that were ever synced.
        tried: Ids of the terms for which such a batch was opened before. If it failed, the schedule tries again.
        wanted: The setting `sync_new_terms`.
        has_completed: Whether the tenant has completed a batch of the genre.
        under_way: Whether a batch of the tenant is open.
        scheduled: Whether the tenant's schedule is running.
        until_tick: Time until its next tick; None if there is none within a day.
    """

    in_scope: Sequence[str]
    synced: Collection[str] = ()
    tried: Collection[str] = ()
    wanted: bool = True
    has_completed: bool = False
    under_way: bool = False
    scheduled: bool = False
    until_tick: timedelta | None = None


def terms_to_sync(state: TermSituation) -> tuple[str, ...]:
    """Return the ids of the terms for which a batch is opened now; mostly none."""
    new = tuple(term for term in state.in_scope if term not in state.synced and term not in state.tried)
    ready = state.wanted and state.has_completed and state.scheduled and not state.under_way
    soon = state.until_tick is not None and state.until_tick < SOON
    return new if ready and not soon and len(new) <= MOST else ()
