"""Applies the events of an inbox: collapsed per object, in the order of time, from the payload where it suffices.

One drain per tenant at a time, by a lock that dies with its connection; the rows' own states say what is done, so that a
drain that is killed is taken up by the next one, and an event that is applied twice changes nothing the second time.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from psycopg import sql

from canvas_sync_dagster.catalogue import Model, Suffices
from canvas_sync_dagster.errors import DataRejectedError
from canvas_sync_dagster.live_events.handlers import EventHandlers, LiveEvent, name_of
from canvas_sync_dagster.live_events.inbox import TABLE, Row, claim, ensure_partitions, fail, settle
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.mapping import event_row, local_id, shard_of
from canvas_sync_dagster.sync.objects import Answer, Verdict, apply_answers, ask, can_ask, path_columns
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection, connect, explained
from canvas_sync_dagster.warehouse.load import Source, load_rows
from canvas_sync_dagster.warehouse.single import read_rows

AT_ONCE = 2_000
"""Events per transaction. Measured: 500 cost a third more per event, 5,000 gain nothing and hold locks for longer."""
DEEPEST = 4
"""Generations of missing parents that are fetched for one row: enrollment, section, course, account."""

Key = tuple[Any, ...]


@dataclass(slots=True)
class Drained:
    """What a drain did.

    Attributes:
        events: State → events that ended in it.
        tables: Model → rows that were written.
        left: Whether events wait that there was no time for.
        busy: Whether another drain of this tenant is at work, so that this one did nothing.
        seconds: How long it took.
    """

    events: Counter[str] = field(default_factory=Counter)
    tables: Counter[str] = field(default_factory=Counter)
    left: bool = False
    busy: bool = False
    seconds: float = 0.0


def drain(session: Session, *, budget: float = 3600.0, run_id: str = "", only_log_errors: bool = False) -> Drained:
    """Applies what waits, until nothing does or the budget is spent.

    Args:
        session: The tenant's Canvas and database.
        budget: Seconds.
        run_id: Of the run that it is part of, for the journal.
        only_log_errors: Whether the journal keeps a drain only if it failed.

    Raises:
        CanvasSyncError: Canvas or the database is away; what was done stands, the rest waits.
    """
    start, done = time.monotonic(), Drained()
    url, schema = session.database_url, session.schema
    with explained(url, "draining live events"), connect(url, autocommit=True) as lock:
        if not _locked(lock, schema):
            return Drained(busy=True)
        with connect(url) as connection:
            ensure_partitions(connection, schema)
        rows = _claimed(session)
        if rows:
            with journaled(session, "live_events", {}, run_id, only_errors=only_log_errors) as job:
                while rows and not done.left:
                    _Batch(session, rows, done).apply()
                    rows = _claimed(session)
                    done.left = bool(rows) and time.monotonic() - start > budget
                with connect(url) as connection:
                    job.succeed(connection, {"events": done.events, "tables": done.tables})
    done.seconds = time.monotonic() - start
    return done


def _claimed(session: Session) -> list[Row]:
    with connect(session.database_url) as connection:
        return claim(connection, session.schema, AT_ONCE)


def backlog(session: Session) -> tuple[int, int | None]:
    """Counts the events that are due, up to a bound beyond which it does not matter, and returns the first one's id."""
    with session.transaction("looking into the inbox") as connection:
        exists = connection.execute("select to_regclass(%s)", (f'"{session.schema}".{TABLE}',)).fetchone()
        if exists is None or exists[0] is None:
            return 0, None
        query = sql.SQL(
            "select count(*), min(id) from (select id from {} where state in ('pending', 'failed') "
            "and next_attempt_at <= now() order by id limit 100000) e"
        ).format(sql.Identifier(session.schema, TABLE))
        row = connection.execute(query).fetchone()
    return (int(row[0]), row[1]) if row else (0, None)


def _locked(connection: Connection, schema: str) -> bool:
    row = connection.execute(
        "select pg_try_advisory_lock(hashtextextended(%s, 0))", (f"canvas_sync drain {schema}",)
    ).fetchone()
    return bool(row and row[0])


