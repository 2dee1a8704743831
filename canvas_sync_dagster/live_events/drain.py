"""Apply the events of an inbox, batch by batch, until none is due or the time is over.

Events whose bodies suffice are applied first. The others are deferred, once; their objects are read from Canvas in small
groups, and between two groups the events that have arrived since are applied. Deferred events of a model wait for its next
report where reading their objects would take longer (`waiting`). The order of the events of one object does
not matter for the result: each row has the time of its observation, and an older observation does not replace a newer one.

One drain per tenant works at a time, under a lock that ends with its connection. The states of the events record what
is done: after a killed drain the next one continues, and applying an event twice changes nothing the second time.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from canvas_sync_dagster.live_events.event_batch import EventBatch, unwritable_tables
from canvas_sync_dagster.live_events.event_gaps import record_events
from canvas_sync_dagster.live_events.read_backlog import ReadBacklog
from canvas_sync_dagster.sync.erase import drop_events_of_erased
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection, connect, explained
from canvas_sync_dagster.warehouse.state import inbox
from canvas_sync_dagster.warehouse.state.inbox import InboxEvent
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions

AT_ONCE = 2_000
"""Events per transaction. Measured: 500 cost a third more per event, 5,000 gain nothing and hold locks for longer."""
READS_PER_TURN = 50
"""Objects that are read from Canvas before it is the turn of events that have arrived since: about three seconds."""
COMPANY_PER_TURN = 150
"""Further events whose objects Canvas returns in one list with these, for almost no further request."""


@dataclass(slots=True)
class Drained:
    """What a drain did.

    Attributes:
        events: State → events that ended in it.
        tables: Model → rows that were written.
        left: Whether events are due that there was no time for.
        busy: Whether another drain of this tenant is at work, so that this one did nothing.
        seconds: How long it took.
    """

    events: Counter[str] = field(default_factory=Counter)
    tables: Counter[str] = field(default_factory=Counter)
    left: bool = False
    busy: bool = False
    seconds: float = 0.0

    def add(self, batch: EventBatch) -> bool:
        """Add what a batch did, and return whether it did anything."""
        self.events += batch.ended
        self.tables += batch.written
        return bool(batch.ended or batch.written or batch.deferred)


def drain(session: Session, *, budget: float = 3600.0, run_id: str = "", only_log_errors: bool = False) -> Drained:
    """Apply the events that are due, until none is or the budget is spent.

    Args:
        session: The tenant's Canvas and database.
        budget: Seconds, after which Canvas is not waited for either. Events that are left stay due.
        run_id: Dagster's run that the drain is part of, for the journal.
        only_log_errors: Whether the journal keeps a drain only if it failed.

    Returns:
        What was done.

    Raises:
        CanvasSyncError: Canvas or the database does not answer. What was applied is kept, the rest stays due.
    """
    start, done = time.monotonic(), Drained()
    url, schema = session.database_url, session.schema
    with explained(url, "draining live events"), connect(url) as lock:
        if not _locked(lock, schema):
            return Drained(busy=True)
        with session.warehouse("making the partitions of the inbox") as warehouse:
            ensure_partitions(warehouse)
        backlog = ReadBacklog(session)
        if events := _claimed(session, backlog):
            with journaled(session, "live_events", {}, run_id, only_errors=only_log_errors) as job:
                _drain_batches(session, events, done, start + budget, backlog)
                with session.warehouse("writing the journal") as warehouse:
                    job.succeed(warehouse, {"events": done.events, "tables": done.tables})
    done.seconds = time.monotonic() - start
    return done


def _drain_batches(
    session: Session, events: list[InboxEvent], done: Drained, until: float, backlog: ReadBacklog
) -> None:
    unwritable = unwritable_tables(session)
    while events and not done.left:
        batch, start = EventBatch(session, until, unwritable), time.monotonic()
        batch.apply(events)
        did_something = done.add(batch)
        if events[0].is_deferred:
            backlog.measured(batch.read, time.monotonic() - start)
        events = _claimed(session, backlog)
        # A batch without any result would have none the next time, too.
        done.left = bool(events) and (time.monotonic() > until or not did_something)


def _claimed(session: Session, backlog: ReadBacklog) -> list[InboxEvent]:
    """Return events that are due; if there is none, deferred ones that do not wait for a report."""
    with session.warehouse("reading the inbox") as warehouse:
        drop_events_of_erased(warehouse)
        events = inbox.claim(warehouse, AT_ONCE)
        record_events(warehouse, inbox.received_moments(warehouse, events))
    if events:
        return events
    backlog.look()
    with session.warehouse("reading the deferred events") as warehouse:
        return inbox.claim_deferred(warehouse, READS_PER_TURN, COMPANY_PER_TURN, backlog.waiting)


def _locked(connection: Connection, schema: str) -> bool:
    # A lock of the transaction, which stays open: behind a transaction pooler a lock of the session would outlive us.
    row = connection.execute(
        "select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (f"canvas_sync drain {schema}",)
    ).fetchone()
    return bool(row and row[0])
