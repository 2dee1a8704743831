"""Tables of another role, which `migrate` may not alter: their digests are kept beside them, by key and row version."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from canvas_sync_dagster.catalogue.model import Column, ColumnType, Model, ReportFeed
from canvas_sync_dagster.warehouse.connection import Connection, connect, transaction
from canvas_sync_dagster.warehouse.loading import merge
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, load_csv, load_rows
from canvas_sync_dagster.warehouse.schema.migrate import migrate, plan
from canvas_sync_dagster.warehouse.state.housekeeping import drop_old_rows
from canvas_sync_dagster.warehouse.warehouse import Warehouse

USERS = Model(
    "people",
    (
        Column("canvas_id", ColumnType.BIGINT, report=("id",), api="id"),
        Column("name", ColumnType.TEXT, report=("name",), api="name", indexed=True),
        Column("score", ColumnType.NUMERIC, report=("score",), api="score"),
    ),
    ReportFeed("people_csv"),
)
PAIRS = Model(
    "pairs",
    (
        Column("canvas_user_id", ColumnType.BIGINT, report=("user",)),
        Column("code", ColumnType.TEXT, report=("code",)),
        Column("role", ColumnType.TEXT, report=("role",)),
    ),
    ReportFeed("pairs_csv"),
    ("canvas_user_id", "code"),
)
MODELS = {model.name: model for model in (USERS, PAIRS)}
DIGESTS = "canvas.canvas_sync_digests_people"
T0 = datetime(2026, 1, 1, tzinfo=UTC)
APPLICATION = """
create role app_of_{0};
create role sync_of_{0} login;
grant create on database {0} to sync_of_{0};
create schema canvas authorization sync_of_{0};
create table canvas.people (canvas_id integer primary key, name text, score numeric, mailed_at timestamptz {1});
create table canvas.pairs (canvas_user_id bigint, code varchar(9), role text, unique (canvas_user_id, code));
alter table canvas.people owner to app_of_{0};
alter table canvas.pairs owner to app_of_{0};
grant select, insert, update, delete on canvas.people, canvas.pairs to sync_of_{0};
"""


@pytest.fixture(params=["", ", observed_at timestamptz, missing_since timestamptz"], ids=["plain", "observed"])
def url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """A schema of the sync's role with two tables of an application's role."""
    name = str(conninfo_to_dict(database_url)["dbname"])
    with psycopg.connect(database_url) as administrator:
        administrator.execute(APPLICATION.format(name, request.param).encode())
    yield re.sub("//[^@/]*@", f"//sync_of_{name}@", database_url, count=1)
    with psycopg.connect(database_url) as administrator:
        roles = f"app_of_{name}, sync_of_{name}"
        administrator.execute(f"drop owned by {roles} cascade; drop role {roles}".encode())


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each frame that a load has parsed and copied."""
    copied: list[int] = []
    copy_frame = merge.copy_frame

    def counted(connection: Connection, table: psycopg.sql.Composable, frame: pl.DataFrame) -> int:
        if frame.height:
            copied.append(frame.height)
        return copy_frame(connection, table, frame)

    monkeypatch.setattr(merge, "copy_frame", counted)
    return copied


def load(url: str, *rows: str, days: int = 0, model: Model = USERS, reload: bool = False) -> tuple[int, int, int]:
    header = ",".join(column.report[0] for column in model.columns)
    content = "\n".join([header, *rows, ""]).encode()
    source = Source("", T0 + timedelta(days=days), model.name, days, reload=reload)
    with transaction(url, "loading") as connection:
        table = Warehouse(connection, "canvas", MODELS).table(model)
        return outcome(load_csv(table, lambda: io.BytesIO(content), source))


def outcome(counts: LoadCounts) -> tuple[int, int, int]:
    return counts.inserted, counts.updated, counts.unchanged


