"""Earlier states of rows: every writer is recorded in its own transaction, and rows can be read as they were."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from canvas_sync_dagster.catalogue.model import Column, ColumnType, Model, Protected, ReportFeed
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.connection import Connection, connect, transaction
from canvas_sync_dagster.warehouse.history import EVENT, written_by
from canvas_sync_dagster.warehouse.loading.load import Source, load_csv, load_rows
from canvas_sync_dagster.warehouse.loading.row_statements import mark_deleted
from canvas_sync_dagster.warehouse.schema.migrate import migrate, plan
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.warehouse import Table, Warehouse

THINGS = Model(
    "things",
    (
        Column("canvas_id", ColumnType.BIGINT, report=("id",), api="id"),
        Column("name", ColumnType.TEXT, report=("name",), api="name"),
        Column("workflow_state", ColumnType.TEXT, report=("state",), api="workflow_state"),
    ),
    ReportFeed("things_csv"),
    history=True,
)
FORGETFUL = replace(THINGS, history=False)
T0 = datetime.now(UTC).replace(microsecond=0) - timedelta(days=10)
STATES = (
    "select canvas_id, name, workflow_state, valid_from, valid_to, source, operation from canvas.things_history "
    "order by canvas_id, valid_to, valid_from"
)
LOADED_AT_ONCE = "update canvas.things set updated_at = observed_at where updated_at = now()"
"""Rows of a test were observed days ago; in use, a report is loaded minutes after Canvas began it."""


def day(number: float) -> datetime:
    return T0 + timedelta(days=number)


@pytest.fixture
def url(database_url: str) -> str:
    migrate(database_url, "canvas", [THINGS])
    # The history begins before all observations of a test.
    with psycopg.connect(database_url) as connection:
        connection.execute("update canvas.canvas_sync_remembered set value = '2000-01-01Z'")
    return database_url


def report(url: str, number: float, *rows: str, model: Model = THINGS, complete: bool = True) -> None:
    content = "\n".join(["id,name,state", *rows, ""]).encode()
    with transaction(url, "a test") as connection:
        source = Source("", day(number), "things_csv", 1, complete=complete)
        load_csv(things(connection, model), lambda: io.BytesIO(content), source)
        connection.execute(LOADED_AT_ONCE)


def rest(url: str, number: float, rows: list[dict[str, object]], *, by: str = "") -> None:
    with transaction(url, "a test") as connection:
        table, source = things(connection), Source("", day(number), "things", complete=False)
        if by:
            with written_by(table, by):
                load_rows(table, rows, source)
        else:
            load_rows(table, rows, source)
        connection.execute(LOADED_AT_ONCE)


def things(connection: Connection, model: Model = THINGS) -> Table:
    return Warehouse(connection, "canvas", {model.name: model}).table(model)


def fetch(url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    with connect(url) as connection:
        return connection.execute(query.encode(), values).fetchall()


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def as_of(url: str, moment: datetime) -> list[str]:
    return [f"{i} {n} {s}" for i, n, s in fetch(
        url, "select canvas_id, name, workflow_state from canvas.things_as_of(%s) order by 1", moment)]  # fmt: skip


@pytest.mark.every_postgres
def test_reports_rest_events_and_deletions_are_recorded_and_rows_can_be_read_as_they_were(url: str) -> None:
    report(url, 0, "1,one,active", "2,two,active")
    rest(url, 1, [{"canvas_id": 1, "name": "uno", "workflow_state": "active"}, {"canvas_id": 3, "name": "three"}])
    # Equal rows get a new observation and no earlier state.
    rest(url, 2, [{"canvas_id": 1, "name": "uno"}, {"canvas_id": 2, "name": "two"}])
    rest(url, 3, [{"canvas_id": 1, "name": "eins"}], by=EVENT)
    # A report that is older than the row changes nothing.
    report(url, 2.5, "1,old,active", complete=False)
    report(url, 4, "1,eins,active", "2,zwei,active", "3,three,")
    with transaction(url, "a test") as connection:
        mark_deleted(things(connection), {"canvas_id": 2}, {"workflow_state": "deleted"}, day(5))
        connection.execute("update canvas.things set missing_since = now(), observed_at = now() where canvas_id = 1")
    assert fetch(url, STATES) == [
        (1, "one", "active", day(0), day(1), "rest", "update"),
        (1, "uno", "active", day(1), day(3), "event", "update"),
        (2, "two", "active", day(0), day(4), "report", "update"),
        (2, "zwei", "active", day(4), day(5), "rest", "update"),
    ]
    assert as_of(url, day(-0.5)) == []
    assert as_of(url, day(0)) == ["1 one active", "2 two active"]
    assert as_of(url, day(2.9)) == ["1 uno active", "2 two active", "3 three None"]
    assert as_of(url, day(4.5)) == ["1 eins active", "2 zwei active", "3 three None"]
    now = "select canvas_id, name, workflow_state from canvas.things"
    assert fetch(url, f"{now}_as_of(now()) order by 1") == fetch(url, f"{now} order by 1")
    periods = "select canvas_id, valid_from, valid_to from canvas.things_as_of(now()) order by 1"
    assert fetch(url, periods) == [(1, day(3), None), (2, day(5), None), (3, day(1), None)]


def test_the_users_own_sql_is_recorded_and_rolled_back_with_its_transaction(url: str) -> None:
    report(url, 0, "1,one,active", "2,two,active", "3,three,active")
    execute(url, "update canvas.things set name = 'mine' where canvas_id = 1")
    execute(url, "delete from canvas.things where canvas_id = 2; truncate canvas.things")
    execute(url, "insert into canvas.things (canvas_id, name, observed_at) values (2, 'again', now())")
    found = fetch(url, STATES)
    assert [(row[:2], row[5:]) for row in found] == [
        ((1, "one"), ("sql", "update")),
        ((1, "mine"), ("sql", "delete")),
        ((2, "two"), ("sql", "delete")),
        ((3, "three"), ("sql", "delete")),
    ]
    deleted = found[2][4]
    assert found[0][4] == found[1][3]
    assert as_of(url, deleted - timedelta(microseconds=1)) == ["1 mine active", "2 two active", "3 three active"]
    assert as_of(url, deleted) == []
    assert as_of(url, datetime.now(UTC)) == ["2 again None"]
    # A role that may change the table needs no right on its history.
    with psycopg.connect(url) as connection:
        connection.execute("create role writer; grant usage on schema canvas to writer")
        connection.execute("grant select, update on canvas.things to writer; set local role writer")
        connection.execute("update canvas.things set name = 'by the writer'")
        connection.execute("reset role")
        assert connection.execute("select count(*) from canvas.things_history").fetchone() == (5,)
        connection.rollback()
    # A load that is killed leaves neither rows nor earlier states.
    with connect(url) as connection:
        killed = connection.info.backend_pid
        with pytest.raises(psycopg.OperationalError), connection.transaction():
            rows = [{"canvas_id": 2, "name": "never"}]
            load_rows(things(connection), rows, Source("", datetime.now(UTC), "things", complete=False))
            assert connection.execute("select count(*) from canvas.things_history").fetchone() == (5,)
            execute(url, f"select pg_terminate_backend({killed})")
            connection.execute("select 1")
    assert fetch(url, STATES) == found


def test_turned_off_it_keeps_its_rows_and_turned_on_again_it_begins_anew(url: str) -> None:
    report(url, 0, "1,one,active")
    report(url, 1, "1,two,active")
    off = plan(url, "canvas", [FORGETFUL])
    assert off.changes == ("end the history of things; things_history is kept",)
    migrate(url, "canvas", [FORGETFUL])
    assert plan(url, "canvas", [FORGETFUL]).changes == ()
    report(url, 2, "1,unseen,active", model=FORGETFUL)
    with pytest.raises(psycopg.errors.DataException, match="the history of things is turned off"):
        as_of(url, day(1))
    with pytest.raises(
        SchemaError, match=r"lacks things_history \(its triggers and functions\)\. Run `canvas-sync migrate`"
    ):
        prepare_schema(url, "canvas", [THINGS])
    execute(url, plan(url, "canvas", [THINGS]).sql().replace("BEGIN;", "").replace("COMMIT;", ""))
    assert plan(url, "canvas", [THINGS]).changes == ()
    prepare_schema(url, "canvas", [THINGS])
    with pytest.raises(
        psycopg.errors.DataException, match=r"the history of things begins at .*; its rows as of .* are unknown"
    ):
        as_of(url, day(1))
    report(url, 3, "1,three,active")
    assert [row[1] for row in fetch(url, STATES)] == ["one", "unseen"]
    assert as_of(url, datetime.now(UTC)) == ["1 three active"]
    # A column that the model gains is recorded from then on.
    wider = THINGS.with_columns(Column("colour", ColumnType.TEXT))
    changes = migrate(url, "canvas", [wider]).changes
    assert {"add column things.colour", "add column things_history.colour", "create function things_as_of"} <= {
        *changes
    }
    execute(url, "update canvas.things set colour = 'red'; update canvas.things set colour = 'blue'")
    assert fetch(url, "select colour from canvas.things_history order by valid_to, valid_from")[-2:] == [
        (None,),
        ("red",),
    ]
    assert plan(url, "canvas", [THINGS]).changes == ()
    # A column that the tenant protects since is removed from the history, and not recorded any more.
    private = replace(wider, protected=(Protected(wider["colour"]),))
    with pytest.raises(SchemaError, match="its triggers and functions"):
        prepare_schema(url, "canvas", [private])
    assert "remove colour from things_history" in migrate(url, "canvas", [private]).changes
    execute(url, "update canvas.things set colour = 'green'")
    execute(url, "update canvas.things set colour = 'green', name = 'private'")
    assert fetch(url, "select distinct colour from canvas.things_history") == [(None,)]
    assert fetch(url, "select count(*) from canvas.things_history where name = 'three'") == [(3,)]
    migrate(url, "canvas", [wider])
    execute(url, "alter table canvas.things disable trigger canvas_sync_history_update")
    assert migrate(url, "canvas", [wider]).changes == ("begin the history of things in things_history",)


EXISTING = """
create schema canvas;
create table canvas.things (id serial primary key, canvas_id integer unique, name varchar(20), workflow_state json,
  mine text, created_at timestamp, updated_at timestamp);
