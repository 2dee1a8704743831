"""What is to be written because of events: decided per object between the payload and a question to Canvas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from psycopg import sql

from canvas_sync_dagster.catalogue import Model, Suffices
from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.live_events.inbox import Row
from canvas_sync_dagster.sync.mapping import event_row, local_id, no_number, shard_of
from canvas_sync_dagster.sync.objects import (
    Answer,
    Verdict,
    apply_answers,
    ask,
    can_ask,
    can_ask_about,
    path_columns,
)
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.load import Source, load_rows
from canvas_sync_dagster.warehouse.loading.row_statements import read_rows

QUESTIONS_AT_ONCE = 200
"""Objects that Canvas is asked for per model and transaction: some twenty seconds; what comes after them waits."""
DEEPEST = 4
"""Generations of missing parents that are fetched for one row: enrollment, section, course, account."""

Key = tuple[Any, ...]
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spoken:
    """What events say of one object.

    Attributes:
        events: All of them.
        latest: The latest one.
        values: Column → value, as that one tells.
    """

    events: list[Row]
    latest: Row
    values: Values


@dataclass(slots=True)
class Plan:
    """What is to be written about one model's objects; events that it does not settle wait for the next one."""

    model: Model
    payloads: list[Spoken] = field(default_factory=list)
    answers: list[tuple[Spoken, Answer]] = field(default_factory=list)
    parents: list[tuple[Model, list[Answer]]] = field(default_factory=list)
    unreadable: list[tuple[Row, str]] = field(default_factory=list)

    def write(self, connection: Connection, session: Session) -> int:
        """Writes it, in the caller's transaction, and returns how many rows changed."""
        written = 0
        for parent, answers in reversed(self.parents):
            # A parent that does not fit its table must not fail its children for good.
            counts = apply_answers(connection, session, parent, answers, keep_rejects=True).counts
            written += counts.inserted + counts.updated
        if self.payloads:
            latest = max(each.latest.time for each in self.payloads)
            source = Source("", latest, f"live events of {self.model.name}", complete=False)
            rows = [{**each.values, "observed_at": each.latest.time} for each in self.payloads]
            counts = load_rows(connection, session.schema, self.model, rows, source, timed=True)
            written += counts.inserted + counts.updated
        done = apply_answers(connection, session, self.model, [answer for _, answer in self.answers])
        written += done.counts.inserted + done.counts.updated + done.deleted
        for child, column, carried in self.model.carries:
            if child not in session.by_name:
                continue
            written += _carry(connection, session, self.model, self._keys(), (child, column, carried))
        return written

    def _keys(self) -> list[Any]:
        key = self.model.key[0]
        return [each.values[key] for each in self.payloads] + [answer.row[key] for _, answer in self.answers]

    def states(self) -> dict[str, list[int]]:
        """Returns how the events end that did not fail."""
        found: dict[str, list[int]] = {"applied": [], "ignored": []}
        for each in self.payloads:
            found["applied"] += [row.id for row in each.events]
        for each, answer in self.answers:
            if answer.verdict in {Verdict.FOUND, Verdict.GONE}:
                found["applied"] += [row.id for row in each.events]
            elif self._may_be_hidden(answer):
                found["ignored"] += [row.id for row in each.events]
        return found

    def failures(self) -> list[tuple[Row, str]]:
        """Returns the events that are to be tried again, with the reason."""
        failed = list(self.unreadable)
        for each, answer in self.answers:
            if answer.verdict is Verdict.FAILED:
                failed += [(row, answer.problem) for row in each.events]
            elif answer.verdict is Verdict.FORBIDDEN and not self._may_be_hidden(answer):
                failed += [(row, f"the token may not see this object of {self.model.name}") for row in each.events]
        return failed

    def _may_be_hidden(self, answer: Answer) -> bool:
        # A new user without a login cannot be read by anybody; so it was with the gem, too.
        return answer.verdict is Verdict.FORBIDDEN and self.model.name == "users"


