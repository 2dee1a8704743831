"""Decide what becomes of live events, from values alone: no database, no HTTP, no clock.

The drain calls these functions in this order. `group_by_object` collapses the events of a batch into one entry per
object. `decide` chooses for each object between the body of its latest event and a read from Canvas. `conclude` sorts
the objects by what Canvas answered, and `without_unread_parents` postpones rows whose parents are not read yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from canvas_sync_dagster.catalogue import Model, Suffices
from canvas_sync_dagster.live_events.event_plan import (
    Change,
    Facts,
    Failure,
    Grouped,
    Key,
    ObjectEvents,
    Outcome,
    Plan,
    Read,
    TableFacts,
    Values,
    key_of,
)
from canvas_sync_dagster.sync.object_requests import Answer, Verdict, path_columns
from canvas_sync_dagster.sync.object_rows import event_row, local_id, no_number, shard_of
from canvas_sync_dagster.sync.policy import OVERLAP
from canvas_sync_dagster.warehouse.state.inbox import InboxEvent

READ_LAG = timedelta(minutes=1)
"""How much later than an event an object must have been read to contain its change: Canvas sends events within seconds."""
ECHO = timedelta(seconds=5)
"""How far the times of two events of one change may differ: Canvas sends both while it saves the object."""
HIDDEN_MODELS = frozenset({"users"})
"""Models whose objects may be hidden from every token: Canvas does not show a new user without a login."""


def group_by_object(
    events: Iterable[InboxEvent],
    models: Mapping[str, Model],
    unwritable: Mapping[str, str],
    shard: int | None = None,
) -> Grouped:
    """Collapse events into one entry per object.

    Args:
        events: Events of a batch, in any order.
        models: Name of an event → model that it belongs to.
        unwritable: Model → reason why its table cannot be written to. Its events fail; those of other tables do not wait.
        shard: Number of the tenant's shard in global ids, for events that do not contain it.
    """
    grouped = Grouped()
    found: dict[tuple[str, Key], list[tuple[InboxEvent, Values]]] = defaultdict(list)
    for event in events:
        model = models.get(event.name)
        if model is None:
            grouped.ignored.append(event)
        elif model.name in unwritable:
            grouped.failed.append(Failure(event, unwritable[model.name]))
        else:
            values = event_row(model, event.body, shard_of(event.metadata.get("root_account_id"), shard))
            key = key_of(model, values)
            if problem := _unidentified(model, key, values):
                grouped.failed.append(Failure(event, problem))
            else:
                found[model.name, key].append((event, values))
    grouped.objects = [_object(models, key, each) for (_, key), each in found.items()]
    return grouped


def _object(models: Mapping[str, Model], key: Key, found: Sequence[tuple[InboxEvent, Values]]) -> ObjectEvents:
    latest, values = max(found, key=_order) if len(found) > 1 else found[0]
    model = models[latest.name]
    if len(found) > 1 and (repeated := _repeated(model, latest)):
        whole = [
            each
            for each in found
            if not _repeated(model, each[0])
            and each[0].time >= latest.time - ECHO
            and _agree(values, each[1], repeated)
        ]
        latest, values = max(whole, key=_order, default=(latest, values))
    omissions = model.omissions()
    hides = any(not omission.is_ruled_out(body) for _, body in found for omission in omissions)
    return ObjectEvents(model, key, tuple([event for event, _ in found]), latest, values, hides)


def _order(each: tuple[InboxEvent, Values]) -> tuple[datetime, int]:
    return each[0].time, each[0].id


def _repeated(model: Model, event: InboxEvent) -> Sequence[str]:
    """Return the columns that an event repeats of another event of the same change; empty for an event of its own."""
    return model.events.echoes.get(event.name, ()) if model.events else ()


def _agree(some: Values, others: Values, columns: Iterable[str]) -> bool:
    """Return whether two rows have the same values, of which none is null."""
    return all(
        some.get(name) is not None and others.get(name) is not None and _number(some[name]) == _number(others[name])
        for name in columns
    )


def _number(value: object) -> object:
    """Return a number as a decimal, however a source spells it; other values are returned unchanged."""
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return value


def _unidentified(model: Model, key: Key, values: Values) -> str | None:
    """Return why the body of an event does not identify an object; None if it does."""
    if (column := no_number(model, values)) is not None:
        return f"the event's body contains no integer for {column}"
    if None in key:
        return f"the event's body does not contain {', '.join(model.key)}"
    return None


def decide(grouped: Grouped, facts: Facts, can_read: Callable[[Model, Values], bool], shard: int | None = None) -> Plan:
    """Choose for each object between the body of its latest event and a read from Canvas.

    Args:
        grouped: Objects and their events.
        facts: What the tables contain about them.
        can_read: Whether Canvas shows the object of a row by itself.
        shard: Number of the tenant's shard in global ids, for events that do not contain it.
    """
    apply, read, known = [], [], list[InboxEvent]()
    for each in grouped.objects:
        table = facts.tables.get(each.model.name, TableFacts())
        row = table.rows.get(each.key)
        if row is not None and (is_known(each, row, table.watermark) or _is_echoed(each, row)):
            known += each.events
            continue
        is_later = table.watermark is None or each.latest.time > table.watermark
        if is_later and _suffices(each, row):
            apply.append(each)
            continue
        question = _path_values(each, row, facts.courses, shard)
        if can_read(each.model, question):
            read.append(Read(each, question))
        else:
            apply.append(each)
    return Plan(apply, read, grouped.ignored, grouped.failed, known)


def is_known(each: ObjectEvents, row: Values, watermark: datetime | None) -> bool:
    """Return whether a row contains what events report, because it was observed later.

    Args:
        each: The object and its events.
        row: Column → value, with the system columns that the table has.
        watermark: Up to when the latest sync of the model has observed Canvas; None without a sync.
    """
    observed_at = row.get("observed_at")
    if observed_at is None:
        return False
    # A report is compiled from a replica that may lag; an object is read from the primary database.
    was_read = row.get("row_hash", b"") is None or watermark is None or observed_at > watermark
    if was_read and each.hides:
        # The row may have been observed by a later event, whose body omits what these have changed.
        return False
    lag = READ_LAG if was_read else OVERLAP
    return bool(each.latest.time < observed_at - lag)


def _is_echoed(each: ObjectEvents, row: Values) -> bool:
    """Return whether a row contains what events report, because another event of the same change was applied."""
    repeated, observed_at = _repeated(each.model, each.latest), row.get("observed_at")
    if not repeated or observed_at is None or each.hides or observed_at < each.latest.time - ECHO:
        return False
    whole = [event.time for event in each.events if not _repeated(each.model, event)]
    return max(whole, default=observed_at) <= observed_at and _agree(each.values, row, repeated)


def _suffices(each: ObjectEvents, row: Values | None) -> bool:
    """Return whether the body of the latest event is enough.

    Canvas omits nulls from its events. A column that has a value in the table and is absent from the body may have
    become null or not have changed; only Canvas knows.
    """
    suffices = each.model.events.suffices if each.model.events else Suffices.NEVER
    if row is None:
        return suffices is Suffices.ALWAYS
    if each.hides or _repeated(each.model, each.latest) or any(row.get(o.column) for o in each.model.omissions()):
        return False
    is_complete = all(
        column.name in each.values or row.get(column.name) is None for column in each.model.event_columns()
    )
    return is_complete and suffices is not Suffices.NEVER


def _path_values(
    each: ObjectEvents, row: Values | None, courses: Mapping[object, object], shard: int | None
) -> dict[str, Any]:
    """Collect what the object's path needs: from the body, the table, the assignment, or the context of the event."""
    path = path_columns(each.model)
    held = {name: row[name] for name in path if row is not None and row[name] is not None}
    given = {name: value for name, value in each.values.items() if value is not None}
    course = courses.get(each.values.get("canvas_assignment_id"))
    metadata = each.latest.metadata
    if course is None and metadata.get("context_type") == "Course":
        course = local_id(metadata.get("context_id"), shard_of(metadata.get("root_account_id"), shard))
    guessed = {name: course for name in path & {"canvas_course_id", "canvas_context_id"} if isinstance(course, int)}
    return {**guessed, **held, **given}


