"""Tables with row-level security, triggers, generated and identity columns, constraints: true counts or one clear error."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from canvas_sync_dagster.catalogue.model import Column, ColumnType, Model, ReportFeed
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.connection import Connection, connect, transaction
from canvas_sync_dagster.warehouse.loading import merge
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, RejectLimits, Source, load_csv, load_rows
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.warehouse import Warehouse

THINGS = Model(
    "things",
    (
        Column("canvas_id", ColumnType.BIGINT, report=("id",), api="id"),
        Column("name", ColumnType.TEXT, report=("name",), api="name"),
        Column("score", ColumnType.NUMERIC, report=("score",), api="score"),
    ),
    ReportFeed("things_csv"),
)
T0 = datetime(2026, 1, 1, tzinfo=UTC)
SETS_UPDATED_AT = """
create function canvas.touch() returns trigger language plpgsql as
$$ begin new.updated_at = clock_timestamp() + interval '1 hour'; return new; end $$;
create trigger touch before update on canvas.things for each row execute function canvas.touch();
"""
UPPERCASE = """
create function canvas.upper_name() returns trigger language plpgsql as
$$ begin new.name = upper(new.name); return new; end $$;
create trigger upper_name before insert or update on canvas.things for each row execute function canvas.upper_name();
"""
DROPS_ROWS = """
create function canvas.veto() returns trigger language plpgsql as
$$ begin if new.name = 'unwanted' then return null; end if; return new; end $$;
create trigger veto before insert on canvas.things for each row execute function canvas.veto();
"""
TO_THE_LOADER = """
create role loader_of_{0} login;
grant usage on schema canvas to loader_of_{0};
grant select, insert, update, delete on all tables in schema canvas to loader_of_{0};
"""


@pytest.fixture
def url(database_url: str) -> str:
    migrate(database_url, "canvas", [THINGS])
    return database_url


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with connect(url) as opened:
        yield opened


def report(*rows: str) -> bytes:
    return "\n".join(["id,name,score", *rows, ""]).encode()


def load(connection: Connection, content: bytes, *, days: int = 0) -> LoadCounts:
    source, limits = Source("", T0 + timedelta(days=days), "things_csv", 1), RejectLimits(1.0)
    return load_csv(Warehouse(connection, "canvas").table(THINGS), lambda: io.BytesIO(content), source, limits=limits)


def outcome(counts: LoadCounts) -> tuple[int, int, int]:
    return counts.inserted, counts.updated, counts.unchanged


def rows(connection: psycopg.Connection[Any], columns: str = "canvas_id, name") -> list[tuple[Any, ...]]:
    return connection.execute(f"select {columns} from canvas.things order by canvas_id").fetchall()


@pytest.fixture
def restricted(url: str) -> Iterator[str]:
    """The address for a role that row-level security applies to."""
    name = str(conninfo_to_dict(url)["dbname"])
    with psycopg.connect(url) as owner:
        owner.execute(TO_THE_LOADER.format(name))
        for table in ("things", "canvas_sync_rejected_rows"):
            owner.execute(f"alter table canvas.{table} enable row level security")
            owner.execute(f"alter table canvas.{table} force row level security")
            owner.execute(f"create policy all_of_it on canvas.{table} using (true)")
    yield re.sub("//[^@/]*@", f"//loader_of_{name}@", url, count=1)
    with psycopg.connect(url) as owner:
        owner.execute(f"drop owned by loader_of_{name}; drop role loader_of_{name}")


@pytest.mark.every_postgres
def test_a_table_with_row_level_security_loads_and_its_rejects_too(restricted: str) -> None:
    with connect(restricted) as connection:
        counts = load(connection, report("1,a,1", "2,b,x", "3,c,2"))
        assert (outcome(counts), counts.rejected) == ((2, 0, 0), 1)
        assert outcome(load(connection, report("1,a,1", "3,d,2", "4,e,"), days=1)) == (1, 1, 1)
        assert rows(connection) == [(1, "a"), (3, "d"), (4, "e")]
        found = connection.execute("select line, column_name, raw from canvas.canvas_sync_rejected_rows").fetchall()
        assert found == [(3, "score", "2,b,x")]


def test_a_policy_that_refuses_rows_is_one_error_that_names_the_table(url: str, restricted: str) -> None:
    with psycopg.connect(url) as owner:
        owner.execute("alter policy all_of_it on canvas.things using (canvas_id < 3)")
    with (
        pytest.raises(SchemaError, match=r"row-level security policy.*things"),
        transaction(restricted, "loading things") as connection,
    ):
        load(connection, report("1,a,1", "3,c,2"))
    with psycopg.connect(url) as owner:
        assert rows(owner) == []


@pytest.mark.parametrize("many", [1, merge.MANY])
def test_a_trigger_on_updated_at_leaves_the_counts_true(
    connection: Connection, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "MANY", many)
    connection.execute(SETS_UPDATED_AT)
    nine = [f"{number},n,1" for number in range(1, 10)]
    assert outcome(load(connection, report(*nine))) == (9, 0, 0)
    connection.execute("update canvas.things set row_hash = null where canvas_id = 9")
    connection.commit()
    changed = [each.replace("n", "m") for each in nine[:5]] + nine[5:]
    assert outcome(load(connection, report(*changed, "10,new,"), days=1)) == (1, 5, 4)
    connection.commit()
    assert outcome(load(connection, report(*changed, "10,new,"), days=2)) == (0, 0, 10)
    source = Source("", T0 + timedelta(days=3), "api", complete=False)
    read = load_rows(
        Warehouse(connection, "canvas").table(THINGS),
        [{"canvas_id": 1, "name": "m"}, {"canvas_id": 2, "name": "x"}],
        source,
    )
    assert outcome(read) == (0, 1, 1)


def test_a_table_without_updated_at_counts_content_not_digests(connection: Connection) -> None:
    connection.execute("alter table canvas.things drop updated_at")
    load(connection, report("1,a,1", "2,b,2"))
    connection.execute("update canvas.things set row_hash = null")
    connection.commit()
    assert outcome(load(connection, report("1,a,1", "2,c,2"), days=1)) == (0, 1, 1)


def test_a_trigger_that_changes_content_is_applied_and_not_counted_again(connection: Connection) -> None:
    connection.execute(UPPERCASE)
    assert outcome(load(connection, report("1,a,1", "2,b,2"))) == (2, 0, 0)
    connection.commit()
    assert outcome(load(connection, report("1,a,1", "2,b,2"), days=1)) == (0, 0, 2)
    assert rows(connection) == [(1, "A"), (2, "B")]


def test_a_trigger_that_drops_rows_is_one_error_that_names_table_and_trigger(connection: Connection) -> None:
    connection.execute(DROPS_ROWS)
    with pytest.raises(SchemaError, match=r"canvas\.things: 1 of 2 rows .*veto.*Nothing was published"):
        load(connection, report("1,a,1", "2,unwanted,2"))


@pytest.mark.every_postgres
@pytest.mark.parametrize("kind", ["always", "by default"])
def test_a_key_that_is_an_identity_column_gets_canvas_ids(connection: Connection, kind: str) -> None:
    connection.execute(f"alter table canvas.things alter canvas_id add generated {kind} as identity")
    assert outcome(load(connection, report("7,a,1"))) == (1, 0, 0)
    assert outcome(load(connection, report("7,b,1", "9,c,1"), days=1)) == (1, 1, 0)
    assert rows(connection) == [(7, "b"), (9, "c")]


def test_identity_and_generated_columns_of_the_users_are_left_alone(connection: Connection) -> None:
    connection.execute("alter table canvas.things add number bigint generated always as identity")
    connection.execute("alter table canvas.things add shout text generated always as (upper(name)) stored")
    assert outcome(load(connection, report("7,a,1"))) == (1, 0, 0)
    assert outcome(load(connection, report("7,b,1", "8,c,"), days=1)) == (1, 1, 0)
    assert rows(connection, "canvas_id, number, shout") == [(7, 1, "B"), (8, 3, "C")]


@pytest.mark.parametrize(
    "column", ["name text generated always as ('x') stored", "score bigint generated always as identity"]
)
def test_a_generated_column_that_the_report_fills_is_one_error_that_names_it(
    connection: Connection, column: str
) -> None:
    name = column.split(maxsplit=1)[0]
    connection.execute(f"alter table canvas.things drop {name}, add {column}")
    with pytest.raises(SchemaError, match=rf"canvas\.things\.{name} is generated by PostgreSQL.*Unlink"):
        load(connection, report("7,a,1"))


def test_an_empty_value_under_a_column_that_is_not_null_rejects_its_row_alone(connection: Connection) -> None:
    connection.execute("alter table canvas.things alter name set not null")
    counts = load(connection, report("1,a,1", "2,,2", "3,c,3"))
    assert (outcome(counts), counts.rejected) == ((2, 0, 0), 1)
    found = connection.execute("select line, column_name, reason from canvas.canvas_sync_rejected_rows").fetchall()
    assert [row[:2] for row in found] == [(3, "name")]
    assert "NOT NULL" in found[0][2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("alter table canvas.things add owner text not null", r"owner.*things"),
        ("alter table canvas.things add constraint low check (score < 10)", r"things.*low"),
        ("alter table canvas.things add constraint one_name unique (name)", r"one_name"),
        (
            "create table canvas.names (name text primary key); "
            "alter table canvas.things add constraint known_name foreign key (name) references canvas.names",
            r"things.*known_name",
        ),
        (
            "create table canvas.names (name text primary key); alter table canvas.things add constraint known_name "
            "foreign key (name) references canvas.names deferrable initially deferred",
            r"things.*known_name",
        ),
    ],
    ids=["not null", "check", "unique", "foreign key", "deferred"],
)
@pytest.mark.parametrize("has_rows", [False, True])
def test_a_constraint_that_rows_violate_is_one_error_that_names_table_and_constraint(
    url: str, change: str, named: str, has_rows: bool
) -> None:
    with psycopg.connect(url) as owner:
        if has_rows:
            owner.execute("insert into canvas.things (canvas_id) values (1)")
        owner.execute(
            change.replace("not null", "not null default 'me'")
            + ("; alter table canvas.things alter owner drop default" if "owner" in change else "")
        )
    with (
        pytest.raises(SchemaError, match=rf"loading things.*{named}.*Nothing was published"),
        transaction(url, "loading things") as connection,
    ):
        load(connection, report("1,same,1", "2,same,99"))
    with psycopg.connect(url) as owner:
        assert len(rows(owner)) == has_rows


def test_foreign_keys_and_checks_that_hold_change_nothing(connection: Connection) -> None:
    connection.execute(
        "create table canvas.names (name text primary key); insert into canvas.names values ('a'), ('b'); "
        "alter table canvas.things add constraint known_name foreign key (name) references canvas.names, "
        "add check (score < 10); create table canvas.children (thing bigint references canvas.things)"
    )
    assert outcome(load(connection, report("1,a,1", "2,b,2"))) == (2, 0, 0)
    connection.execute("insert into canvas.children values (1)")
    assert outcome(load(connection, report("1,b,1", "2,b,2"), days=1)) == (0, 1, 1)