def planned(session: Session, model: Model, rows: Sequence[Row], until: float | None = None) -> Plan:
    """Decides per object between payload and question, and asks Canvas; writes nothing.

    Args:
        session: The tenant's Canvas and database.
        model: That the events speak of.
        rows: The events.
        until: Moment of `time.monotonic()` after which Canvas is not waited for.

    Raises:
        CanvasSyncError: Canvas or the database is away.
    """
    plan = Plan(model)
    spoken = _spoken(plan, rows, session.shard)
    known, fresh_until = _known(session, model, [each.values for each in spoken.values()])
    courses = _courses_of_parents(session, model, spoken.values())
    questions: list[tuple[Spoken, Values]] = []
    for key, each in spoken.items():
        held = known.get(key)
        question = _question(model, each, held, courses, session.shard)
        is_later = fresh_until is None or each.latest.time > fresh_until
        if (is_later and _suffices(model, held, each.values)) or not can_ask_about(session, model, question):
            plan.payloads.append(each)
        else:
            questions.append((each, question))
    questions = questions[:QUESTIONS_AT_ONCE]
    answers = ask(session, model, [question for _, question in questions], until=until)
    plan.answers = [
        (each, _not_before(answer, each.events))
        for (each, _), answer in zip(questions, answers, strict=True)
        if answer.verdict is not Verdict.POSTPONED
    ]
    _add_parents(session, plan, until)
    return plan


def _spoken(plan: Plan, rows: Sequence[Row], known: int | None) -> dict[Key, Spoken]:
    """Collapses events per object; those that do not tell which one are put aside."""
    latest: dict[Key, tuple[Row, Values]] = {}
    events: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        shard = shard_of(row.payload["metadata"].get("root_account_id"), known)
        values = event_row(plan.model, row.payload["body"], shard)
        if (column := no_number(plan.model, values)) is not None:
            plan.unreadable.append((row, f"its body tells no number for {column}"))
            continue
        key = _key(plan.model, values)
        if any(value is None for value in key):
            plan.unreadable.append((row, f"its body does not tell {', '.join(plan.model.key)}"))
            continue
        events[key].append(row)
        if key not in latest or (row.time, row.id) >= (latest[key][0].time, latest[key][0].id):
            latest[key] = (row, values)
    return {key: Spoken(events[key], row, values) for key, (row, values) in latest.items()}


def _suffices(model: Model, held: Mapping[str, Any] | None, values: Values) -> bool:
    """Says whether a payload is enough.

    Canvas leaves nulls out of its events, so that a column that was filled and is not told may have become null, or
    not have changed: then only Canvas knows.
    """
    assert model.events is not None  # noqa: S101 (only models with events get here)
    if held is None:
        return model.events.suffices is Suffices.ALWAYS
    told = all(column.name in values or held.get(column.name) is None for column in model.event_columns())
    return told and model.events.suffices is not Suffices.NEVER


def _question(
    model: Model, each: Spoken, held: Values | None, courses: Mapping[object, object], shard: int | None
) -> Values:
    """Gathers what the object's path needs: from the body, the table, the parent, or from where the event happened."""
    path = path_columns(model)
    known = {name: held[name] for name in path if held is not None and held[name] is not None}
    told = {name: value for name, value in each.values.items() if value is not None}
    parent = courses.get(each.values.get("canvas_assignment_id"))
    metadata = each.latest.payload["metadata"]
    if parent is None and metadata.get("context_type") == "Course":
        parent = local_id(metadata.get("context_id"), shard_of(metadata.get("root_account_id"), shard))
    course = {name: parent for name in path & {"canvas_course_id", "canvas_context_id"} if isinstance(parent, int)}
    return {**course, **known, **told}


def _courses_of_parents(session: Session, model: Model, spoken: Iterable[Spoken]) -> dict[object, object]:
    """Reads the courses of the assignments that events of submissions and overrides name: many tell no course."""
    assignments = session.by_name.get("assignments")
    numbers = {each.values.get("canvas_assignment_id") for each in spoken} - {None}
    if assignments is None or not numbers or "canvas_course_id" not in path_columns(model):
        return {}
    with session.transaction("looking for the courses of assignments") as connection:
        keys = [{"canvas_id": number} for number in numbers]
        rows = read_rows(connection, session.schema, assignments, ("canvas_context_id",), keys)
    return {row["canvas_id"]: row["canvas_context_id"] for row in rows}


