"""The user's functions for live events, and the steps of an event, in the order of the gem.

A handler replaces everything else for its event. Otherwise the subscribers are called, independently of each other, and
then the event is applied to the table of its model: `before` hooks, the default or the function of the model, and
`after` hooks. An event that belongs to no model is not applied, and has no hooks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.sync.object_rows import event_row, shard_of
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.state.inbox import InboxEvent


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """An event as the user's functions get it.

    Attributes:
        id: Number of its row in the inbox.
        name: As Canvas spells it (`course_updated`).
        time: When it happened, on Canvas's clock.
        body: As Canvas sent it; its ids are mostly global ones.
        metadata: As Canvas sent it.
        tenant: Slug of the tenant.
        model: Name of the model that it belongs to; None if to none.
        row: Column → value, for the columns that the body contains; ids of the tenant's own shard are local.
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
ModelHandler = Callable[[LiveEvent, Handler], object]
DEFAULT = "default"
"""Name of the step that applies an event to the tables, in the inbox."""


@dataclass(frozen=True, slots=True)
class Step:
    """One function that is called for an event.

    Attributes:
        name: Stored in the inbox once the step has succeeded, so that a further attempt does not repeat it.
        call: Function that receives the event.
        needs: Names of steps that must have succeeded before this one is called.
    """

    name: str
    call: Handler
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventHandlers:
    """All functions of a code location for live events.

    Attributes:
        handlers: Event → function that replaces everything else for it.
        subscribers: Functions with the names of their events; an empty set means all events.
        models: Model → function that is called in place of the default, and may call it.
        before: Functions that are called before an event is applied; one that raises prevents that.
        after: Functions that are called after an event was applied.
    """

    handlers: Mapping[str, Handler] = field(default_factory=dict)
    subscribers: Sequence[tuple[frozenset[str], Handler]] = ()
    models: Mapping[str, ModelHandler] = field(default_factory=dict)
    before: Sequence[Handler] = ()
    after: Sequence[Handler] = ()

    def chosen(self, event: str) -> list[Handler]:
        """Return the functions that an event is passed to: its handler alone, or its subscribers."""
        if event in self.handlers:
            return [self.handlers[event]]
        return [function for names, function in self.subscribers if not names or event in names]

    def applies(self, event: str, model: Model | None) -> bool:
        """Return whether an event changes the tables: it belongs to a model, and no handler replaces that."""
        return model is not None and event not in self.handlers

    def concerns(self, event: str, model: Model | None) -> bool:
        """Return whether any of the user's functions is to be called for an event."""
        if self.chosen(event):
            return True
        return self.applies(event, model) and bool(
            self.before or self.after or (model is not None and model.name in self.models)
        )

    def steps(self, event: str, model: Model | None, default: Handler) -> list[Step]:
        """Return the steps of an event, in their order.

        Args:
            event: Name of the event.
            model: Model that it belongs to; None if to none.
            default: Applies the event to the tables.
        """
        chosen, hooks = self.chosen(event), self.applies(event, model)
        before, after = (list(self.before), list(self.after)) if hooks else ([], [])
        names = iter(named([*chosen, *before, *after]))
        steps = [Step(*next(names)) for _ in chosen]
        guards: list[str] = []
        for _ in before:
            steps.append(Step(*next(names), needs=tuple(guards)))
            guards.append(steps[-1].name)
        if hooks and model is not None:
            steps.append(Step(DEFAULT, self._applying(model, default), needs=tuple(guards)))
        return [*steps, *(Step(*each, needs=(DEFAULT,)) for each in names)]

    def _applying(self, model: Model, default: Handler) -> Handler:
        own = self.models.get(model.name)
        return default if own is None else lambda event: own(event, default)


def live_event(session: Session, event: InboxEvent, model: Model | None) -> LiveEvent:
    """Return an event as the user's functions get it.

    Args:
        session: The tenant's Canvas and database.
        event: The event.
        model: Model that it belongs to; None if to none.
    """
    shard = shard_of(event.metadata.get("root_account_id"), session.shard)
    values = event_row(model, event.body, shard) if model else {}
    return LiveEvent(
        id=event.id,
        name=event.name,
        time=event.time,
        body=event.body,
        metadata=event.metadata,
        tenant=session.tenant.slug,
        model=model.name if model else None,
        row=values,
        session=session,
    )


def named(functions: Iterable[Handler]) -> list[tuple[str, Handler]]:
    """Name functions so that each is recognized when an event is tried again; equal names are numbered.

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
