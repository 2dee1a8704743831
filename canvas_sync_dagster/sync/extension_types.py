"""What users add to a sync: custom reports, and steps between the models (insertions)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.session import Session

LONGEST_VALUE = 1000
"""Maximum number of characters of a value that is not plain JSON; it is shown together with others."""
Processor = Callable[..., object]
"""Gets a `DownloadedReport` and a `ReportContext`."""


@dataclass(frozen=True, slots=True)
class CustomReport:
    """A report that a user's function processes.

    Attributes:
        name: Canvas's name of it.
        processor: Gets the report and its context; what it returns becomes metadata.
        parameters: Parameters as they are sent, without term and `updated_after`.
        deps: Models and insertions that come before it.
        per_term: Whether it is requested term by term.
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
    """Argument of an inserted step.

    Attributes:
        tenant: Slug of the tenant.
        scope: Canvas term id, or empty for the whole account.
        session: The tenant's Canvas and database.
        run_id: Dagster's run that it is part of.
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
    """A step that the user inserts.

    Attributes:
        name: Name of its asset.
        function: Gets the context; what it returns becomes metadata.
        after: Models and steps that come before it.
        before: Models that come after it.
        beside: Models and steps that run in parallel to it: it waits for what they wait for, and what waits for them
            waits for it, too.
        at: `start` or `end` of a batch; empty for a place between the models.
        pool: Dagster pool that limits how many such steps run at the same time.
        retry_policy: When Dagster retries it in the same run; a `dagster.RetryPolicy`.
        tags: Tags of its op.
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
    """Convert the result of a user's function to plain JSON values; its changes are committed already.

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
        # Includes exceptions of the user's classes.
        return str(value)[:LONGEST_VALUE]
    return value