def _not_before(answer: Answer, events: Sequence[Row]) -> Answer:
    """Canvas was asked because of these events, so that its answer is no older, whatever our reading of its clock says."""
    if answer.observed_at is None:
        return answer
    return replace(answer, observed_at=max(answer.observed_at, *(event.time for event in events)))


def _known(
    session: Session, model: Model, keys: Sequence[Mapping[str, Any]]
) -> tuple[dict[Key, Values], datetime | None]:
    """Reads the rows that the table has, and how fresh the latest sync of their model made any of them."""
    columns = sorted(path_columns(model)) + [column.name for column in model.event_columns()]
    with session.transaction("reading what is known") as connection:
        rows = read_rows(connection, session.schema, model, columns, keys)
        query = sql.SQL("select max(observed_at) from {} where model = %s and observed_at <= %s").format(
            sql.Identifier(session.schema, "canvas_sync_watermarks")
        )
        mark = connection.execute(query, (model.name, horizon())).fetchone()
    return {_key(model, row): row for row in rows}, mark[0] if mark else None


def _add_parents(session: Session, plan: Plan, until: float | None) -> None:
    """Fetches the parents that the tables lack; rows whose parent could not be asked for yet wait, too."""
    found = [answer.content for _, answer in plan.answers if answer.verdict is Verdict.FOUND]
    plan.parents, postponed = _missing_parents(
        session, plan.model, [*(each.values for each in plan.payloads), *found], until
    )

    def waits(values: Mapping[str, object]) -> bool:
        return any(values.get(column) in numbers for column, numbers in postponed.items())

    if postponed:
        plan.payloads = [each for each in plan.payloads if not waits(each.values)]
        plan.answers = [(each, answer) for each, answer in plan.answers if not waits(answer.content)]


def _missing_parents(
    session: Session, model: Model, rows: Sequence[Mapping[str, object]], until: float | None, depth: int = 0
) -> tuple[list[tuple[Model, list[Answer]]], dict[str, set[object]]]:
    """Asks Canvas for the parents of rows that the tables lack, and for theirs.

    Returns:
        What Canvas told of them, and per column the ids of those that it was not asked about.
    """
    found: list[tuple[Model, list[Answer]]] = []
    postponed: dict[str, set[object]] = {}
    for column, parent in model.references(session.by_name) if depth < DEEPEST else ():
        wanted = {row[column] for row in rows if row.get(column) is not None}
        if not wanted or not can_ask(session, parent):
            continue
        with session.transaction(f"looking for {parent.name}") as connection:
            keys = [{parent.key[0]: number} for number in wanted]
            there = {row[parent.key[0]] for row in read_rows(connection, session.schema, parent, (), keys)}
        if lacking := sorted(map(int, map(str, wanted - there))):
            asked = [{parent.key[0]: number} for number in lacking[:QUESTIONS_AT_ONCE]]
            answers = ask(session, parent, asked, until=until)
            late = {each.row[parent.key[0]] for each in answers if each.verdict is Verdict.POSTPONED}
            postponed[column] = late.union(lacking[QUESTIONS_AT_ONCE:])
            told = [each for each in answers if each.verdict is Verdict.FOUND]
            found.append((parent, told))
            found += _missing_parents(session, parent, [each.content for each in told], until, depth + 1)[0]
    return found, {column: numbers for column, numbers in postponed.items() if numbers}


def _key(model: Model, row: Mapping[str, Any]) -> Key:
    return tuple(row.get(name) for name in model.key)


def _carry(
    connection: Connection, session: Session, model: Model, keys: Sequence[Any], carries: tuple[str, str, str]
) -> int:
    """Takes a moved section's enrollments along: events and reads of them may come late, or never."""
    child, column, carried = carries
    cursor = connection.execute(
        sql.SQL(
            "update {child} c set {carried} = p.{carried}, updated_at = now(), row_hash = null from {parent} p "
            "where c.{column} = p.{key} and p.{key} = any(%s::bigint[]) and c.{carried} is distinct from p.{carried}"
        ).format(
            child=sql.Identifier(session.schema, session.by_name[child].table),
            parent=sql.Identifier(session.schema, model.table),
            carried=sql.Identifier(carried),
            column=sql.Identifier(column),
            key=sql.Identifier(model.key[0]),
        ),
        (list(keys),),
    )
    return cursor.rowcount
