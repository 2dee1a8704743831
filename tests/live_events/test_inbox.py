"""The inbox: partitions stand ready, nobody is held up by a reader, and only what is settled ages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from canvas_sync_dagster.live_events import inbox
from canvas_sync_dagster.live_events.event import Event, read_event
from canvas_sync_dagster.live_events.inbox import TABLE, age_out, ensure_partitions, store
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


def test_only_days_whose_events_are_settled_are_dropped(database_url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(inbox, "DROP_PATIENCE", "100ms")
    old = NOW.date() - timedelta(days=30)
    with connect(database_url) as connection:
        ensure_partitions(connection, "canvas", old)
        store(connection, "canvas", [])
        for day, state in ((old, "dead"), (old + timedelta(days=1), "applied")):
            connection.execute(
                f"insert into canvas.{TABLE} (event_name, content_hash, payload, received_on, state) "
                "values ('x', 'x', '{}', %s, %s)",
                (day, state),
            )
    with psycopg.connect(database_url) as reader, connect(database_url) as connection:
        reader.execute(f"select count(*) from canvas.{TABLE}")
        assert age_out(connection, "canvas", timedelta(days=14)) == 0
    with connect(database_url) as connection:
        assert age_out(connection, "canvas", timedelta(days=14)) == inbox.DAYS_AHEAD + 1
    assert rows(database_url, f"select received_on, state from canvas.{TABLE}") == [(old, "dead")]
