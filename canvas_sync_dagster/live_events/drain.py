"""Applies the events of an inbox: collapsed per object, in the order of time, from the payload where it suffices.

One drain per tenant at a time, by a lock that dies with its connection; the rows' own states say what is done, so that a
drain that is killed is taken up by the next one, and an event that is applied twice changes nothing the second time.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import CanvasSyncError, DataRejectedError, FunctionError
from canvas_sync_dagster.live_events.handlers import EventHandlers, LiveEvent, Step
from canvas_sync_dagster.live_events.inbox import Row, claim, fail, postpone, settle
from canvas_sync_dagster.live_events.partitions import ensure_partitions
from canvas_sync_dagster.live_events.plan import planned
from canvas_sync_dagster.live_events.silence import listen
from canvas_sync_dagster.redaction import message, summary
from canvas_sync_dagster.sync.erase import drop_events_of_erased
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.mapping import event_row, shard_of
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection, connect, explained
from canvas_sync_dagster.warehouse.schema.ddl import INBOX
from canvas_sync_dagster.warehouse.schema.existing import fitness

AT_ONCE = 2_000
"""Events per transaction. Measured: 500 cost a third more per event, 5,000 gain nothing and hold locks for longer."""


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

    @property
    def steps(self) -> int:
        """Counts events that ended and rows that were written."""
        return self.events.total() + self.tables.total()


def drain(session: Session, *, budget: float = 3600.0, run_id: str = "", only_log_errors: bool = False) -> Drained:
    """Applies what waits, until nothing does or the budget is spent.

    Args:
        session: The tenant's Canvas and database.
        budget: Seconds, after which Canvas is not waited for either; what is not done by then waits.
        run_id: Of the run that it is part of, for the journal.
        only_log_errors: Whether the journal keeps a drain only if it failed.

    Raises:
        CanvasSyncError: Canvas or the database is away; what was done stands, the rest waits.
    """
    start, done = time.monotonic(), Drained()
    until = start + budget
    url, schema = session.database_url, session.schema
    with explained(url, "draining live events"), connect(url) as lock:
        if not _locked(lock, schema):
            return Drained(busy=True)
        with connect(url) as connection:
            ensure_partitions(connection, schema)
        rows = _claimed(session)
        if rows:
            with journaled(session, "live_events", {}, run_id, only_errors=only_log_errors) as job:
                while rows and not done.left:
                    before = done.steps
                    _Batch(session, rows, done, until).apply()
                    rows = _claimed(session)
                    # A batch that nothing came of would only come to nothing again.
                    done.left = bool(rows) and (time.monotonic() > until or done.steps == before)
                with connect(url) as connection:
                    job.succeed(connection, {"events": done.events, "tables": done.tables})
    done.seconds = time.monotonic() - start
    return done


def _claimed(session: Session) -> list[Row]:
    with connect(session.database_url) as connection:
        drop_events_of_erased(connection, session.schema)
        rows = claim(connection, session.schema, AT_ONCE)
        listen(connection, session.schema, [row.received_at for row in rows])
        return rows


def backlog(session: Session) -> tuple[int, int | None]:
    """Counts the events that are due, up to a bound beyond which it does not matter, and returns the first one's id."""
    with session.transaction("looking into the inbox") as connection:
        exists = connection.execute("select to_regclass(%s)", (f'"{session.schema}".{INBOX}',)).fetchone()
        if exists is None or exists[0] is None:
            return 0, None
        query = sql.SQL(
            "select count(*), min(id) from (select id from {} where state in ('pending', 'failed') "
            "and next_attempt_at <= now() order by id limit 100000) e"
        ).format(sql.Identifier(session.schema, INBOX))
        row = connection.execute(query).fetchone()
    return (int(row[0]), row[1]) if row else (0, None)


def _locked(connection: Connection, schema: str) -> bool:
    # Of the transaction, which stays open: behind a transaction pooler a lock of the session would outlive us.
    row = connection.execute(
        "select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (f"canvas_sync drain {schema}",)
    ).fetchone()
    return bool(row and row[0])


