"""The user's functions for events, and which of them have their say: a handler replaces all else for its event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.sync.session import Session


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """An event as the user's functions get it.

    Attributes:
        id: Of its row in the inbox.
        name: As Canvas spells it (`course_updated`).
        time: When it happened, on Canvas's clock.
        body: As Canvas sent it; its ids are mostly global ones.
        metadata: As Canvas sent it.
        tenant: Whose Canvas it is.
        model: Name of the model that it speaks of; None if of none.
        row: Column → value, as far as the body tells; ids of the tenant's own shard are local.
        session: The tenant's Canvas and database, for `fetch`, `find_or_fetch` and `load_objects`.
    """

    id: int
    name: str
    time: datetime
    body: Mapping[str, Any]
    metadata: Mapping[str, Any]
    tenant: str
    model: str | None
    row: Mapping[str, object]
    session: Session = field(repr=False)


Handler = Callable[[LiveEvent], object]
ModelHandler = Callable[[LiveEvent, Callable[[LiveEvent], None]], object]


@dataclass(frozen=True, slots=True)
class EventHandlers:
    """All functions of a code location that events go to.

    Attributes:
        handlers: Event → function that replaces everything else for it.
        subscribers: Functions with the events that they want; none means all.
        models: Model → function that is called in place of the default, and may call it.
        before: Functions that are called before each applied event.
        after: Functions that are called after it.
    """

    handlers: Mapping[str, Handler] = field(default_factory=dict)
    subscribers: Sequence[tuple[frozenset[str], Handler]] = ()
    models: Mapping[str, ModelHandler] = field(default_factory=dict)
    before: Sequence[Handler] = ()
    after: Sequence[Handler] = ()

    def chosen(self, event: str) -> list[Handler]:
        """Returns the functions that an event goes to: its handler alone, or all its subscribers."""
        if event in self.handlers:
            return [self.handlers[event]]
        return [function for names, function in self.subscribers if not names or event in names]

    def has_default(self, event: str) -> bool:
        """Says whether the tables are to be changed by an event, too."""
        return event not in self.handlers

    def concerns(self, event: str, model: Model | None) -> bool:
        """Says whether any function of the user's is to be called for an event."""
        own_model = model is not None and model.name in self.models
        return bool(self.chosen(event) or self.before or self.after or own_model)


def named(functions: Iterable[Handler]) -> list[tuple[str, Handler]]:
    """Names functions so that each is recognized when an event is tried again; lambdas are told apart by their order.

    >>> [name.rpartition(".")[2] for name, _ in named([len, len, print])]
    ['len', 'len 2', 'print']
    """
    seen: Counter[str] = Counter()
    found = []
    for function in functions:
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
        seen[name] += 1
        found.append((name if seen[name] == 1 else f"{name} {seen[name]}", function))
    return found