class _Batch:
    """Some events, applied in one transaction as far as they can be."""

    def __init__(self, session: Session, rows: Sequence[Row], done: Drained) -> None:
        self._session, self._rows, self._done = session, rows, done
        self._functions: EventHandlers = session.extensions.events or EventHandlers()
        self._models = {name: model for model in session.models if model.events for name in model.events.names}

    def apply(self) -> None:
        """Applies the batch; if one event spoils it, each is tried alone, so that one bad event fails alone."""
        ordinary = [row for row in self._rows if not self._functions.concerns(row.name, self._models.get(row.name))]
        own = [row for row in self._rows if self._functions.concerns(row.name, self._models.get(row.name))]
        if ordinary:
            try:
                self._apply_default(ordinary)
            except DataRejectedError:
                for row in ordinary:
                    self._alone(row)
        for row in sorted(own, key=lambda each: (each.time, each.id)):
            self._through_functions(row)

    def _alone(self, row: Row) -> None:
        try:
            self._apply_default([row])
        except DataRejectedError as error:
            self._fail(row, str(error), row.done)

    def _apply_default(self, rows: Sequence[Row]) -> None:
        """Applies events to the tables and settles them, all or nothing."""
        events = [(row, self._models.get(row.name)) for row in rows]
        unknown = [row.id for row, model in events if model is None]
        by_model: dict[str, list[Row]] = defaultdict(list)
        for row, model in events:
            if model is not None:
                by_model[model.name].append(row)
        schema = self._session.schema
        planned = [_planned(self._session, self._session.by_name[name], group) for name, group in by_model.items()]
        with self._session.transaction("applying live events") as connection:
            states: dict[str, list[int]] = defaultdict(list)
            states["ignored"] += unknown
            # Parents first, as everywhere.
            order = {model.name: at for at, model in enumerate(self._session.models)}
            for plan in sorted(planned, key=lambda each: order[each.model.name]):
                self._done.tables[plan.model.name] += plan.write(connection, self._session)
                for state, ids in plan.states().items():
                    states[state] += ids
            settle(connection, schema, states)
            for plan in planned:
                for row, problem in plan.failures():
                    self._done.events[fail(connection, schema, row, problem)] += 1
        self._done.events.update({state: len(ids) for state, ids in states.items() if ids})

    def _through_functions(self, row: Row) -> None:
        """Gives an event to the user's functions, each once however often it is tried, then to the default."""
        model = self._models.get(row.name)
        event = live_event(self._session, row, model)
        finished = list(row.done)
        problems: list[str] = []
        steps: list[tuple[str, Any]] = [(name_of(function), function) for function in self._functions.before]
        steps += [(name_of(function), function) for function in self._functions.chosen(row.name)]
        if model is not None and self._functions.has_default(row.name):
            steps.append(("default", self._default_of(model, row)))
        steps += [(name_of(function), function) for function in self._functions.after]
        for name, function in steps:
            if name in finished:
                continue
            try:
                function(event)
            except Exception as error:
                problems.append(f"{name}: {type(error).__name__}: {error}")
            else:
                finished.append(name)
        if problems:
            self._fail(row, "; ".join(problems), finished)
        else:
            self._settle(row, "applied" if steps else "ignored")

    def _default_of(self, model: Model, row: Row) -> Any:
        def default(_: LiveEvent) -> None:
            plan = _planned(self._session, model, [row])
            with self._session.transaction("applying a live event") as connection:
                self._done.tables[model.name] += plan.write(connection, self._session)
            for _row, problem in plan.failures():
                raise DataRejectedError(problem)

        own = self._functions.models.get(model.name)
        return default if own is None else lambda event: own(event, default)

    def _settle(self, row: Row, state: str) -> None:
        with self._session.transaction("settling a live event") as connection:
            settle(connection, self._session.schema, {state: [row.id]})
        self._done.events[state] += 1

    def _fail(self, row: Row, problem: str, finished: Sequence[str]) -> None:
        with self._session.transaction("settling a live event") as connection:
            self._done.events[fail(connection, self._session.schema, row, problem, finished)] += 1


