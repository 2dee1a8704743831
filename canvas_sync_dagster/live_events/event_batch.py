"""Apply one batch of live events: decide, read from Canvas what the decisions need, and write in one transaction."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from canvas_sync_dagster.live_events.canvas_reads import CanvasReads, Parents
from canvas_sync_dagster.live_events.decisions import (
    conclude,
    decide,
    deferred,
    group_by_object,
    without_unread_parents,
)
from canvas_sync_dagster.live_events.event_plan import Outcome, Plan
from canvas_sync_dagster.live_events.event_steps import DefaultStep, is_caused_by_events, run_steps
from canvas_sync_dagster.live_events.event_writes import write_rows, write_states
from canvas_sync_dagster.live_events.handlers import EventHandlers, live_event
from canvas_sync_dagster.live_events.table_facts import read_facts
from canvas_sync_dagster.redaction import summary
from canvas_sync_dagster.sync.object_requests import Verdict, can_ask_about
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.schema.existing import fitness
from canvas_sync_dagster.warehouse.state.inbox import InboxEvent, fail, postpone, settle


def unwritable_tables(session: Session) -> Mapping[str, str]:
    """Return model → reason why its table cannot be written to; empty if all tables are as they should be."""
    with session.transaction("looking at the tables") as connection:
        return fitness(connection, session.schema, session.models).held


class EventBatch:
    """Events that are applied together as far as they can be.

    Attributes:
        ended: State → number of events that have ended in it.
        written: Model → rows that were written.
        deferred: Number of events whose objects are to be read from Canvas.
        read: Number of objects that Canvas has answered about.

    Args:
        session: The tenant's Canvas and database.
        until: Moment of `time.monotonic()` after which Canvas is not waited for.
        unwritable: Model → reason why its table cannot be written to; see `unwritable_tables`.
    """

    def __init__(self, session: Session, until: float, unwritable: Mapping[str, str]) -> None:
        self.ended: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.deferred = 0
        self.read = 0
        self._session, self._until = session, until
        self._functions: EventHandlers = session.extensions.events or EventHandlers()
        self._models = {name: model for model in session.models if model.events for name in model.events.names}
        self._reads = CanvasReads(session, until)
        self._unwritable = unwritable

    def apply(self, events: Sequence[InboxEvent]) -> None:
        """Apply events as far as there is time; the others stay in the inbox as they are.

        Events that require an answer of Canvas are deferred, unless they were before.

        Raises:
            CanvasSyncError: Canvas or the database does not answer.
        """
        names = {each.name for each in events}
        concerned = {name for name in names if self._functions.concerns(name, self._models.get(name))}
        self._apply_in_parts([each for each in events if each.name not in concerned])
        for each in self._without_deferred([each for each in events if each.name in concerned]):
            if time.monotonic() > self._until:
                return
            self._call_functions(each)

    def _apply_in_parts(self, events: Sequence[InboxEvent]) -> None:
        """Apply events together; where one makes that fail, apply each half, until that event fails alone."""
        parts = [events] if events else []
        while parts:
            part = parts.pop()
            try:
                self._apply_together(part)
            except Exception as error:
                if not is_caused_by_events(error):
                    raise
                if len(part) == 1:
                    self._fail(part[0], summary(error), part[0].done)
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]

    def _apply_together(self, events: Sequence[InboxEvent]) -> None:
        """Apply events and store how they ended, in one transaction."""
        if all(event.is_deferred for event in events):
            outcome, parents = self._prepare(events)
        else:
            outcome, parents = self._prepare_without_canvas(events), Parents()
        with self._session.warehouse("applying live events") as warehouse:
            written = write_rows(warehouse, outcome, parents)
            ended = write_states(warehouse, outcome)
        self.written += written
        self.ended += ended
        self.deferred += sum(len(read.object.events) for read in outcome.deferred)

    def _without_deferred(self, events: Sequence[InboxEvent]) -> list[InboxEvent]:
        """Defer the events that require an answer of Canvas; return the others by their time.

        Args:
            events: Events that the user's functions are called for.
        """
        new = [
            each
            for each in events
            if not each.is_deferred and self._functions.applies(each.name, self._models.get(each.name))
        ]
        outcome = self._prepare_without_canvas(new) if new else Outcome()
        if outcome.deferred:
            with self._session.warehouse("deferring live events") as warehouse:
                self.ended += write_states(warehouse, Outcome(deferred=outcome.deferred))
        later = {event.id for read in outcome.deferred for event in read.object.events}
        self.deferred += len(later)
        return sorted((each for each in events if each.id not in later), key=lambda each: (each.time, each.id))

    def _prepare_without_canvas(self, events: Sequence[InboxEvent]) -> Outcome:
        """Decide what is to be written and what is to be read from Canvas later; writes nothing."""
        plan = self._plan(events)
        return deferred(plan, self._reads.askable_parents(plan.apply), self._session.by_name)

    def _plan(self, events: Sequence[InboxEvent]) -> Plan:
        session = self._session
        grouped = group_by_object(events, self._models, self._unwritable, session.shard)
        facts = read_facts(session, grouped.objects)
        return decide(grouped, facts, lambda model, row: can_ask_about(session, model, row), session.shard)

    def _prepare(self, events: Sequence[InboxEvent]) -> tuple[Outcome, Parents]:
        """Decide what is to be written, and read from Canvas what that needs; writes nothing."""
        models, plan = self._session.by_name, self._plan(events)
        answers = self._reads.objects(plan.read)
        self.read += sum(answer.verdict is not Verdict.POSTPONED for answer in answers)
        outcome = conclude(plan, answers)
        parents = self._reads.missing_parents(outcome)
        return without_unread_parents(outcome, parents.unread, models), parents

    def _call_functions(self, event: InboxEvent) -> None:
        """Call the user's functions for an event, and store how it ended."""
        model = self._models.get(event.name)
        default = DefaultStep(lambda: self._apply_alone(event))
        steps = self._functions.steps(event.name, model, default)
        try:
            given = live_event(self._session, event, model)
        except Exception as error:
            self._fail(event, summary(error), event.done)
            return
        results = run_steps(steps, given, event.done, default)
        if default.postponed is not None:
            self._postpone(event, results.finished)
            if default.postponed.reason is not None:
                raise default.postponed.reason
        elif results.problems:
            self._fail(event, "; ".join(results.problems), results.finished)
        else:
            self._settle(event, "applied" if steps else "ignored")

    def _apply_alone(self, event: InboxEvent) -> Outcome:
        """Apply an event to the tables; its state is stored after the steps that follow."""
        outcome, parents = self._prepare([event])
        with self._session.warehouse("applying a live event") as warehouse:
            written = write_rows(warehouse, outcome, parents)
        self.written += written
        return outcome

    def _settle(self, event: InboxEvent, state: str) -> None:
        with self._session.warehouse("settling a live event") as warehouse:
            settle(warehouse, {state: [event]})
        self.ended[state] += 1

    def _fail(self, event: InboxEvent, problem: str, finished: Sequence[str]) -> None:
        with self._session.warehouse("settling a live event") as warehouse:
            self.ended[fail(warehouse, event, problem, finished)] += 1

    def _postpone(self, event: InboxEvent, finished: Sequence[str]) -> None:
        with self._session.warehouse("postponing a live event") as warehouse:
            postpone(warehouse, event, finished)