def run(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def people(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select canvas_id, name from canvas.people order by canvas_id").fetchall()


def test_migrate_leaves_a_table_of_another_role_alone_and_makes_one_for_its_digests(url: str) -> None:
    planned = plan(url, "canvas", MODELS.values())
    done = migrate(url, "canvas", MODELS.values())
    assert planned.changes == done.changes
    assert {"create table canvas_sync_digests_people", "create table canvas_sync_digests_pairs"} <= set(done.changes)
    assert not any("people" in change and "digests" not in change for change in done.changes)
    assert any("canvas.people belongs to another role" in what and "row_hash" in what for what, _ in done.notes)
    assert migrate(url, "canvas", MODELS.values()).changes == ()


def test_unchanged_records_are_skipped_and_whoever_changes_a_row_is_noticed(url: str, staged: list[int]) -> None:
    migrate(url, "canvas", MODELS.values())
    rows = [f"{number},n{number},1" for number in range(1, 9)]
    assert load(url, *rows) == (8, 0, 0)
    staged.clear()
    assert load(url, *rows, days=1) == (0, 0, 8)
    assert load(url, *reversed(rows), days=2) == (0, 0, 8)
    assert staged == []
    assert load(url, *rows[:7], "8,m8,1", "9,n9,", days=3) == (1, 1, 7)
    assert staged == [2]
    staged.clear()
    # The application changes content, a column of its own, and deletes; each row is compared once more.
    run(url, "update canvas.people set name = 'mine' where canvas_id = 1")
    run(url, "update canvas.people set mailed_at = now() where canvas_id in (2, 3)")
    run(url, "delete from canvas.people where canvas_id = 4")
    assert load(url, *rows, "9,n9,", days=4) == (1, 2, 6)
    assert staged == [5]
    staged.clear()
    assert load(url, *rows, "9,n9,", days=5) == (0, 0, 9)
    assert staged == []
    assert people(url) == [(number, f"n{number}") for number in range(1, 10)]
    assert load(url, *rows, "9,n9,", days=6, reload=True) == (0, 0, 9)
    assert staged == [9]


def test_what_rest_writes_is_compared_with_the_next_report(url: str, staged: list[int]) -> None:
    migrate(url, "canvas", MODELS.values())
    load(url, "1,a,1", "2,b,2")
    with connect(url) as connection:
        table = Warehouse(connection, "canvas", MODELS).table(USERS)
        source = Source("", T0 + timedelta(days=1), "api", complete=False)
        assert outcome(load_rows(table, [{"canvas_id": 1, "name": "z"}], source)) == (0, 1, 0)
    staged.clear()
    assert load(url, "1,a,1", "2,b,2", days=2) == (0, 1, 1)
    assert staged == [1]
    assert people(url) == [(1, "a"), (2, "b")]


def test_a_key_of_two_columns_and_a_trigger_that_changes_rows(url: str, database_url: str, staged: list[int]) -> None:
    migrate(url, "canvas", MODELS.values())
    run(
        database_url,
        "create function canvas.shout() returns trigger language plpgsql as $$ begin "
        "if new.role = 'loud' then new.role = 'LOUD'; end if; return new; end $$; "
        "create trigger shout before insert or update on canvas.pairs for each row execute function canvas.shout()",
    )
    rows = ["2,b,x", "1,a,loud", "1,b,y"]
    assert load(url, *rows, model=PAIRS) == (3, 0, 0)
    staged.clear()
    load(url, *rows, model=PAIRS, days=1)
    assert staged == [1]


def test_digests_of_rows_that_are_gone_are_removed(url: str) -> None:
    migrate(url, "canvas", MODELS.values())
    load(url, "1,a,1", "2,b,2")
    run(url, "delete from canvas.people where canvas_id = 1")
    with connect(url) as connection:
        removed = drop_old_rows(Warehouse(connection, "canvas", MODELS))
        assert removed["canvas_sync_digests_people"] == 1
        assert connection.execute(f"select canvas_id from {DIGESTS}").fetchall() == [(2,)]
