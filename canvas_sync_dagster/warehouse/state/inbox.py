"""The inbox: each acknowledged event is a row of `canvas_sync_live_events`. All SQL on its events is here.

An event is `pending` until it is settled. One whose object is to be read from Canvas is also `deferred`: it has a row in
`canvas_sync_live_event_reads`, and is not claimed again with the events that wait for no answer of Canvas.
A row is kept for as long as its partition (see `inbox_partitions`), whether the event was applied, ignored, or has failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from psycopg import sql

from canvas_sync_dagster.warehouse.schema.ddl import DEFERRED_READS
from canvas_sync_dagster.warehouse.schema.ddl import INBOX as TABLE
from canvas_sync_dagster.warehouse.state.report_waits import read_active_waits
from canvas_sync_dagster.warehouse.warehouse import Warehouse

WINDOW = timedelta(hours=26)
"""How long copies of an event are recognized. Canvas delivers late copies within the hour, a broken queue in a day."""
MOST_ATTEMPTS = 8
"""Attempts after which an event is dead: with the backoff below, after about forty minutes."""
BACKOFF = timedelta(seconds=20)
LONGEST_BACKOFF = timedelta(hours=1)

COUNTED = 100_000
"""Largest number of waiting events that the sensor counts."""
DUE = sql.SQL("where state in ('pending', 'failed') and not deferred and next_attempt_at <= now() order by id")

INSERT = """
insert into {table} (event_name, event_time, content_hash, payload)
select name, time, hash, payload::jsonb
from unnest(%s::text[], %s::timestamptz[], %s::bytea[], %s::text[]) with ordinality as e (name, time, hash, payload, n)
where not exists (select from {table} t where t.content_hash = e.hash and t.received_on between %s and %s)
on conflict (content_hash, received_on) do nothing
"""


class NewEvent(Protocol):
    """An event that is to be stored."""

    @property
    def name(self) -> str:
        """Return the name, as Canvas spells it."""

    @property
    def time(self) -> datetime:
        """Return when it happened, on Canvas's clock."""

    @property
    def digest(self) -> bytes:
        """Return a digest of the canonical payload; copies have the same."""

    @property
    def text(self) -> str:
        """Return the payload in JSON, as it is stored."""


@dataclass(frozen=True, slots=True)
class InboxEvent:
    """An event that waits in the inbox.

    Attributes:
        id: Number of its row; grows with each event.
        name: As Canvas spells it (`course_updated`).
        time: When it happened, on Canvas's clock.
        attempts: How often applying it has failed.
        done: Steps of the user's functions that have succeeded.
        payload: `metadata` and `body`, as Canvas sent them, without secrets.
        is_deferred: Whether its object is to be read from Canvas.
    """

    id: int
    name: str
    time: datetime
    attempts: int
    done: tuple[str, ...]
    payload: Mapping[str, Any]
    is_deferred: bool = False

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Return the metadata as Canvas sent it."""
        found: Mapping[str, Any] = self.payload["metadata"]
        return found

    @property
    def body(self) -> Mapping[str, Any]:
        """Return the body as Canvas sent it; its ids are mostly global ones."""
        found: Mapping[str, Any] = self.payload["body"]
        return found


def insert_statement(schema: str, *, binary: bool = False) -> sql.Composed:
    """Return the statement that stores many events at once; copies of stored events are skipped.

    Args:
        schema: Schema of the tenant.
        binary: Whether arrays are sent in PostgreSQL's binary format. In text each quote of a payload is escaped one by
            one, which takes a quarter of a receiver's CPU. Only a cursor that binds on the server can do it.
    """
    text = INSERT.replace("%s::", "%b::") if binary else INSERT
    return sql.SQL(text).format(table=sql.Identifier(schema, TABLE))


def insert_values(events: Sequence[NewEvent], now: datetime) -> tuple[object, ...]:
    """Return the parameters of `insert_statement`; sorted, so that two receivers wait for each other without a deadlock.

    Args:
        events: Events to store.
        now: Present time, for the partitions in which copies are looked up.
    """
    ordered = sorted({event.digest: event for event in events}.values(), key=lambda event: event.digest)
    return (
        [event.name for event in ordered],
        [event.time for event in ordered],
        [event.digest for event in ordered],
        [event.text for event in ordered],
        (now - WINDOW).date(),
        # Without an end the index of every day ahead is searched, too, and the default partition.
        (now + timedelta(days=1)).date(),
    )


def store(warehouse: Warehouse, events: Sequence[NewEvent]) -> None:
    """Store events, in the caller's transaction."""
    warehouse.connection.execute(insert_statement(warehouse.schema), insert_values(events, datetime.now(UTC)))


