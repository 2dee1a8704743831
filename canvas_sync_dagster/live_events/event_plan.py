"""The values that a batch of live events goes through: events per object, facts of the tables, plan, outcome."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.sync.object_requests import Answer
from canvas_sync_dagster.warehouse.state.inbox import InboxEvent

Key = tuple[Any, ...]
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """An event that is tried again later, and the reason."""

    event: InboxEvent
    problem: str


@dataclass(frozen=True, slots=True)
class ObjectEvents:
    """The events about one object.

    Attributes:
        model: Model of the object.
        key: Values of the model's key columns.
        events: All events about the object.
        latest: The one with the latest time, or the one that the latest repeats a part of.
        values: Column → value, from the body of `latest`.
        hides: Whether one of the events may have changed a column that its body omits.
    """

    model: Model
    key: Key
    events: tuple[InboxEvent, ...]
    latest: InboxEvent
    values: Values
    hides: bool = False


@dataclass(slots=True)
class Grouped:
    """A batch of events, sorted by what they are about.

    Attributes:
        objects: Objects with their events.
        ignored: Events that belong to no model.
        failed: Events that do not identify an object, or whose table cannot be written to.
    """

    objects: list[ObjectEvents] = field(default_factory=list)
    ignored: list[InboxEvent] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What one table contains about the objects of a batch.

    Attributes:
        rows: Key → column → value, of the rows that exist.
        watermark: Up to when the latest sync of the model has observed Canvas; None without a sync.
    """

    rows: Mapping[Key, Values] = field(default_factory=dict)
    watermark: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the tables contain about the objects of a batch.

    Attributes:
        tables: Model → facts of its table.
        courses: Id of an assignment → id of its course.
    """

    tables: Mapping[str, TableFacts] = field(default_factory=dict)
    courses: Mapping[object, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read:
    """An object that is to be read from Canvas.

    Attributes:
        object: The object and its events.
        row: Column → value, with what the path of the object needs.
    """

    object: ObjectEvents
    row: Values


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about a batch of events.

    Attributes:
        apply: Objects whose rows are written from the body of their latest event.
        read: Objects that are to be read from Canvas.
        ignored: Events that are settled without a change.
        failed: Events that are tried again later.
        known: Events of objects that were read from Canvas after all of them.
    """

    apply: Sequence[ObjectEvents]
    read: Sequence[Read]
    ignored: Sequence[InboxEvent] = ()
    failed: Sequence[Failure] = ()
    known: Sequence[InboxEvent] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """An object whose row is written.

    Attributes:
        object: The object and its events.
        answer: Canvas's answer; None to write the body of the latest event.
    """

    object: ObjectEvents
    answer: Answer | None = None

    @property
    def values(self) -> Values:
        """Return column → value of the row; empty for an object that Canvas has deleted."""
        return self.object.values if self.answer is None else self.answer.content


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be written about a batch of events; events that it does not contain stay in the inbox as they are.

    Attributes:
        changes: Objects whose rows are written; their events are applied.
        ignored: Events that are settled without a change.
        failed: Events that are tried again later.
        known: Events whose changes the tables already contain.
        deferred: Objects that are to be read from Canvas later, with what their paths need.
    """

    changes: Sequence[Change] = ()
    ignored: Sequence[InboxEvent] = ()
    failed: Sequence[Failure] = ()
    known: Sequence[InboxEvent] = ()
    deferred: Sequence[Read] = ()

    @property
    def applied(self) -> list[InboxEvent]:
        """Return the events of all changes, and those whose changes the tables already contain."""
        return [*self.known, *(event for change in self.changes for event in change.object.events)]

    @property
    def is_empty(self) -> bool:
        """Whether all events stay in the inbox as they are, or fail."""
        return not (self.changes or self.ignored or self.known)

    def by_model(self) -> dict[str, list[Change]]:
        """Return model → changes of its objects."""
        found: dict[str, list[Change]] = defaultdict(list)
        for change in self.changes:
            found[change.object.model.name].append(change)
        return found


def key_of(model: Model, row: Values) -> Key:
    """Return the values of the model's key columns in a row; None for absent ones."""
    return tuple([row.get(name) for name in model.key])
