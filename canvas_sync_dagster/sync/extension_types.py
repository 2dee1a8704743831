"""What users add to the sync: reports of their own, and steps between the models, per term if their neighbours are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.session import Session

LONGEST_VALUE = 1000
"""Characters of a value that has no plain form; people read it beside others."""
Processor = Callable[..., object]
"""Gets a `DownloadedReport` and a `ReportContext`."""


@dataclass(frozen=True, slots=True)
class CustomReport:
    """A report that a user's function processes.

    Attributes:
        name: Canvas's name of it.
        processor: Gets the report and its context; what it returns becomes metadata.
        parameters: Its parameters, as they are sent, without term and `updated_after`.
        deps: Models and insertions that come before it.
        per_term: Whether it is asked term by term.
        takes_updated_after: Whether it can be limited to what changed.
        asset: Name of its asset.
    """

    name: str
    processor: Processor
    parameters: Mapping[str, Any] = field(default_factory=dict)
    deps: tuple[str, ...] = ()
    per_term: bool = False
    takes_updated_after: bool = False
    asset: str = ""


@dataclass(frozen=True, slots=True)
class InsertionContext:
    """What an inserted step works with.

    Attributes:
        tenant: Whose sync it is part of.
        scope: Canvas term id, or empty.
        session: The tenant's Canvas and database.
        run_id: Which run it is part of.
        log: Takes a line for the log.
        batch: Of a step at the end of a batch: `key`, `genre`, `status` (completed or failed), `reason` and `started_at`.
            None for other steps, and in a run that belongs to no batch.
    """

    tenant: str
    scope: str
    session: Session
    run_id: str
    log: Callable[[str], None]
    batch: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Insertion:
    """A step of the user's own.

    Attributes:
        name: Of its asset.
        function: Gets the context; what it returns becomes metadata.
        after: Models and steps that come before it.
        before: Models that come after it.
        beside: What it runs together with: it waits for the same, and what waits for them waits for it.
        at: `start` or `end` of a batch; empty for a place between the models.
        pool: Dagster pool that limits how many of its kind run at once.
        retry_policy: How often Dagster repeats it in the same run; a `dagster.RetryPolicy`.
        tags: Of its op.
    """

    name: str
    function: Callable[[InsertionContext], object]
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    at: str = ""
    pool: str | None = None
    retry_policy: Any = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def neighbours(self) -> tuple[str, ...]:
        return (*self.after, *self.before, *self.beside)


def as_metadata(returned: object) -> dict[str, Any]:
    """Makes plain values, as JSON has them, of what a user's function returned; what it did stands already.

    >>> from pathlib import Path
    >>> as_metadata({"rows": 7, "mean": Decimal("1.5"), "path": Path("a")})
    {'rows': 7, 'mean': 1.5, 'path': 'a'}
    """
    if returned is None:
        return {}
    named = returned if isinstance(returned, Mapping) else {"returned": returned}
    return {str(name): _plain(value) for name, value in named.items()}


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    try:
        json.dumps(value, allow_nan=False)
    except Exception:
        # Also what the methods of somebody's own classes raise.
        return str(value)[:LONGEST_VALUE]
    return value