def claim(warehouse: Warehouse, limit: int) -> list[InboxEvent]:
    """Read events that are due, the oldest first. The caller holds the tenant's drain lock.

    Args:
        warehouse: The tenant's, in a transaction.
        limit: Largest number of events.
    """
    query = sql.SQL("select id, event_name, event_time, attempts, done, payload from {} {} limit %s").format(
        warehouse.identifier(TABLE), DUE
    )
    rows = warehouse.connection.execute(query, (limit,)).fetchall()
    return [_event(*row) for row in rows]


def _event(
    id_: int, name: str, time: datetime, attempts: int, done: Sequence[str] | None, payload: Mapping[str, Any]
) -> InboxEvent:
    return InboxEvent(id_, name, time, attempts, tuple(done or ()), payload)


def claim_deferred(warehouse: Warehouse, objects: int, company: int, waiting: Sequence[str] = ()) -> list[InboxEvent]:
    """Read all deferred events about the objects that wait the longest. The caller holds the tenant's drain lock.

    Args:
        warehouse: The tenant's, in a transaction.
        objects: Largest number of objects.
        company: Largest number of further events, whose objects Canvas returns in one list with these.
        waiting: Models whose events wait for a report.
    """
    # The events are looked up by an array of ids: a join would read whole partitions.
    query = sql.SQL(
        "with oldest as (select event_id, model, object, list from {reads} where model <> all(%s) "
        "order by event_id limit 5000), "
        "chosen as (select model, object, max(list) as list from oldest group by 1, 2 order by min(event_id) limit %s), "
        "lists as (select distinct model, list from chosen where list is not null) "
        "(select event_id from {reads} join chosen using (model, object)) union "
        "(select event_id from {reads} join lists using (model, list) order by event_id limit %s)"
    ).format(reads=warehouse.identifier(DEFERRED_READS))
    values = (list(waiting), objects, objects + company)
    ids = [number for (number,) in warehouse.connection.execute(query, values).fetchall()]
    if not ids:
        return []
    query = sql.SQL(
        "select id, event_name, event_time, attempts, done, payload from {} where id = any(%s) and deferred order by id"
    ).format(warehouse.identifier(TABLE))
    rows = warehouse.connection.execute(query, (ids,)).fetchall()
    if removed := set(ids) - {row[0] for row in rows}:
        _forget_reads(warehouse, removed)
    return [replace(_event(*row), is_deferred=True) for row in rows]


def defer(
    warehouse: Warehouse, objects: Iterable[tuple[str, Sequence[object], str | None, Sequence[InboxEvent]]]
) -> None:
    """Store that the objects of events are to be read from Canvas.

    Args:
        warehouse: The tenant's, in a transaction.
        objects: Model, values of the key, name of the list that contains it or None, and events of each object.
    """
    rows = [(each.id, model, " ".join(map(str, key)), name) for model, key, name, events in objects for each in events]
    if not rows:
        return
    ids, models, names, lists = (list(column) for column in zip(*rows, strict=True))
    statement = sql.SQL(
        "with e as (update {inbox} set state = 'pending', deferred = true where id = any(%s) returning id, received_at) "
        "insert into {reads} (event_id, model, object, list, received_at) "
        "select e.id, d.model, d.object, d.list, e.received_at "
        "from e join unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) as d (id, model, object, list) using (id) "
        "on conflict (event_id) do nothing"
    ).format(inbox=warehouse.identifier(TABLE), reads=warehouse.identifier(DEFERRED_READS))
    warehouse.connection.execute(statement, (ids, ids, models, names, lists))


def _forget_reads(warehouse: Warehouse, ids: Iterable[int]) -> None:
    """Remove the reads of events that are not deferred any more."""
    if numbers := list(ids):
        statement = sql.SQL("delete from {} where event_id = any(%s)").format(warehouse.identifier(DEFERRED_READS))
        warehouse.connection.execute(statement, (numbers,))


