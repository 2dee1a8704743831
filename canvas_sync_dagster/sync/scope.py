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
        deleted: Whether Canvas has deleted it; it still takes the term's id for reports.
        missing: Whether Canvas no longer lists it, so that its id may be refused.
    """

    id: str
    sis_id: str | None = None
    name: str = ""
    start_at: datetime | None = None
    end_at: datetime | None = None
    deleted: bool = False
    missing: bool = False


TermScope = Sequence[str] | Callable[[Term], bool]


def in_scope(terms: Sequence[Term], scope: TermScope, now: datetime, *, once: bool = False) -> list[str]:
    """Return the ids of the terms that a sync covers.

    Args:
        terms: All that are known.
        scope: `active`, `all`, ids or SIS ids, or the user's own function.
        now: Moment of the decision, aware.
        once: Whether a person has named the terms for this time, which may then be deleted ones.
    """
    live = [term for term in terms if not term.deleted and not term.missing]
    if callable(scope):
        return [term.id for term in live if scope(term)]
    named = set(scope)
    found = [term for term in live if "all" in named or ("active" in named and is_active(term, now))]
    by_name = terms if once else live
    found += [term for term in by_name if term not in found and {term.id, term.sis_id or term.id} & named]
    return [term.id for term in terms if term in found]


def refuse_unknown(terms: Sequence[Term], named: Sequence[str], setting: str = "--term-scope") -> None:
    """Refuse names that no term has.

    Args:
        terms: All that are known.
        named: Ids, SIS ids, `all`, `active`.
        setting: Where they were named.

    Raises:
        SettingError: Gives the names, and the terms that exist.
    """
    known = {name for term in terms for name in (term.id, term.sis_id)} | {"all", "active"}
    if unknown := [name for name in named if name not in known]:
        there = ", ".join(f"{term.id} ({term.name})" for term in terms if not term.deleted and not term.missing)
        allowed = there or "none is known yet; `canvas-sync sync --models terms` reads them"
        raise SettingError(setting, "Canvas has no such term", allowed=allowed, value=", ".join(unknown))


def is_active(term: Term, now: datetime) -> bool:
    """Return whether a term has not ended, and has begun or begins soon."""
    ended = term.end_at is not None and term.end_at < now
    far = term.start_at is not None and term.start_at > now + AHEAD
    return not ended and not far


def leaving(previous: Sequence[str], scope: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the terms that have left the scope since the last batch: they get a last sync.

    >>> leaving(["1", "2"], ["2", "3"], ["1", "2", "3"])
    ['1']
    """
    return [term for term in previous if term not in scope and term in known]


def ordered(terms: Sequence[str], order: str, batch: str) -> list[str]:
    """Return terms in the order in which they are synced.

    Args:
        terms: Ids, in the order of Canvas's ids.
        order: fifo, lifo, random, or priority: the newest first.
        batch: What makes the random order reproducible.
    """
    numbers = sorted(terms, key=int)
    if order == "random":
        random.Random(batch).shuffle(numbers)
    return numbers[::-1] if order in {"lifo", "priority"} else numbers