class _Batch:
    """Some events, applied in one transaction as far as they can be."""

    def __init__(self, session: Session, rows: Sequence[Row], done: Drained, until: float) -> None:
        self._session, self._rows, self._done, self._until = session, rows, done, until
        self._functions: EventHandlers = session.extensions.events or EventHandlers()
        self._models = {name: model for model in session.models if model.events for name in model.events.names}
        with session.transaction("looking at the tables") as connection:
            self._held = fitness(connection, session.schema, session.models).held

    def apply(self) -> None:
        """Applies the batch, as far as there is time."""
        ordinary = [row for row in self._rows if not self._functions.concerns(row.name, self._models.get(row.name))]
        own = [row for row in self._rows if self._functions.concerns(row.name, self._models.get(row.name))]
        if ordinary:
            self._apply_or_part(ordinary)
        for row in sorted(own, key=lambda each: (each.time, each.id)):
            if time.monotonic() > self._until:
                return
            self._through_functions(row)

    def _apply_or_part(self, rows: Sequence[Row]) -> None:
        """Applies events; if one of them spoils it, each half is tried for itself, until the bad one fails alone."""
        try:
            self._apply_default(rows)
        except Exception as error:
            if not _lies_in_events(error):
                raise
            if len(rows) == 1:
                self._fail(rows[0], summary(error), rows[0].done)
                return
            middle = len(rows) // 2
            self._apply_or_part(rows[:middle])
            self._apply_or_part(rows[middle:])

    def _apply_default(self, rows: Sequence[Row]) -> None:
        """Applies events to the tables and settles them, all or nothing."""
        found = [(row, self._models.get(row.name)) for row in rows]
        # One table that cannot be written to must not hold up the events of the others.
        held = [(row, self._held[model.name]) for row, model in found if model and model.name in self._held]
        events = [(row, model) for row, model in found if model is None or model.name not in self._held]
        unknown = [row.id for row, model in events if model is None]
        by_model: dict[str, list[Row]] = defaultdict(list)
        for row, model in events:
            if model is not None:
                by_model[model.name].append(row)
        session = self._session
        plans = [planned(session, session.by_name[name], group, self._until) for name, group in by_model.items()]
        written: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        with session.transaction("applying live events") as connection:
            states: dict[str, list[int]] = defaultdict(list, ignored=unknown)
            for row, problem in held:
                ended[fail(connection, session.schema, row, problem)] += 1
            # Parents first, as everywhere.
            order = {model.name: at for at, model in enumerate(session.models)}
            for plan in sorted(plans, key=lambda each: order[each.model.name]):
                written[plan.model.name] += plan.write(connection, session)
                for state, ids in plan.states().items():
                    states[state] += ids
                for row, problem in plan.failures():
                    ended[fail(connection, session.schema, row, problem)] += 1
            settle(connection, session.schema, states)
        self._done.tables += written
        self._done.events += ended + Counter({state: len(ids) for state, ids in states.items()})

    def _through_functions(self, row: Row) -> None:
        """Call the steps of an event; those that succeeded are not repeated when the event is tried again."""
        finished = list(row.done)
        problems: list[str] = []
        try:
            event = live_event(self._session, row, self._models.get(row.name))
        except Exception as error:
            self._fail(row, summary(error), finished)
            return
        steps = self._steps(row)
        for step in steps:
            if step.name in finished or not set(step.needs) <= set(finished):
                continue
            try:
                step.call(event)
            except _AwayError as away:
                # It costs the event no try.
                self._postpone(row, finished)
                if away.reason is not None:
                    raise away.reason from None
                return
            except Exception as error:
                problems.append(f"{step.name}: {summary(error)}")
            else:
                finished.append(step.name)
        if problems:
            self._fail(row, "; ".join(problems), finished)
        else:
            self._settle(row, "applied" if steps else "ignored")

    def _steps(self, row: Row) -> list[Step]:
        model = self._models.get(row.name)

        def default(event: LiveEvent) -> None:
            if model is not None:
                self._apply_one(model, row)

        return self._functions.steps(row.name, model, default)

    def _apply_one(self, model: Model, row: Row) -> None:
        try:
            plan = planned(self._session, model, [row], self._until)
            with self._session.transaction("applying a live event") as connection:
                self._done.tables[model.name] += plan.write(connection, self._session)
        except Exception as error:
            raise (error if _lies_in_events(error) else _AwayError(error)) from error
        for _row, problem in plan.failures():
            raise DataRejectedError(problem)
        if not any(plan.states().values()):
            raise _AwayError

    def _settle(self, row: Row, state: str) -> None:
        with self._session.transaction("settling a live event") as connection:
            settle(connection, self._session.schema, {state: [row.id]})
        self._done.events[state] += 1

    def _fail(self, row: Row, problem: str, finished: Sequence[str]) -> None:
        with self._session.transaction("settling a live event") as connection:
            self._done.events[fail(connection, self._session.schema, row, problem, finished)] += 1

    def _postpone(self, row: Row, finished: Sequence[str]) -> None:
        with self._session.transaction("postponing a live event") as connection:
            postpone(connection, self._session.schema, row, finished)


class _AwayError(Exception):
    """Canvas or the database is away (then it says why), or there is no time left; the event is not to blame."""

    def __init__(self, reason: Exception | None = None) -> None:
        self.reason = reason
        super().__init__(message(reason) if reason else "no time is left")


def _lies_in_events(error: Exception) -> bool:
    """Says whether an error comes from what events say, and not from a Canvas or a database that is away."""
    if isinstance(error, CanvasSyncError):
        in_values = isinstance(error.__cause__, (psycopg.DataError, psycopg.IntegrityError))
        return in_values or isinstance(error, (DataRejectedError, FunctionError))
    return not isinstance(error, (OSError, psycopg.OperationalError))


def live_event(session: Session, row: Row, model: Model | None) -> LiveEvent:
    """Makes of a row in the inbox what the user's functions get."""
    metadata, body = row.payload["metadata"], row.payload["body"]
    values = event_row(model, body, shard_of(metadata.get("root_account_id"), session.shard)) if model else {}
    name = model.name if model else None
    return LiveEvent(row.id, row.name, row.time, body, metadata, session.tenant.slug, name, values, session)