def received_moments(warehouse: Warehouse, events: Sequence[InboxEvent]) -> list[datetime]:
    """Return the moments at which events were stored, on the database's clock; those of one commit are equal."""
    if not events:
        return []
    ids = [event.id for event in events]
    query = sql.SQL("select distinct received_at from {} where id between %s and %s").format(
        warehouse.identifier(TABLE)
    )
    return [at for (at,) in warehouse.connection.execute(query, (min(ids), max(ids))).fetchall()]


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events that wait in an inbox.

    Attributes:
        due: Number of events that are due, deferred ones included; each kind is counted up to `COUNTED`.
        first: Id of the oldest of them; None if none is due.
        next_in: Seconds until the next failed event is due again; None if there is none.
    """

    due: int = 0
    first: int | None = None
    next_in: float | None = None


def backlog(warehouse: Warehouse) -> Backlog:
    """Count the events that are due, without those that wait for a report; none without an inbox."""
    if not warehouse.has(TABLE):
        return Backlog()
    query = sql.SQL(
        "select count(*) filter (where due) + (select count(*) from (select from {reads} where {read} limit {most}) r), "
        "least(min(id) filter (where due), (select min(event_id) from {reads} where {read})), "
        "extract(epoch from min(next_attempt_at) filter (where not due) - now())::float8 from "
        "(select id, next_attempt_at, next_attempt_at <= now() as due from {inbox} "
        "where state in ('pending', 'failed') and not deferred "
        "order by id limit {most}) e"
    ).format(
        inbox=warehouse.identifier(TABLE),
        reads=warehouse.identifier(DEFERRED_READS),
        read=sql.SQL("model <> all({})").format(sql.Literal(list(read_active_waits(warehouse)))),
        most=sql.Literal(COUNTED),
    )
    row = warehouse.connection.execute(query).fetchone()
    return Backlog(*row) if row else Backlog()


def settle(warehouse: Warehouse, states: Mapping[str, Iterable[InboxEvent]]) -> None:
    """Store how events ended, in the transaction of what they changed.

    No column becomes null or filled by it: that changes the beginning of a row, and PostgreSQL would write all of it to
    the WAL, payload included. `next_attempt_at` of a settled event is when it was settled.

    Args:
        warehouse: The tenant's, in that transaction.
        states: `applied` or `ignored` → events.
    """
    statement = sql.SQL(
        "update {} set state = %s, deferred = false, next_attempt_at = now(), error = null where id = any(%s)"
    ).format(warehouse.identifier(TABLE))
    for state, given in states.items():
        events = list(given)
        if ids := [event.id for event in events]:
            warehouse.connection.execute(statement, (state, ids))
            _forget_reads(warehouse, [event.id for event in events if event.is_deferred])


def fail(warehouse: Warehouse, event: InboxEvent, problem: str, done: Sequence[str] | None = None) -> str:
    """Store that an event failed. It is due again later, or `dead` after `MOST_ATTEMPTS`.

    Args:
        warehouse: The tenant's, in a transaction.
        event: The event.
        problem: Reason, without row content.
        done: Steps of the user's functions that have succeeded; those of the event if None.

    Returns:
        Its state: `failed` or `dead`.
    """
    attempts = event.attempts + 1
    state = "dead" if attempts >= MOST_ATTEMPTS else "failed"
    wait = min(LONGEST_BACKOFF, BACKOFF * 2 ** (attempts - 1))
    finished = list(event.done if done is None else done)
    warehouse.connection.execute(
        sql.SQL(
            "update {} set state = %s, deferred = false, attempts = %s, next_attempt_at = now() + %s, error = %s, done = %s where id = %s"
        ).format(warehouse.identifier(TABLE)),
        (state, attempts, wait, problem[:2000].replace("\0", ""), finished, event.id),
    )
    _forget_reads(warehouse, [event.id] if event.is_deferred else [])
    return state


def postpone(warehouse: Warehouse, event: InboxEvent, done: Sequence[str]) -> None:
    """Store which steps of the user's functions have succeeded for an event that stays due."""
    statement = sql.SQL("update {} set done = %s where id = %s").format(warehouse.identifier(TABLE))
    warehouse.connection.execute(statement, (list(done), event.id))