def live_event(session: Session, row: Row, model: Model | None) -> LiveEvent:
    """Makes of a row in the inbox what the user's functions get."""
    metadata, body = row.payload["metadata"], row.payload["body"]
    values = event_row(model, body, shard_of(metadata.get("root_account_id"))) if model else {}
    name = model.name if model else None
    return LiveEvent(row.id, row.name, row.time, body, metadata, session.tenant.slug, name, values, session)


@dataclass(slots=True)
class _Plan:
    """What is to be written about one model's objects."""

    model: Model
    payloads: list[tuple[datetime, Mapping[str, object]]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    parents: list[tuple[Model, list[Answer]]] = field(default_factory=list)
    applied: list[int] = field(default_factory=list)
    unreadable: list[tuple[Row, str]] = field(default_factory=list)
    asked: dict[Key, list[Row]] = field(default_factory=dict)

    def write(self, connection: Connection, session: Session) -> int:
        """Writes it, in the caller's transaction, and returns how many rows changed."""
        written = 0
        for parent, answers in reversed(self.parents):
            counts = apply_answers(connection, session, parent, answers).counts
            written += counts.inserted + counts.updated
        if self.payloads:
            latest = max(at for at, _ in self.payloads)
            source = Source("", latest, f"live events of {self.model.name}", complete=False)
            rows = [{**row, "observed_at": at} for at, row in self.payloads]
            counts = load_rows(connection, session.schema, self.model, rows, source, timed=True)
            written += counts.inserted + counts.updated
        done = apply_answers(connection, session, self.model, self.answers)
        written += done.counts.inserted + done.counts.updated + done.deleted
        for child, column, carried in self.model.carries:
            written += _carry(connection, session, self.model, self._keys(), (child, column, carried))
        return written

    def _keys(self) -> list[Any]:
        key = self.model.key[0]
        return [row[key] for _, row in self.payloads] + [answer.row[key] for answer in self.answers]

    def states(self) -> dict[str, list[int]]:
        """Returns how the events end that did not fail."""
        found: dict[str, list[int]] = {"applied": list(self.applied), "ignored": []}
        for answer in self.answers:
            rows = [row.id for row in self.asked.get(_key(self.model, answer.row), [])]
            if answer.verdict in {Verdict.FOUND, Verdict.GONE}:
                found["applied"] += rows
            elif self._may_be_hidden(answer):
                found["ignored"] += rows
        return found

    def failures(self) -> list[tuple[Row, str]]:
        """Returns the events that are to be tried again, with the reason."""
        failed = list(self.unreadable)
        for answer in self.answers:
            if answer.verdict is Verdict.FORBIDDEN and not self._may_be_hidden(answer):
                rows = self.asked.get(_key(self.model, answer.row), [])
                failed += [(row, f"the token may not see this object of {self.model.name}") for row in rows]
        return failed

    def _may_be_hidden(self, answer: Answer) -> bool:
        # A new user without a login cannot be read by anybody; so it was with the gem, too.
        return answer.verdict is Verdict.UNASKED or (answer.verdict is Verdict.FORBIDDEN and self.model.name == "users")


def _planned(session: Session, model: Model, rows: Sequence[Row]) -> _Plan:
    """Decides per object between payload and question, and asks Canvas; writes nothing."""
    plan = _Plan(model)
    latest: dict[Key, tuple[Row, dict[str, object], Mapping[str, Any]]] = {}
    events: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        metadata = row.payload["metadata"]
        values = event_row(model, row.payload["body"], shard_of(metadata.get("root_account_id")))
        key = _key(model, values)
        if any(value is None for value in key):
            plan.unreadable.append((row, f"its body does not tell {', '.join(model.key)}"))
            continue
        events[key].append(row)
        if key not in latest or (row.time, row.id) >= (latest[key][0].time, latest[key][0].id):
            latest[key] = (row, values, metadata)
    known, fresh_until = _known(session, model, [values for _, values, _ in latest.values()])
    questions: list[dict[str, Any]] = []
    for key, (row, values, metadata) in latest.items():
        held = known.get(key)
        if (_suffices(model, held is not None) and (fresh_until is None or row.time > fresh_until)) or not can_ask(
            session, model
        ):
            plan.payloads.append((row.time, values))
            plan.applied += [each.id for each in events[key]]
        else:
            questions.append({**_context(model, metadata), **values, **_filled(held)})
            plan.asked[key] = events[key]
    plan.answers = [_not_before(each, plan.asked[_key(model, each.row)]) for each in ask(session, model, questions)]
    told = [values for _, values in plan.payloads] + [
        each.content for each in plan.answers if each.verdict is Verdict.FOUND
    ]
    plan.parents = _missing_parents(session, model, told)
    return plan


def _not_before(answer: Answer, events: Sequence[Row]) -> Answer:
    """Canvas was asked because of these events, so that its answer is no older, whatever our reading of its clock says."""
    if answer.observed_at is None:
        return answer
    return replace(answer, observed_at=max(answer.observed_at, *(event.time for event in events)))


def _suffices(model: Model, is_known: bool) -> bool:
    assert model.events is not None  # noqa: S101 (only models with events get here)
    return model.events.suffices is Suffices.ALWAYS or (model.events.suffices is Suffices.FOR_KNOWN_ROWS and is_known)


def _filled(row: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (row or {}).items() if value is not None}


def _context(model: Model, metadata: Mapping[str, Any]) -> dict[str, object]:
    """Fills the course that an object's path needs from where the event happened, if its body does not tell it."""
    shard = shard_of(metadata.get("root_account_id"))
    if metadata.get("context_type") != "Course" or "context_id" not in metadata:
        return {}
    course = local_id(metadata["context_id"], shard)
    return {name: course for name in path_columns(model) if name in {"canvas_course_id", "canvas_context_id"}}


def _known(
    session: Session, model: Model, keys: Sequence[Mapping[str, Any]]
) -> tuple[dict[Key, dict[str, Any]], datetime | None]:
    """Reads the rows that the table has, and how fresh the latest sync of their model made any of them."""
    with session.transaction("reading what is known") as connection:
        rows = read_rows(connection, session.schema, model, path_columns(model), keys)
        query = sql.SQL("select max(observed_at) from {} where model = %s").format(
            sql.Identifier(session.schema, "canvas_sync_watermarks")
        )
        mark = connection.execute(query, (model.name,)).fetchone()
    return {_key(model, row): row for row in rows}, mark[0] if mark else None


def _missing_parents(
    session: Session, model: Model, rows: Sequence[Mapping[str, object]], depth: int = 0
) -> list[tuple[Model, list[Answer]]]:
    """Asks Canvas for the parents of rows that the tables lack, and for theirs."""
    found: list[tuple[Model, list[Answer]]] = []
    if depth >= DEEPEST:
        return found
    for column, parent in model.references(session.by_name):
        wanted = {row[column] for row in rows if row.get(column) is not None}
        if not wanted or not can_ask(session, parent):
            continue
        with session.transaction(f"looking for {parent.name}") as connection:
            keys = [{parent.key[0]: number} for number in wanted]
            there = {row[parent.key[0]] for row in read_rows(connection, session.schema, parent, (), keys)}
        if lacking := wanted - there:
            answers = [each for each in ask(session, parent, [{parent.key[0]: n} for n in sorted(map(int, map(str, lacking)))])
                       if each.verdict is Verdict.FOUND]  # fmt: skip
            found.append((parent, answers))
            found += _missing_parents(session, parent, [each.content for each in answers], depth + 1)
    return found


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
            child=sql.Identifier(session.schema, child),
            parent=sql.Identifier(session.schema, model.name),
            carried=sql.Identifier(carried),
            column=sql.Identifier(column),
            key=sql.Identifier(model.key[0]),
        ),
        (list(keys),),
    )
    return cursor.rowcount