insert into canvas.things (canvas_id, name, workflow_state, updated_at) values (1, 'old', '{"a": 1}', '2020-01-01 00:00');
"""


def test_existing_tables_keep_their_types_and_those_of_another_role_are_refused(database_url: str) -> None:
    execute(database_url, EXISTING)
    migrate(database_url, "canvas", [THINGS])
    assert plan(database_url, "canvas", [THINGS]).changes == ()
    execute(database_url, """update canvas.things set workflow_state = '{"a":1}', mine = 'x'""")
    assert fetch(database_url, STATES) == []
    execute(database_url, "update canvas.things set name = 'new'; alter table canvas.things add column more text")
    (earlier,) = fetch(database_url, STATES)
    assert (earlier[1:4], earlier[5]) == (("old", {"a": 1}, datetime(2020, 1, 1, tzinfo=UTC)), "sql")
    assert len(fetch(database_url, "select * from canvas.things_as_of(now())")) == 1
    name = conninfo_to_dict(database_url)["dbname"]
    execute(database_url, f"create role app_{name}; create role sync_{name} login superuser")
    try:
        execute(database_url, "drop table canvas.things_history cascade; create table canvas.things_history (x int)")
        with pytest.raises(SchemaError, match=r"canvas\.things_history is not a history that `migrate` made"):
            migrate(database_url, "canvas", [THINGS])
        execute(database_url, f"drop table canvas.things, canvas.things_history; create table canvas.things (canvas_id bigint "
                f"primary key, name text, workflow_state text); alter table canvas.things owner to app_{name}; "
                f"alter role sync_{name} nosuperuser; grant all on schema canvas to sync_{name}; "
                f"grant all on all tables in schema canvas to sync_{name}")  # fmt: skip
        loader = re.sub("//[^@/]*@", f"//sync_{name}@", database_url, count=1)
        with pytest.raises(SchemaError, match="belongs to another role, so that its history cannot begin"):
            migrate(loader, "canvas", [THINGS])
        taken = FORGETFUL.with_columns(Column("source", ColumnType.TEXT))
        with pytest.raises(SchemaError, match="a history has columns source of its own"):
            migrate(database_url, "canvas", [replace(taken, history=True)])
    finally:
        execute(database_url, f"drop owned by app_{name}, sync_{name} cascade; drop role app_{name}, sync_{name}")
