"""The inbox: partitions stand ready, nobody is held up by a reader, and only what is settled ages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from canvas_sync_dagster.live_events import inbox
from canvas_sync_dagster.live_events.event import Event, read_event
from canvas_sync_dagster.live_events.inbox import TABLE, age_out, count_dead, discard, ensure_partitions, store
from canvas_sync_dagster.simulator.events import event
from canvas_sync_dagster.warehouse.connection import connect

NOW = datetime.now(UTC)


def spoken(name: str = "x") -> Event:
    return read_event(event("course_updated", {"course_id": "5", "name": name}, NOW), NOW)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_partitions_are_made_while_somebody_reads_and_somebody_writes(database_url: str) -> None:
    with connect(database_url) as connection:
        ensure_partitions(connection, "canvas")
    with psycopg.connect(database_url) as backup, psycopg.connect(database_url) as writer:
        backup.execute(f"select count(*) from canvas.{TABLE}")
        writer.execute(f"insert into canvas.{TABLE} (event_name, content_hash, payload) values ('x', 'x', '{{}}')")
        with connect(database_url) as connection:
            connection.execute("set lock_timeout = '1s'")
            ensure_partitions(connection, "canvas", NOW.date() + timedelta(days=2))
    last = f"{TABLE}_{NOW + timedelta(days=5):%Y%m%d}"
    assert rows(database_url, f"select count(*) from canvas.{last}") == [(0,)]


def test_a_copy_that_comes_after_midnight_is_known(database_url: str) -> None:
    with connect(database_url) as connection:
        ensure_partitions(connection, "canvas")
        store(connection, "canvas", [spoken()])
        connection.execute(f"update canvas.{TABLE} set received_on = received_on - 1")
        store(connection, "canvas", [spoken(), spoken("y")])
    assert rows(database_url, f"select count(*) from canvas.{TABLE}") == [(2,)]


def test_days_are_dropped_once_none_of_their_events_waits_and_dead_ones_move_to_today(
    database_url: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(inbox, "DROP_PATIENCE", "100ms")
    old = NOW.date() - timedelta(days=30)
    with connect(database_url) as connection:
        ensure_partitions(connection, "canvas", old)
        store(connection, "canvas", [])
        for number, (day, state) in enumerate([(old, "dead"), (old + timedelta(days=1), "applied"), (old, "applied")]):
            connection.execute(
                f"insert into canvas.{TABLE} (event_name, content_hash, payload, received_on, received_at, state) "
                "values ('x', %s, '{}', %s, %s, %s)",
                (f"x{number}".encode(), day, day, state),
            )
        connection.execute(
            f"insert into canvas.{TABLE} (event_name, content_hash, payload, received_on, state) "
            "values ('x', 'y', '{}', %s, 'failed')",
            (old - timedelta(days=1),),
        )
    with psycopg.connect(database_url) as reader, connect(database_url) as connection:
        reader.execute(f"select count(*) from canvas.{TABLE}")
        assert age_out(connection, "canvas", timedelta(days=14)) == 0
    with connect(database_url) as connection:
        assert age_out(connection, "canvas", timedelta(days=14), timedelta(days=90)) == inbox.DAYS_AHEAD + 1
    found = rows(database_url, f"select received_on, state from canvas.{TABLE} order by 1")
    assert found == [(old - timedelta(days=1), "failed"), (datetime.now(UTC).date(), "dead")]
    with connect(database_url) as connection:
        age_out(connection, "canvas", timedelta(days=14), timedelta(days=29))
    assert rows(database_url, f"select state from canvas.{TABLE}") == [("failed",)]


def test_dead_events_are_counted_and_given_up_all_or_some(database_url: str) -> None:
    with connect(database_url) as connection:
        ensure_partitions(connection, "canvas")
        store(connection, "canvas", [spoken(name) for name in "abcd"])
        connection.execute(f"update canvas.{TABLE} set state = 'dead' where id <= 3")
        assert count_dead(connection, "canvas") == 3
        assert count_dead(connection, "canvas", ids=[1, 4]) == 1
        assert count_dead(connection, "canvas", name="other") == 0
        assert discard(connection, "canvas", ids=[1, 4]) == 1
        assert discard(connection, "canvas") == 2
    states = rows(database_url, f"select state, count(*) from canvas.{TABLE} group by 1 order by 1")
    assert states == [("ignored", 3), ("pending", 1)]