def conclude(plan: Plan, answers: Sequence[Answer]) -> Outcome:
    """Sort the objects of a plan by what Canvas answered.

    Args:
        plan: The plan.
        answers: Canvas's answers to `plan.read`, in its order. Events of a postponed answer stay in the inbox.
    """
    changes = [Change(each) for each in plan.apply]
    ignored, failed = list(plan.ignored), list(plan.failed)
    for read, answer in zip(plan.read, answers, strict=True):
        if answer.verdict in {Verdict.FOUND, Verdict.GONE}:
            changes.append(Change(read.object, _not_before(answer, read.object.events)))
        elif answer.verdict is Verdict.FORBIDDEN and read.object.model.name in HIDDEN_MODELS:
            ignored += read.object.events
        elif answer.verdict is not Verdict.POSTPONED:
            failed += [Failure(event, _problem(read.object.model, answer)) for event in read.object.events]
    return Outcome(changes, ignored, failed, plan.known)


def deferred(plan: Plan, missing: Mapping[str, set[int]], models: Mapping[str, Model]) -> Outcome:
    """Return what can be written now: objects that are to be read, or that lack a parent, are deferred.

    Args:
        plan: The plan.
        missing: Parent model → ids that its table lacks and that Canvas can be asked about.
        models: Name → model, of all models that have a table.
    """
    changes = [Change(each) for each in plan.apply]
    written = without_unread_parents(Outcome(changes, plan.ignored, plan.failed, plan.known), missing, models)
    kept = {id(change) for change in written.changes}
    orphans = [Read(change.object, change.object.values) for change in changes if id(change) not in kept]
    return replace(written, deferred=[*plan.read, *orphans])


