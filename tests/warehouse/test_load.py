"""The loader against a model in plain Python: any records, in any order, block by block."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canvas_sync_dagster.catalogue.built_in.courses import enrollments
from canvas_sync_dagster.catalogue.built_in.people import users
from canvas_sync_dagster.catalogue.model import Column, ColumnType, Model, ReportFeed
from canvas_sync_dagster.errors import HeaderContractError, RejectThresholdError, ReportContentError, SchemaError
from canvas_sync_dagster.warehouse.connection import Connection, connect, transaction
from canvas_sync_dagster.warehouse.loading import merge
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, RejectLimits, Source, load_csv, load_rows
from canvas_sync_dagster.warehouse.reading.records import read_blocks
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.warehouse import Warehouse

THINGS = Model(
    "things",
    (
        Column("canvas_id", ColumnType.BIGINT, ("id",), "id"),
        Column("name", ColumnType.TEXT, ("name",), "name"),
        Column("score", ColumnType.NUMERIC, ("score",), "score"),
        Column("at", ColumnType.TIMESTAMP, ("at",), "at"),
        Column("good", ColumnType.BOOLEAN, ("good",), "good"),
    ),
    ReportFeed("things_csv"),
)
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    migrate(database_url, "canvas", [THINGS, users, enrollments])
    with connect(database_url) as opened:
        yield opened


def written(rows: list[list[str]], header: str = "id,name,score,at,good") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return f"{header}\n{text.getvalue()}".encode()


def load(
    connection: Connection, content: bytes, *, at: datetime = T0, model: Model = THINGS, **options: Any
) -> LoadCounts:
    mark = options.pop("watermark", None)
    source = Source("", at, "things_csv", 1, watermark=mark)
    return load_csv(Warehouse(connection, "canvas").table(model), lambda: io.BytesIO(content), source, **options)


def table(
    connection: Connection, columns: str = "canvas_id, name, score, at, good", name: str = "things"
) -> list[tuple[Any, ...]]:
    return connection.execute(f"select {columns} from canvas.{name} order by 1").fetchall()


names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), max_size=12)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda d: d.replace(microsecond=0, tzinfo=UTC))
records = st.tuples(
    st.integers(1, 30),
    names,
    st.none() | st.decimals(-1000, 1000, places=2, allow_nan=False),
    st.none() | moments,
    st.none() | st.booleans(),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    reports=st.lists(st.lists(records, max_size=25), min_size=1, max_size=4),
    batch=st.sampled_from([None, 1, 3, 7]),
    ordered=st.booleans(),
    many=st.sampled_from([1, merge.MANY]),
)
def test_a_table_is_what_the_last_record_of_each_key_said(
    connection: Connection, reports: list[list[tuple[Any, ...]]], batch: int | None, ordered: bool, many: int
) -> None:
    with mock.patch.object(merge, "MANY", many):
        compared_with_a_dictionary(connection, reports, batch, ordered)


def compared_with_a_dictionary(
    connection: Connection, reports: list[list[tuple[Any, ...]]], batch: int | None, ordered: bool
) -> None:
    connection.execute("truncate canvas.things")
    model: dict[int, tuple[Any, ...]] = {}
    for day, drawn in enumerate(reports):
        report = sorted(drawn, key=lambda record: record[0]) if ordered else drawn
        content = written(
            [["" if v is None else v.isoformat() if isinstance(v, datetime) else str(v) for v in r] for r in report]
        )
        before = dict(model)
        last = {record[0]: (record[0], record[1] or None, *record[2:]) for record in report}
        model |= last
        counts = load(connection, content, at=T0 + timedelta(days=day), batch_rows=batch)
        assert table(connection) == sorted(model.values())
        assert counts.inserted == len(last.keys() - before.keys())
        assert counts.updated == sum(before[key] != last[key] for key in last.keys() & before.keys())
        assert counts.duplicates == len(report) - len(last)
        assert counts.rows_in_report == len(report)
        again = load(connection, content, at=T0 + timedelta(days=day), batch_rows=batch)
        assert (again.inserted, again.updated, again.unchanged) == (0, 0, len(last))
        connection.commit()


@given(
    st.lists(st.lists(names | st.just('a "quoted"\nname, with all'), min_size=2, max_size=4), min_size=1, max_size=20),
    st.integers(1, 64),
)
def test_blocks_hold_the_records_that_the_csv_module_finds(rows: list[list[str]], size: int) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    found = [
        r for block in read_blocks(io.BytesIO(text.getvalue().encode()), first_line=1, size=size) for r in block.records
    ]
    assert [next(csv.reader([record.decode()])) for record in found] == rows


def test_an_unchanged_reload_writes_no_wal_for_the_table(connection: Connection) -> None:
    content = written([[str(i), f"n{i}", "1", "", "true"] for i in range(1, 5000)])
    load(connection, content)
    connection.commit()
    before = connection.execute("select pg_current_wal_insert_lsn()").fetchone()
    counts = load(connection, content, at=T0 + timedelta(days=1))
    connection.commit()
    row = connection.execute("select pg_current_wal_insert_lsn() - %s", before).fetchone()
    assert counts.unchanged == 4999
    assert row is not None
    assert row[0] < 50_000  # A temporary table's catalogue rows; the data are 500 kB.
    assert connection.execute("select max(updated_at) = min(updated_at) from canvas.things").fetchone() == (True,)


@pytest.mark.every_postgres
@pytest.mark.parametrize("listing", [True, False])
def test_what_comes_behind_blocks_that_are_known_may_speak_of_their_keys_again(
    connection: Connection, listing: bool
) -> None:
    rows = [[str(key), f"row {key}", "", "", ""] for key in range(1, 9)]
    load(connection, written(rows))
    more = [["9", "new", "", "", ""], ["2", "once more", "", "", ""], ["2", "in the end", "", "", ""]]
    day = T0 + timedelta(days=1)
    counts = load(connection, written(rows + more), at=day, batch_rows=2, lists=listing)
    assert (counts.rows_in_report, counts.inserted, counts.updated, counts.unchanged, counts.duplicates) == (
        11,
        1,
        1,
        7,
        2,
    )
    assert dict(table(connection, "canvas_id, name")) == {
        **{key: f"row {key}" for key in range(1, 9)},
        2: "in the end",
        9: "new",
    }
    assert (counts.listed is None) == (not listing)
    assert counts.listed is None or sorted(counts.listed.frame().get_column("canvas_id").unique()) == list(range(1, 10))


def test_blocks_that_are_known_list_their_keys(connection: Connection) -> None:
    rows = [[str(key), f"row {key}", "", "", ""] for key in range(1, 9)]
    load(connection, written(rows))
    connection.execute("update canvas.things set missing_since = now() where canvas_id = 3")
    connection.execute("delete from canvas.things where canvas_id = 6")
    connection.commit()
    counts = load(connection, written(rows), at=T0 + timedelta(days=1), batch_rows=2, lists=True)
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 0, 7)
    assert counts.listed is not None
    assert sorted(counts.listed.frame().get_column("canvas_id")) == list(range(1, 9))
    assert table(connection, "count(*) filter (where missing_since is null)") == [(8,)]


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_file_that_leaves_the_order_late_is_loaded_once(connection: Connection, is_empty: bool) -> None:
    if not is_empty:
        load(connection, written([["1", "old", "", "", ""], ["50", "kept", "", "", ""]]))
    rows = [[str(key), f"row {key}", "much" if key == 2 else "", "", ""] for key in range(1, 9)]
    counts = load(
        connection, written([*rows, ["3", "last", "", "", ""]]), at=T0 + timedelta(days=1), batch_rows=2, lists=True
    )
    assert (counts.rows_in_report, counts.rejected, counts.duplicates) == (9, 1, 1)
    assert (counts.inserted, counts.updated) == ((7, 0) if is_empty else (6, 1))
    assert counts.listed is not None
    assert sorted(counts.listed.frame().get_column("canvas_id")) == list(range(1, 9))
    expected = {key: f"row {key}" for key in range(1, 9) if key != 2} | {3: "last"} | ({} if is_empty else {50: "kept"})
    assert dict(table(connection, "canvas_id, name")) == expected
    rejects = connection.execute("select line from canvas.canvas_sync_rejected_rows").fetchall()
    assert rejects == [(3,)]


def test_content_decides_over_digests(connection: Connection) -> None:
    content = written([["1", "a", "1.50", "2026-01-01T00:00:00-07:00", "true"], ["2", "b", "", "", ""]])
    load(connection, content)
    connection.commit()
    connection.execute("update canvas.things set row_hash = null")
    connection.commit()
    first = table(connection, "canvas_id, updated_at")
    counts = load(connection, content, at=T0 + timedelta(days=1))
    connection.commit()
    assert (counts.updated, counts.unchanged) == (0, 2)
    assert table(connection, "canvas_id, updated_at") == first
    assert all(row[1] is not None for row in table(connection, "canvas_id, row_hash"))


def test_a_row_that_was_observed_later_is_superseded(connection: Connection) -> None:
    load(connection, written([["1", "a", "", "", ""]]), at=T0)
    load_rows(
        Warehouse(connection, "canvas").table(THINGS),
        [{"canvas_id": 1, "name": "by api"}],
        Source("", T0 + timedelta(hours=2), "api"),
    )
    counts = load(connection, written([["1", "b", "", "", ""]]), at=T0 + timedelta(hours=1))
    assert counts.superseded == 1
    assert table(connection, "canvas_id, name") == [(1, "by api")]
    counts = load(connection, written([["1", "b", "", "", ""]]), at=T0 + timedelta(hours=3))
    assert counts.updated == 1


def test_a_large_merge_counts_each_row_once(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "MANY", 1)
    connection.execute("set enable_hashjoin = off")
    load(connection, written([[str(key), "old", "", "", ""] for key in range(1, 6)]), at=T0)
    later: list[dict[str, object]] = [{"canvas_id": 1, "name": "by api"}, {"canvas_id": 2, "name": "new"}]
    load_rows(Warehouse(connection, "canvas").table(THINGS), later, Source("", T0 + timedelta(hours=1), "api"))
    connection.execute("update canvas.things set row_hash = null where canvas_id = 5")
    connection.commit()
    content = written([[str(key), "new", "", "", ""] for key in (1, 2, 3, 4, 6, 7)] + [["5", "old", "", "", ""]])
    counts = load(connection, content, at=T0 + timedelta(minutes=30))
    assert (counts.inserted, counts.updated, counts.unchanged, counts.superseded) == (2, 2, 2, 1)
    expected = [(1, "by api"), (2, "new"), (3, "new"), (4, "new"), (5, "old"), (6, "new"), (7, "new")]
    assert table(connection, "canvas_id, name") == expected
    assert connection.execute("show enable_hashjoin").fetchone() == ("off",)


def test_a_report_older_than_the_watermark_changes_nothing(connection: Connection) -> None:
    load(connection, written([["1", "a", "", "", ""]]), at=T0)
    counts = load(
        connection, written([["1", "b", "", "", ""], ["2", "c", "", "", ""]]), at=T0, watermark=T0 + timedelta(hours=1)
    )
    assert (counts.superseded, counts.inserted) == (2, 0)
    assert table(connection, "canvas_id, name") == [(1, "a")]


def test_absent_keys_of_an_api_read_keep_their_values(connection: Connection) -> None:
    rows: list[dict[str, object]] = [{"canvas_id": 1, "name": "a", "score": 2}, {"canvas_id": 2, "name": "b"}]
    load_rows(Warehouse(connection, "canvas").table(THINGS), rows, Source("", T0, "api"))
    later = [{"canvas_id": 1, "name": "c"}, {"canvas_id": 1, "name": "d"}]
    counts = load_rows(Warehouse(connection, "canvas").table(THINGS), later, Source("", T0 + timedelta(1), "api"))
    assert (counts.updated, counts.duplicates) == (1, 1)
    assert table(connection, "canvas_id, name, score") == [(1, "d", 2), (2, "b", None)]


def test_an_api_value_that_does_not_fit_fails_the_whole(connection: Connection) -> None:
    with pytest.raises(ReportContentError, match="canvas_id"):
        load_rows(Warehouse(connection, "canvas").table(THINGS), [{"canvas_id": "x"}], Source("", T0, "api"))


def test_the_login_with_a_sis_id_speaks_for_its_user(connection: Connection) -> None:
    header = "canvas_user_id,user_id,login_id,status"
    rows = [
        ["1", "", "a", "active"],
        ["1", "S1", "b", "active"],
        ["1", "S2", "c", "active"],
        ["2", "", "d", "active"],
        ["2", "", "e", "active"],
    ]
    for arrangement in (rows, rows[::-1][3:] + rows[:3], [rows[0], rows[3], rows[1], rows[4], rows[2]]):
        counts = load(
            connection, written(arrangement, header), model=users, prefer="user_id", at=T0 + timedelta(days=1)
        )
        assert counts.duplicates == len(arrangement) - len({row[0] for row in arrangement})
    assert table(connection, "canvas_id, login_id", "users") == [(1, "b"), (2, "e")]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "99999999999999999999"), ("id", "1.5"), ("id", ""), ("id", "x"),
        ("score", "much"), ("score", "NaN"), ("score", "1e9999"), ("score", "1" * 2000), ("score", "--1"),
        ("at", "2026-02-30"), ("at", "yesterday"), ("at", "2026-01-01T25:00:00Z"), ("at", "2026-01-01T10:61:00Z"),
        ("at", "-9999-01-01"), ("at", "2026-01-01T10:00:00+25:00"), ("at", "512026-01-01"), ("at", "2026-13-01T00:00:00Z"),
        ("good", "maybe"),
    ],
)  # fmt: skip
def test_a_value_that_its_column_does_not_take_rejects_its_row_alone(
    connection: Connection, column: str, value: str
) -> None:
    good = {"id": "7", "name": "n", "score": "1", "at": "2026-01-01", "good": "true"}
    counts = load(
        connection,
        written(
            [
                list({**good, "id": "1"}.values()),
                list({**good, column: value}.values()),
                list({**good, "id": "9"}.values()),
            ]
        ),
    )
    assert (counts.inserted, counts.rejected) == (2, 1)
    row = connection.execute("select line, column_name, reason from canvas.canvas_sync_rejected_rows").fetchone()
    assert row is not None
    assert row[:2] == (3, {"id": "canvas_id"}.get(column, column))


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "2025-12-31T17:00:00-07:00",
        "2026-01-01 00:00:00 UTC",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00",
    ],
)
def test_a_moment_is_understood_in_every_spelling(connection: Connection, value: str) -> None:
    load(connection, written([["1", "n", " 1 ", value, "T"], ["2.0", "n", "1", "", "0"]]))
    assert table(connection, "canvas_id, at, good") == [(1, T0, True), (2, None, False)]


def test_rejected_records_are_rejected_again_by_each_reload(connection: Connection) -> None:
    content = written(
        [["1", "a", "x", "", ""], ["1", "b", "2", "", ""], ["2", "c", "y", "", ""], ["3", "d", "3", "", ""]]
    )
    for times in (1, 2, 3):
        counts = load(connection, content)
        assert counts.rejected == 2
        query = "select count(*), min(sightings) from canvas.canvas_sync_rejected_rows"
        assert connection.execute(query).fetchone() == (2, times)
    assert counts.unchanged == 2
    assert table(connection, "canvas_id, name") == [(1, "b"), (3, "d")]


def test_a_row_that_becomes_unreadable_stays_as_it_was(connection: Connection) -> None:
    load(connection, written([["1", "a", "1", "", ""]]))
    load(connection, written([["1", "b", "x", "", ""]]), at=T0 + timedelta(days=1))
    assert table(connection, "canvas_id, name") == [(1, "a")]


def test_a_report_with_too_many_unreadable_rows_is_refused(connection: Connection) -> None:
    content = written([[str(i), "a", "x" if i % 10 == 0 else "1", "", ""] for i in range(1, 2000)])
    with pytest.raises(RejectThresholdError, match="line 11"):
        load(connection, content)
    connection.rollback()
    assert load(connection, content, limits=RejectLimits(fraction=0.5)).rejected == 199


@pytest.mark.parametrize(
    ("bad", "good", "complete", "refused"),
    [(1, 0, True, False), (2, 0, True, True), (2, 2, True, False), (9, 0, False, False), (10, 9, False, True)],
)
def test_a_small_report_is_refused_if_more_than_half_of_it_is_unreadable(
    connection: Connection, bad: int, good: int, *, complete: bool, refused: bool
) -> None:
    rows = [[str(i), "a", "x" if i < bad else "1", "", ""] for i in range(bad + good)]
    # The repeated records of one key are one row of the table.
    repeated = [rows[-1]] * (30 if good else 0)
    content = written([*rows, *repeated])
    source = Source("", T0, "things_csv", complete=complete)

    def loaded() -> LoadCounts:
        return load_csv(Warehouse(connection, "canvas").table(THINGS), lambda: io.BytesIO(content), source)

    if refused:
        with pytest.raises(RejectThresholdError, match=f"{bad} of {len(rows) + len(repeated)} rows"):
            loaded()
    else:
        assert loaded().rejected == bad


def test_a_broken_quote_costs_its_own_record(connection: Connection) -> None:
    content = b'id,name,score,at,good\n1,"open,1,,\n2,b,1,,\n3,c,1,,\n'
    counts = load(connection, content)
    assert (counts.inserted, counts.rejected) == (2, 1)


def test_headers_are_found_by_name(connection: Connection) -> None:
    assert load(connection, b"\xef\xbb\xbf" + written([["1", "a"]], "ID,Name")).header.missing == (
        "score",
        "at",
        "good",
    )  # type: ignore[union-attr]
    assert load(connection, b"name;id\nb;2\n").inserted == 1
    with pytest.raises(HeaderContractError, match="canvas_id"):
        load(connection, written([["1", "a"]], "nummer,name"))
    with pytest.raises(ReportContentError, match="empty"):
        load(connection, b"")
    assert load(connection, b"id,name\n").rows_in_report == 0


def test_an_existing_table_is_used_as_it_is(connection: Connection) -> None:
    connection.execute("drop table canvas.things")
    connection.execute(
        "create table canvas.things (id serial primary key, extra text default 'mine', good boolean, name varchar(50), "
        "score float8, at timestamp, canvas_id integer not null unique)"
    )
    content = written([["1", "a", "1.5", "2026-01-01T00:00:00Z", "true"], ["2", "b", "", "", ""]])
    load(connection, content)
    counts = load(connection, content)
    assert (counts.unchanged, counts.updated) == (2, 0)
    load(connection, written([["2", "c", "", "", ""]]))
    assert table(connection, "canvas_id, name, score, extra") == [(1, "a", 1.5, "mine"), (2, "c", None, "mine")]


def test_a_column_of_json_which_knows_no_equality_is_compared_all_the_same(connection: Connection) -> None:
    model = THINGS.with_columns(Column("rights", ColumnType.JSON, ("rights",), "rights"))
    connection.execute("alter table canvas.things add column rights json")
    content = written([["1", '{"b": 1, "a": [2]}'], ["2", ""]], "id,rights")
    load(connection, content, model=model)
    connection.execute("update canvas.things set row_hash = null")
    connection.commit()
    counts = load(connection, content, model=model)
    assert (counts.unchanged, counts.updated) == (2, 0)
    source = Source("", T0, "things_csv", 1)
    rows = [{"canvas_id": 1, "rights": {"a": [2], "b": 1}}, {"canvas_id": 2, "rights": {"a": 3}}]
    counts = load_rows(Warehouse(connection, "canvas").table(model), rows, source)
    assert (counts.unchanged, counts.updated) == (1, 1)
    assert table(connection, "canvas_id, rights") == [(1, {"a": [2], "b": 1}), (2, {"a": 3})]


def test_a_value_that_an_existing_column_has_no_room_for_rejects_its_row_alone(connection: Connection) -> None:
    connection.execute("alter table canvas.things alter canvas_id type integer, alter name type varchar(3)")
    content = written([["1", "abc"], ["2", "abcd"], ["10000000000012", "x"], ["4", "äöü"]], "id,name")
    counts = load(connection, content)
    assert (counts.inserted, counts.rejected) == (2, 2)
    assert table(connection, "canvas_id, name") == [(1, "abc"), (4, "äöü")]
    reasons = connection.execute("select line, column_name, reason from canvas.canvas_sync_rejected_rows order by line")
    assert reasons.fetchall() == [
        (3, "name", "'abcd' does not fit: the column is character varying(3); alter it to text"),
        (4, "canvas_id", "'10000000000012' does not fit: the column is integer; alter it to bigint"),
    ]
    with pytest.raises(ReportContentError, match=r"canvas_id: the value does not fit.*bigint"):
        load_rows(
            Warehouse(connection, "canvas").table(THINGS), [{"canvas_id": 10000000000012}], Source("", T0, "things")
        )


def test_a_text_too_long_for_an_index_of_the_users_is_no_passing_trouble(
    connection: Connection, database_url: str
) -> None:
    connection.execute("create index on canvas.things (name)")
    connection.commit()
    long = "".join(map(str, range(30_000)))
    with (
        pytest.raises(SchemaError, match=r"loading things.*index row.*one of your indexes"),
        transaction(database_url, "loading things") as own,
    ):
        load(own, written([["1", long]], "id,name"))


def test_a_table_without_a_unique_key_is_refused(connection: Connection) -> None:
    connection.execute("alter table canvas.things drop constraint things_pkey")
    with pytest.raises(SchemaError, match=r"unique index on canvas_id.*canvas-sync migrate"):
        load(connection, written([["1", "a", "", "", ""]]))


def test_loads_at_once_do_not_deadlock_and_end_right(connection: Connection, database_url: str) -> None:
    ids = list(range(1, 3000))
    contents = [written([[str(i), f"from {n}", "", "", ""] for i in (ids if n % 2 else ids[::-1])]) for n in range(4)]
    errors: list[BaseException] = []

    def one(content: bytes, n: int) -> None:
        try:
            with connect(database_url) as own:
                load(own, content, at=T0 + timedelta(minutes=n))
        except BaseException as error:
            errors.append(error)

    for _ in range(3):
        threads = [threading.Thread(target=one, args=(content, n)) for n, content in enumerate(contents)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert {row[1] for row in table(connection, "canvas_id, name")} == {"from 3"}


def test_a_reader_never_sees_part_of_a_load(connection: Connection, database_url: str) -> None:
    load(connection, written([[str(i), "a", "", "", ""] for i in range(1, 2000)]))
    connection.commit()
    with psycopg.connect(database_url, autocommit=True) as reader:
        load(connection, written([[str(i), "b", "", "", ""] for i in range(1, 4000)]), at=T0 + timedelta(days=1))
        query = "select count(*), count(*) filter (where name = 'a') from canvas.things"
        assert reader.execute(query).fetchone() == (1999, 1999)
        connection.commit()
        assert reader.execute(query).fetchone() == (3999, 0)
