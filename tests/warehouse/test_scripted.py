"""Rows of a report go through the user's functions: changed, left out, or rejected for what the function raised."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.errors import RejectThresholdError
from canvas_sync_dagster.warehouse.connection import Connection, connect
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, RejectLimits, Source, load_csv
from canvas_sync_dagster.warehouse.loading.row_by_row import GROUP, load_row_by_row
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.warehouse import Warehouse

USERS = next(model for model in BUILT_IN if model.name == "users")
T0 = datetime(2026, 1, 1, tzinfo=UTC)
CSV = b'canvas_user_id,full_name,login_id,tags\n1,ann,a,"x|y"\n2,bob,test,\n3,cy,c,z\n4,dee,d,boom\n'


def load(url: str, model: Model, content: bytes = CSV, days: int = 0, limits: RejectLimits | None = None) -> LoadCounts:
    with connect(url) as connection:
        return load_csv(
            Warehouse(connection, "canvas").table(model),
            lambda: io.BytesIO(content),
            Source("", T0 + timedelta(days=days), "r"),
            limits=limits,
        )


def test_transforms_and_alterations(database_url: str) -> None:
    def split(value: str, record: Mapping[str, str]) -> object:
        if value == "boom":
            raise ValueError("no such tag")
        return f"{record['login_id']}:{'/'.join(value.split('|'))}"

    def alter(row: dict[str, Any]) -> dict[str, Any] | None:
        row["name"] = row["name"].upper()
        return None if row["login_id"] == "test" else row

    mapping = MappingOverride("users").link_column("tags", transform=split)
    mapping.alter_rows(alter)
    model = mapping.applied(USERS)
    migrate(database_url, "canvas", [model])
    counts = load(database_url, model)
    assert (counts.rows_in_report, counts.inserted, counts.skipped, counts.rejected) == (4, 2, 1, 1)
    with connect(database_url) as connection:
        assert connection.execute("select canvas_id, name, tags from canvas.users order by 1").fetchall() == [
            (1, "ANN", "a:x/y"),
            (3, "CY", "c:z"),
        ]
        row = connection.execute("select line, reason from canvas.canvas_sync_rejected_rows").fetchone()
    assert row is not None
    assert row[0] == 5
    assert "no such tag" in row[1]
    assert load(database_url, model, days=1).unchanged == 2


def test_a_transform_gets_text_and_returns_what_its_column_takes(database_url: str) -> None:
    mapping = (
        MappingOverride("users")
        .link_column("tags", transform=lambda value, _: value.split("|"))
        .link_column("Login ID", "first_login", type="json", transform=lambda value, _: {"was": value})
        .link_column("full_name", "numbers", type="bigint[]", transform=lambda value, _: [len(value), 7])
    )
    model = mapping.applied(USERS)
    migrate(database_url, "canvas", [model])
    assert load(database_url, model).inserted == 4
    with connect(database_url) as connection:
        query = "select tags, first_login, numbers from canvas.users order by canvas_id limit 2"
        assert connection.execute(query).fetchall() == [
            ('["x", "y"]', {"was": "a"}, [3, 7]),
            ('[""]', {"was": "test"}, [3, 7]),
        ]


def test_a_rewritten_function_is_applied_to_rows_that_did_not_change(database_url: str) -> None:
    first = MappingOverride("users").link_column("full_name", "name", transform=lambda value, _: value).applied(USERS)
    then = (
        MappingOverride("users").link_column("full_name", "name", transform=lambda value, _: f"{value}!").applied(USERS)
    )
    migrate(database_url, "canvas", [USERS])
    assert load(database_url, first).inserted == 4
    assert load(database_url, then, days=1).updated == 4


def test_a_transform_makes_the_type_of_its_column_from_any_text_under_any_spelling(database_url: str) -> None:
    mapping = MappingOverride("users").link_column(
        "login_ids", type="bigint[]", transform=lambda value, _: [int(each[1:]) for each in (value or "").split("|")]
    )
    mapping.link_column("since", type="datetime", transform=lambda value, _: None if value == "never" else value)
    model = mapping.applied(USERS)
    migrate(database_url, "canvas", [model])
    content = b"Canvas User ID,Login IDs,since\n1,u5|u6,never\n2,u7,2026-01-02\n3,u8,rubbish\n"
    assert (load(database_url, model, content).inserted, load(database_url, model, content, days=1).rejected) == (2, 1)
    with connect(database_url) as connection:
        rows = connection.execute("select canvas_id, login_ids, since from canvas.users order by 1").fetchall()
    assert rows == [(1, [5, 6], None), (2, [7], datetime(2026, 1, 2, tzinfo=UTC))]


def test_a_function_that_changes_the_key_is_told_so(database_url: str) -> None:
    mapping = MappingOverride("users")
    mapping.alter_rows(lambda row: row | {"canvas_id": row["canvas_id"] + 1000})
    migrate(database_url, "canvas", [USERS])
    with pytest.raises(RejectThresholdError, match="4 of 4 rows are unreadable"):
        load(database_url, mapping.applied(USERS))
    assert load(database_url, mapping.applied(USERS), limits=RejectLimits(1.0)).rejected == 4
    with connect(database_url) as connection:
        row = connection.execute("select reason from canvas.canvas_sync_rejected_rows").fetchone()
    assert row is not None
    assert "it changed the key (canvas_id)" in row[0]


def test_a_transform_of_the_value_alone_is_called_once_per_distinct_value(database_url: str) -> None:
    called: list[str] = []

    def tags(value: str) -> object:
        called.append(value)
        if value == "x|y":
            raise ValueError("no such tag")
        return [value]

    mapping = MappingOverride("users").link_column("tags", transform=tags)
    mapping.link_column("login_id", "login_id", transform=str.upper)
    model = mapping.applied(USERS)
    migrate(database_url, "canvas", [model])
    content = CSV + b"5,eve,e,z\n6,flo,f,\n"
    counts = load(database_url, model, content)
    assert (counts.inserted, counts.rejected) == (5, 1)
    assert sorted(called) == ["", "boom", "x|y", "z"]
    with connect(database_url) as connection:
        found = connection.execute("select canvas_id, login_id, tags from canvas.users order by 1").fetchall()
    assert found == [(2, "TEST", '[""]'), (3, "C", '["z"]'), (4, "D", '["boom"]'), (5, "E", '["z"]'), (6, "F", '[""]')]


def test_rows_do_not_share_a_result_that_an_alteration_changes_in_place(database_url: str) -> None:
    def alter(row: dict[str, Any]) -> dict[str, Any]:
        row["tags"].append(row["canvas_id"])
        return row

    mapping = MappingOverride("users").link_column("tags", transform=lambda value: [value])
    mapping.alter_rows(alter)
    model = mapping.applied(USERS)
    migrate(database_url, "canvas", [model])
    load(database_url, model, b"canvas_user_id,full_name,login_id,tags\n1,ann,a,t\n2,bob,b,t\n")
    with connect(database_url) as connection:
        assert connection.execute("select tags from canvas.users order by canvas_id").fetchall() == [
            ('["t", 1]',),
            ('["t", 2]',),
        ]


def test_a_result_that_no_column_takes_rejects_its_row_alone(database_url: str) -> None:
    mapping = MappingOverride("users").link_column("tags", transform=lambda value: {value: object()} if value else None)
    model = mapping.applied(USERS)
    migrate(database_url, "canvas", [model])
    counts = load(database_url, model, b"canvas_user_id,full_name,login_id,tags\n1,ann,a,t\n2,bob,b,\n")
    assert (counts.inserted, counts.rejected) == (1, 1)


def test_the_record_that_a_transform_gets_is_a_mapping_of_every_header(database_url: str) -> None:
    seen: list[dict[str, str]] = []
    mapping = MappingOverride("users").link_column("tags", transform=lambda value, record: seen.append({**record}))
    model = mapping.applied(USERS)
    migrate(database_url, "canvas", [model])
    assert load(database_url, model).inserted == 4
    assert seen[1] == {"canvas_user_id": "2", "full_name": "bob", "login_id": "test", "tags": ""}


def test_rows_of_a_group_in_which_one_fails_are_undone_and_repeated_one_by_one(database_url: str) -> None:
    migrate(database_url, "canvas", [USERS])
    calls: list[int] = []

    def process(row: dict[str, str], connection: Connection) -> None:
        number = int(row.pop("canvas_user_id"))
        calls.append(number)
        connection.execute("insert into canvas.seen values (%s)", [number])
        if number == GROUP + 5:
            connection.execute("select 1 / 0")

    rows = 3 * GROUP
    content = b"canvas_user_id,full_name\n" + b"".join(b"%d,x\n" % number for number in range(1, rows + 1))
    with connect(database_url) as connection:
        connection.execute("create table canvas.seen (number bigint)")
        table = Warehouse(connection, "canvas").table(USERS)
        counts = load_row_by_row(table, lambda: io.BytesIO(content), Source("", T0, "r"), process)
    assert (counts.updated, counts.rejected) == (rows - 1, 1)
    with connect(database_url) as connection:
        written = connection.execute("select count(*), count(distinct number) from canvas.seen").fetchone()
        lines = connection.execute("select line from canvas.canvas_sync_rejected_rows").fetchall()
    assert (written, lines) == ((rows - 1, rows - 1), [(GROUP + 6,)])
    assert len(calls) == rows + 5, "only the rows before the failure, and it, were repeated"
