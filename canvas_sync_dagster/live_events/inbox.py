"""The inbox: every acknowledged event is a row here, until it is applied, ignored, or dead and aged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql

from canvas_sync_dagster.live_events.event import Event
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.schema.ddl import INBOX as TABLE

WINDOW = timedelta(hours=26)
"""How long the same event is known to be the same; Canvas delivers late copies within the hour, a broken queue in a day."""
MOST_ATTEMPTS = 8
BACKOFF = timedelta(seconds=20)
LONGEST_BACKOFF = timedelta(hours=1)

INSERT = """
insert into {table} (event_name, event_time, content_hash, payload)
select name, time, hash, payload::jsonb
from unnest(%s::text[], %s::timestamptz[], %s::bytea[], %s::text[]) with ordinality as e (name, time, hash, payload, n)
where not exists (select from {table} t where t.content_hash = e.hash and t.received_on between %s and %s)
on conflict (content_hash, received_on) do nothing
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An event in the inbox.

    Attributes:
        id: Grows with each event.
        attempts: How often it was tried.
        done: Names of the user's functions that have had it.
    """

    id: int
    name: str
    time: datetime
    received_at: datetime
    attempts: int
    done: tuple[str, ...]
    payload: Mapping[str, Any]


def insert_statement(schema: str) -> sql.Composed:
    """Returns the statement that stores many events at once; copies of what is there are dropped."""
    return sql.SQL(INSERT).format(table=sql.Identifier(schema, TABLE))


def insert_values(events: Sequence[Event], now: datetime) -> tuple[object, ...]:
    """Returns what the statement is executed with. Sorted, so that two receivers wait for each other and do not deadlock."""
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


def store(connection: Connection, schema: str, events: Sequence[Event]) -> None:
    """Stores events in the caller's transaction."""
    connection.execute(insert_statement(schema), insert_values(events, datetime.now(UTC)))


def claim(connection: Connection, schema: str, limit: int) -> list[Row]:
    """Reads events that wait, the oldest first. Whoever calls holds the tenant's drain lock."""
    query = sql.SQL(
        "select id, event_name, event_time, received_at, attempts, done, payload from {} "
        "where state in ('pending', 'failed') and next_attempt_at <= now() order by id limit %s"
    ).format(sql.Identifier(schema, TABLE))
    rows = connection.execute(query, (limit,)).fetchall()
    return [
        Row(int(id_), str(name), time, received, int(attempts), tuple(done or ()), payload)
        for id_, name, time, received, attempts, done, payload in rows
    ]


def settle(connection: Connection, schema: str, states: Mapping[str, Iterable[int]]) -> None:
    """Writes how events ended, in the transaction of what they did."""
    statement = sql.SQL("update {} set state = %s, applied_at = now(), error = null where id = any(%s)").format(
        sql.Identifier(schema, TABLE)
    )
    for state, ids in states.items():
        if numbers := list(ids):
            connection.execute(statement, (state, numbers))


def fail(connection: Connection, schema: str, row: Row, error: str, done: Sequence[str] = ()) -> str:
    """Writes that an event failed; it is tried again later, or dead.

    Returns:
        Its state: `failed` or `dead`.
    """
    attempts = row.attempts + 1
    state = "dead" if attempts >= MOST_ATTEMPTS else "failed"
    wait = min(LONGEST_BACKOFF, BACKOFF * 2 ** (attempts - 1))
    connection.execute(
        sql.SQL(
            "update {} set state = %s, attempts = %s, next_attempt_at = now() + %s, error = %s, done = %s where id = %s"
        ).format(sql.Identifier(schema, TABLE)),
        (state, attempts, wait, error[:2000].replace("\0", ""), list(done), row.id),
    )
    return state


def postpone(connection: Connection, schema: str, row: Row, done: Sequence[str]) -> None:
    """Writes which of the user's functions have had an event that waits on."""
    statement = sql.SQL("update {} set done = %s where id = %s").format(sql.Identifier(schema, TABLE))
    connection.execute(statement, (list(done), row.id))


def replay(connection: Connection, schema: str, *, ids: Sequence[int] = (), name: str | None = None) -> int:
    """Makes dead and failed events wait again; all of them, or these. Returns how many."""
    query = sql.SQL(
        "update {} set state = 'pending', attempts = 0, next_attempt_at = now() where state in ('dead', 'failed') "
        "and (%s::bigint[] = '{{}}' or id = any(%s::bigint[])) and (%s::text is null or event_name = %s)"
    ).format(sql.Identifier(schema, TABLE))
    return connection.execute(query, (list(ids), list(ids), name, name)).rowcount


@dataclass(frozen=True, slots=True)
class Depth:
    """What is in an inbox.

    Attributes:
        counts: State → events.
        oldest: Since when the oldest one waits; None if none does.
        latest: When the latest event was received.
    """

    counts: Mapping[str, int]
    oldest: datetime | None
    latest: datetime | None

    @property
    def waiting(self) -> int:
        return self.counts.get("pending", 0) + self.counts.get("failed", 0)


def depth(connection: Connection, schema: str) -> Depth:
    """Counts the events that are not settled well, and looks for the latest."""
    table = sql.Identifier(schema, TABLE)
    rows = connection.execute(
        sql.SQL(
            "select state, count(*), min(received_at) from {} where state in ('pending', 'failed', 'dead') group by state"
        ).format(table)
    ).fetchall()
    oldest = [at for state, _, at in rows if state != "dead"]
    latest = connection.execute(sql.SQL("select received_at from {} order by id desc limit 1").format(table)).fetchone()
    return Depth(
        {str(state): int(number) for state, number, _ in rows}, min(oldest, default=None), latest[0] if latest else None
    )


DEAD_CHOSEN = sql.SQL(
    "state = 'dead' and (%(ids)s::bigint[] = '{{}}' or id = any(%(ids)s::bigint[])) "
    "and (%(name)s::text is null or event_name = %(name)s)"
).format()


def count_dead(connection: Connection, schema: str, *, ids: Sequence[int] = (), name: str | None = None) -> int:
    """Count the dead events; all of them, or these."""
    query = sql.SQL("select count(*) from {} where {}").format(sql.Identifier(schema, TABLE), DEAD_CHOSEN)
    row = connection.execute(query, {"ids": list(ids), "name": name}).fetchone()
    return int(row[0]) if row else 0


def discard(connection: Connection, schema: str, *, ids: Sequence[int] = (), name: str | None = None) -> int:
    """Give dead events up, all of them or these: they become ignored, and go with their day. Return how many."""
    query = sql.SQL("update {} set state = 'ignored', applied_at = now() where {}").format(
        sql.Identifier(schema, TABLE), DEAD_CHOSEN
    )
    return connection.execute(query, {"ids": list(ids), "name": name}).rowcount