def replay(warehouse: Warehouse, *, ids: Sequence[int] = (), name: str | None = None) -> int:
    """Make dead and failed events due again.

    Args:
        warehouse: The tenant's, in a transaction.
        ids: Only these events; all if empty.
        name: Only events of this name; all if None.

    Returns:
        Number of events.
    """
    query = sql.SQL(
        "update {} set state = 'pending', attempts = 0, next_attempt_at = now() where state in ('dead', 'failed') and not deferred "
        "and (%s::bigint[] = '{{}}' or id = any(%s::bigint[])) and (%s::text is null or event_name = %s)"
    ).format(warehouse.identifier(TABLE))
    replayed = warehouse.connection.execute(query, (list(ids), list(ids), name, name)).rowcount
    _move_position(warehouse)
    return replayed


def _move_position(warehouse: Warehouse) -> None:
    """Take an id from the sequence: the sensor looks into an inbox whose newest id has changed (`many_schemas`)."""
    query = (
        "select case when has_sequence_privilege(name, 'USAGE') then nextval(name) end "
        "from (select pg_get_serial_sequence(%s, 'id')::regclass) as s (name)"
    )
    warehouse.connection.execute(query, (warehouse.identifier(TABLE).as_string(warehouse.connection),))


@dataclass(frozen=True, slots=True)
class Depth:
    """Number of events in an inbox.

    Attributes:
        counts: State (`pending`, `failed` or `dead`), or `deferred` for pending events that wait for an answer of Canvas
            → number of events.
        oldest: When the oldest waiting event was received; None if none waits.
        latest: When the latest event was received; None without any.
    """

    counts: Mapping[str, int]
    oldest: datetime | None
    latest: datetime | None

    @property
    def waiting(self) -> int:
        """Return the number of events that are not applied yet."""
        return sum(self.counts.get(state, 0) for state in ("pending", "deferred", "failed"))


def depth(warehouse: Warehouse) -> Depth:
    """Count the events that are neither applied nor ignored, and look for the latest event."""
    table = warehouse.identifier(TABLE)
    rows = warehouse.connection.execute(
        sql.SQL(
            "select state, count(*), min(received_at) from {} "
            "where state in ('pending', 'failed', 'dead') and not deferred group by state"
        ).format(table)
    ).fetchall()
    rows += _deferred_depth(warehouse)
    oldest = [at for state, _, at in rows if state != "dead"]
    latest = warehouse.connection.execute(
        sql.SQL("select received_at from {} order by id desc limit 1").format(table)
    ).fetchone()
    return Depth(
        {str(state): int(number) for state, number, _ in rows}, min(oldest, default=None), latest[0] if latest else None
    )


def _deferred_depth(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Count the deferred events; none where the role of a receiver may not read their table."""
    name = warehouse.identifier(DEFERRED_READS).as_string(warehouse.connection)
    readable = warehouse.connection.execute("select has_table_privilege(to_regclass(%s), 'select')", (name,)).fetchone()
    if readable != (True,):
        return []
    query = sql.SQL("select 'deferred', count(*), min(received_at) from {} having count(*) > 0")
    return warehouse.connection.execute(query.format(warehouse.identifier(DEFERRED_READS))).fetchall()


DEAD_CHOSEN = sql.SQL(
    "state = 'dead' and not deferred and (%(ids)s::bigint[] = '{{}}' or id = any(%(ids)s::bigint[])) "
    "and (%(name)s::text is null or event_name = %(name)s)"
).format()


def count_dead(warehouse: Warehouse, *, ids: Sequence[int] = (), name: str | None = None) -> int:
    """Return the number of dead events, with the same selection as `replay`."""
    query = sql.SQL("select count(*) from {} where {}").format(warehouse.identifier(TABLE), DEAD_CHOSEN)
    row = warehouse.connection.execute(query, {"ids": list(ids), "name": name}).fetchone()
    return int(row[0]) if row else 0


def discard(warehouse: Warehouse, *, ids: Sequence[int] = (), name: str | None = None) -> int:
    """Settle dead events as ignored, with the same selection as `replay`, and return their number."""
    query = sql.SQL("update {} set state = 'ignored', next_attempt_at = now() where {}").format(
        warehouse.identifier(TABLE), DEAD_CHOSEN
    )
    return warehouse.connection.execute(query, {"ids": list(ids), "name": name}).rowcount
