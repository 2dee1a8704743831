"""Which terms a sync covers, and in which order: pure, from what the table of terms holds."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from canvas_sync_dagster.errors import SettingError

AHEAD = timedelta(days=120)
"""Terms that begin so soon are active, too: their courses are being made, and students enrolled."""


@dataclass(frozen=True, slots=True)
class Term:
    """A term of Canvas.

    Attributes:
        id: In digits, as partition keys are.
        sis_id: None where it has none.
        start_at: None where it is open.
        end_at: None where it is open.
        deleted: Whether Canvas has deleted it.
    """

    id: str
    sis_id: str | None = None
    name: str = ""
    start_at: datetime | None = None
    end_at: datetime | None = None
    deleted: bool = False


TermScope = Sequence[str] | Callable[[Term], bool]


def in_scope(terms: Sequence[Term], scope: TermScope, now: datetime) -> list[str]:
    """Returns the ids of the terms that a sync covers.

    Args:
        terms: All that are known.
        scope: `active`, `all`, ids or SIS ids, or the user's own function.
        now: Moment of the decision, aware.
    """
    live = [term for term in terms if not term.deleted]
    if callable(scope):
        return [term.id for term in live if scope(term)]
    named = set(scope)
    return [
        term.id
        for term in live
        if "all" in named or ("active" in named and is_active(term, now)) or {term.id, term.sis_id or term.id} & named
    ]


def refuse_unknown(terms: Sequence[Term], named: Sequence[str]) -> None:
    """Refuses names that stand for no term.

    Raises:
        SettingError: Tells which, and what there is.
    """
    known = {name for term in terms for name in (term.id, term.sis_id)} | {"all", "active"}
    if unknown := [name for name in named if name not in known]:
        there = ", ".join(f"{term.id} ({term.name})" for term in terms if not term.deleted)
        allowed = there or "none is known yet; `canvas-sync sync --models terms` reads them"
        raise SettingError("--term-scope", "Canvas has no such term", allowed=allowed, value=", ".join(unknown))


def is_active(term: Term, now: datetime) -> bool:
    """Says whether a term has not ended and has begun, or soon will."""
    ended = term.end_at is not None and term.end_at < now
    far = term.start_at is not None and term.start_at > now + AHEAD
    return not ended and not far


def ordered(terms: Sequence[str], order: str, batch: str) -> list[str]:
    """Puts terms in the order in which they are synced.

    Args:
        terms: Ids, in the order of Canvas's ids.
        order: fifo, lifo, random, or priority: the newest first.
        batch: What makes the random order reproducible.
    """
    numbers = sorted(terms, key=int)
    if order == "random":
        random.Random(batch).shuffle(numbers)
    return numbers[::-1] if order in {"lifo", "priority"} else numbers
