"""The inbox: partitions stand ready, nobody is held up by a reader, and only what is settled ages."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.live_events.event import Event, read_event
from canvas_sync_dagster.simulator import event
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.schema.ddl import INBOX as TABLE
from canvas_sync_dagster.warehouse.schema.ddl import INBOX_DEFAULT as DEFAULT
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.state import inbox_partitions as partitions
from canvas_sync_dagster.warehouse.state.inbox import count_dead, discard, insert_statement, insert_values, store
from canvas_sync_dagster.warehouse.state.inbox_partitions import (
    DAYS_AHEAD,
    DAYS_BEHIND,
    age_out,
    ensure_partitions,
)
from canvas_sync_dagster.warehouse.warehouse import Warehouse

NOW = datetime.now(UTC)


def spoken(name: str = "x") -> Event:
    return read_event(event("course_updated", {"course_id": "5", "name": name}, NOW), NOW)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def days(url: str) -> set[str]:
    query = f"select inhrelid::regclass::text from pg_inherits where inhparent = 'canvas.{TABLE}'::regclass"
    return {name.rpartition(f"{TABLE}_")[2] for (name,) in rows(url, query)}


def insert(connection: Any, day: date, state: str = "pending") -> None:
    connection.execute(
        f"insert into canvas.{TABLE} (event_name, content_hash, payload, received_on, state) "
        "values ('x', convert_to(%s, 'UTF8'), '{}', %s, %s)",
        (f"{day} {state}", day, state),
    )


def test_partitions_are_made_for_a_week_ahead(database_url: str) -> None:
    with connect(database_url) as connection:
        ensure_partitions(Warehouse(connection, "canvas"))
        ensure_partitions(Warehouse(connection, "canvas"), NOW.date() + timedelta(days=2))
    wanted = {f"{NOW + timedelta(days=n):%Y%m%d}" for n in range(-DAYS_BEHIND, DAYS_AHEAD + 3)}
    assert days(database_url) == wanted | {"default"}


def test_a_backup_delays_new_partitions_and_no_event(database_url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(partitions, "PATIENCE", "300ms")
    with connect(database_url) as connection:
        ensure_partitions(Warehouse(connection, "canvas"))
    later = NOW.date() + timedelta(days=2)
    # As the receiver: a prepared statement would look into all partitions, the default one too.
    written: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}
    with psycopg.connect(database_url) as backup, psycopg.connect(database_url, **written) as writer:
        backup.execute(f"select count(*) from canvas.{TABLE}")
        writer.execute("set lock_timeout = '100ms'")
        with ThreadPoolExecutor() as pool:
            making = pool.submit(made, database_url, later)
            while not making.done():
                writer.execute(insert_statement("canvas"), insert_values([spoken()], NOW))
        assert making.result() < 3
    assert f"{later + timedelta(days=DAYS_AHEAD):%Y%m%d}" not in days(database_url)
    made(database_url, later)
    assert f"{later + timedelta(days=DAYS_AHEAD):%Y%m%d}" in days(database_url)
    assert rows(database_url, f"select count(*) from canvas.{TABLE}") == [(1,)]


def made(url: str, day: date) -> float:
    start = time.monotonic()
    with connect(url) as connection:
        ensure_partitions(Warehouse(connection, "canvas"), day)
    return time.monotonic() - start


def test_events_of_a_day_without_a_partition_are_stored_and_age(database_url: str) -> None:
    old = NOW.date() - timedelta(days=30)
    with connect(database_url) as connection:
        for state in ("applied", "dead"):
            insert(connection, old, state)
        store(Warehouse(connection, "canvas"), [spoken(), spoken()])
    with connect(database_url) as connection:
        # The present day stays in the default partition, the next ones have their own.
        ensure_partitions(Warehouse(connection, "canvas"))
        store(Warehouse(connection, "canvas"), [spoken(), spoken("y")])
        insert(connection, NOW.date() + timedelta(days=1))
        age_out(Warehouse(connection, "canvas"), timedelta(days=14))
    assert f"{NOW:%Y%m%d}" not in days(database_url)
    in_default = f"select received_on, state, count(*) from canvas.{DEFAULT} group by 1, 2 order by 1, 2"
    assert rows(database_url, in_default) == [(NOW.date(), "dead", 1), (NOW.date(), "pending", 2)]


def test_an_inbox_without_a_default_partition_gets_one(database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute(f"drop table canvas.{DEFAULT}")
        ensure_partitions(Warehouse(connection, "canvas"))
    assert "default" in days(database_url)
    with connect(database_url) as connection:
        connection.execute(f"drop table canvas.{DEFAULT}")
    assert migrate(database_url, "canvas", BUILT_IN).changes == (f"create table {DEFAULT}",)
    assert migrate(database_url, "canvas", BUILT_IN).changes == ()


def test_a_copy_that_comes_after_midnight_is_known(database_url: str) -> None:
    with connect(database_url) as connection:
        ensure_partitions(Warehouse(connection, "canvas"))
        store(Warehouse(connection, "canvas"), [spoken()])
        connection.execute(f"update canvas.{TABLE} set received_on = received_on - 1")
        store(Warehouse(connection, "canvas"), [spoken(), spoken("y")])
    assert rows(database_url, f"select count(*) from canvas.{TABLE}") == [(2,)]


def test_days_are_dropped_once_none_of_their_events_waits_and_dead_ones_move_to_today(
    database_url: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(partitions, "PATIENCE", "100ms")
    old = NOW.date() - timedelta(days=30)
    with connect(database_url) as connection:
        ensure_partitions(Warehouse(connection, "canvas"), old)
        store(Warehouse(connection, "canvas"), [])
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
        assert age_out(Warehouse(connection, "canvas"), timedelta(days=14)) == 0
    with connect(database_url) as connection:
        assert (
            age_out(Warehouse(connection, "canvas"), timedelta(days=14), timedelta(days=90)) == DAYS_BEHIND + DAYS_AHEAD
        )
    found = rows(database_url, f"select received_on, state from canvas.{TABLE} order by 1")
    assert found == [(old - timedelta(days=1), "failed"), (datetime.now(UTC).date(), "dead")]
    with connect(database_url) as connection:
        age_out(Warehouse(connection, "canvas"), timedelta(days=14), timedelta(days=29))
    assert rows(database_url, f"select state from canvas.{TABLE}") == [("failed",)]


def test_dead_events_are_counted_and_given_up_all_or_some(database_url: str) -> None:
    with connect(database_url) as connection:
        ensure_partitions(Warehouse(connection, "canvas"))
        store(Warehouse(connection, "canvas"), [spoken(name) for name in "abcd"])
        connection.execute(f"update canvas.{TABLE} set state = 'dead' where id <= 3")
        assert count_dead(Warehouse(connection, "canvas")) == 3
        assert count_dead(Warehouse(connection, "canvas"), ids=[1, 4]) == 1
        assert count_dead(Warehouse(connection, "canvas"), name="other") == 0
        assert discard(Warehouse(connection, "canvas"), ids=[1, 4]) == 1
        assert discard(Warehouse(connection, "canvas")) == 2
    states = rows(database_url, f"select state, count(*) from canvas.{TABLE} group by 1 order by 1")
    assert states == [("ignored", 3), ("pending", 1)]