def _problem(model: Model, answer: Answer) -> str:
    if answer.verdict is Verdict.FAILED:
        return answer.problem
    return f"the token may not see this object of {model.name}"


def _not_before(answer: Answer, events: Sequence[InboxEvent]) -> Answer:
    """Return the answer as no older than the events that caused the read, whatever was measured of Canvas's clock."""
    if answer.observed_at is None:
        return answer
    return replace(answer, observed_at=max(answer.observed_at, *(event.time for event in events)))


def parent_ids(model: Model, rows: Iterable[Values], models: Mapping[str, Model]) -> dict[str, set[int]]:
    """Return parent model → ids of the parents that the rows refer to.

    Args:
        model: Model of the rows.
        rows: Column → value.
        models: Name → model, of all models that have a table.
    """
    given, found = list(rows), defaultdict[str, set[int]](set)
    for column, parent in model.references(models):
        found[parent.name] |= {int(str(row[column])) for row in given if row.get(column) is not None}
    return {name: ids for name, ids in found.items() if ids}


def without_unread_parents(outcome: Outcome, unread: Mapping[str, set[int]], models: Mapping[str, Model]) -> Outcome:
    """Postpone the changes whose parents the tables lack and Canvas was not asked for yet.

    Args:
        outcome: What is to be written.
        unread: Parent model → ids that were not read.
        models: Name → model, of all models that have a table.
    """
    if not unread:
        return outcome

    def waits(change: Change) -> bool:
        wanted = parent_ids(change.object.model, [change.values], models)
        return any(ids & unread.get(name, set()) for name, ids in wanted.items())

    return replace(outcome, changes=[change for change in outcome.changes if not waits(change)])
