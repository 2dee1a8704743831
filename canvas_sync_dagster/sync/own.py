"""What users add to the sync: reports of their own, and steps between the models, per term if their neighbours are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.session import Session

Processor = Callable[..., object]
"""Gets a `DownloadedReport` and a `ReportContext`."""


@dataclass(frozen=True, slots=True)
class CustomReport:
    """A report that a user's function processes.

    Attributes:
        name: Canvas's name of it.
        processor: Gets the report and its context; what it returns becomes metadata.
        parameters: What is asked of it beside term and `updated_after`.
        deps: Models and insertions that come before it.
        per_term: Whether it is asked term by term.
        takes_updated_after: Whether it can be limited to what changed.
        asset: Name of its asset.
    """

    name: str
    processor: Processor
    parameters: Mapping[str, str] = field(default_factory=dict)
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
        tell: Takes a line for the log.
    """

    tenant: str
    scope: str
    session: Session
    run_id: str
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Insertion:
    """A step of the user's own.

    Attributes:
        name: Of its asset.
        function: Gets the context; what it returns becomes metadata.
        after: Models and steps that come before it.
        before: Models that come after it.
        beside: What it runs together with, in no order.
    """

    name: str
    function: Callable[[InsertionContext], object]
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def neighbours(self) -> tuple[str, ...]:
        return (*self.after, *self.before, *self.beside)


def as_metadata(returned: object) -> dict[str, Any]:
    """Makes metadata of what a user's function returned."""
    if returned is None:
        return {}
    if isinstance(returned, Mapping):
        return {str(name): value for name, value in returned.items()}
    return {"returned": returned if isinstance(returned, (int, float, str, bool)) else repr(returned)[:1000]}
