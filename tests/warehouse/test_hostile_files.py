"""Files that nobody meant to write: every line of them is loaded, rejected with its reason, or the file is refused."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas_sync_dagster.catalogue.model import Column, ColumnType, Model, ReportFeed
from canvas_sync_dagster.errors import HeaderContractError, ReportContentError
from canvas_sync_dagster.warehouse.connection import Connection, connect
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, RejectLimits, Source, load_csv, load_rows
from canvas_sync_dagster.warehouse.loading.merge import copy_frame
from canvas_sync_dagster.warehouse.reading import records as records_module
from canvas_sync_dagster.warehouse.reading.documents import document, is_document
from canvas_sync_dagster.warehouse.reading.frames import ROW, Layout, frame_of, parse, valid
from canvas_sync_dagster.warehouse.reading.records import read_blocks, read_header
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.warehouse import Warehouse

NOTES = Model(
    "notes",
    (
        Column("id", ColumnType.BIGINT, ("id",), "id"),
        Column("name", ColumnType.TEXT, ("name",), "name"),
        Column("note", ColumnType.TEXT, ("note",), "note", keeps_empty_text=True),
        Column("document", ColumnType.JSON, ("document",), "document"),
        Column("ids", ColumnType.BIGINT_ARRAY, ("ids",), "ids"),
    ),
    ReportFeed("notes_csv"),
    key=("id",),
)
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    migrate(database_url, "canvas", [NOTES])
    with connect(database_url) as opened:
        yield opened


def load(connection: Connection, content: bytes, days: int = 0, batch: int | None = None) -> LoadCounts:
    source = Source("", T0 + timedelta(days=days), "notes_csv", 1)
    limits = RejectLimits(fraction=1)
    return load_csv(
        Warehouse(connection, "canvas").table(NOTES),
        lambda: io.BytesIO(content),
        source,
        limits=limits,
        batch_rows=batch,
    )


def rejects(connection: Connection) -> list[tuple[int, str]]:
    rows = connection.execute("select line, reason from canvas.canvas_sync_rejected_rows order by id").fetchall()
    return [(int(line), str(reason)) for line, reason in rows]


def texts(connection: Connection, columns: str = "id, name") -> list[tuple[object, ...]]:
    return connection.execute(f"select {columns} from canvas.notes order by id").fetchall()


def thousand(change: Callable[[int], bytes | None]) -> bytes:
    return b"id,name\n" + b"".join(change(i) or b"%d,n%d\n" % (i, i) for i in range(1, 1001))


def test_two_stray_quotes_far_apart_cost_two_lines(connection: Connection) -> None:
    counts = load(connection, thousand(lambda i: b'%d,"n\n' % i if i in {100, 900} else None))
    assert (counts.rows_in_report, counts.inserted, counts.rejected) == (1000, 998, 2)
    assert [line for line, _ in rejects(connection)] == [101, 901]


@pytest.mark.parametrize("size", [16, 300, 1 << 20])
def test_a_record_of_several_lines_behind_a_stray_quote_is_whole(size: int) -> None:
    content = thousand({100: b'100,"n\n', 900: b'900,"two\nlines"\n'}.get)
    file = io.BytesIO(content)
    read_header(file, where="")
    found = [
        (line, record)
        for block in read_blocks(file, first_line=2, width=2, size=size)
        for line, record in zip(block.lines, block.records, strict=True)
    ]
    assert len(found) == 1000
    assert found[99] == (101, b'100,"n')
    assert found[899:901] == [(901, b'900,"two\nlines"'), (903, b"901,n901")]


def test_a_quote_that_stays_open_to_the_end_costs_its_line(connection: Connection) -> None:
    counts = load(connection, b'id,name\n1,a\n2,"open\n3,b\n4,c')
    assert (counts.inserted, counts.rejected) == (3, 1)
    assert rejects(connection)[0][0] == 3


def test_a_quote_inside_a_bare_value_is_a_character(connection: Connection) -> None:
    load(connection, b"id,name\n1,5'10\" tall\n2,b\n3,6'1\" tall\n")
    assert texts(connection) == [(1, "5'10\" tall"), (2, "b"), (3, "6'1\" tall")]


def test_an_open_record_is_given_up_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "LARGEST_RECORD", 100)
    content = b'1,"open\n' + b"".join(b"%d,n\n" % i for i in range(2, 200))
    found = [r for block in read_blocks(io.BytesIO(content), first_line=1, size=64) for r in block.records]
    assert len(found) == 199


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "LARGEST_RECORD", 100)
    blocks = read_blocks(io.BytesIO(b"1,a\n2," + b"x" * 10_000), first_line=2, size=16, where="notes_csv 7")
    with pytest.raises(ReportContentError, match=r"notes_csv 7: line 3 does not end"):
        list(blocks)
    with pytest.raises(ReportContentError, match="not a CSV"):
        read_header(io.BytesIO(b"x" * 10_000), where="notes_csv 7")


def test_bare_carriage_returns_are_not_taken_for_an_empty_report(connection: Connection) -> None:
    with pytest.raises(ReportContentError, match="carriage returns"):
        load(connection, b"id,name\r1,a\r2,b\r")


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"id,name\n1,a\n", mtime=0), "id,name\n1,a\n".encode("utf-16"), b"\0" * 5000],
    ids=["gzip", "UTF-16", "NUL"],
)
def test_what_is_not_a_text_is_not_taken_for_a_renamed_header(connection: Connection, content: bytes) -> None:
    with pytest.raises(ReportContentError, match="not a text"):
        load(connection, content)


def test_a_wrong_header_without_measure_is_told_in_measure(connection: Connection) -> None:
    with pytest.raises(HeaderContractError) as caught:
        load(connection, b"x" * 5000 + b"," * 5000 + b"\n")
    assert len(str(caught.value)) < 1500


def test_a_carriage_return_between_bare_values_rejects_its_line(connection: Connection) -> None:
    counts = load(connection, b"id,name\n1,a\r2,b\n3,c\n")
    assert (counts.inserted, counts.rejected) == (1, 1)


def test_windows_line_ends_change_neither_rows_nor_digests(connection: Connection) -> None:
    unix = b'id,name,note\n1,a,"x\r\ny"\n\n2,b,\n'
    windows = b'id,name,note\r\n1,a,"x\r\ny"\r\n\r\n2,b,\r\n'
    assert load(connection, unix).inserted == 2
    assert load(connection, windows, days=1).unchanged == 2
    assert texts(connection, "id, name, note") == [(1, "a", "x\r\ny"), (2, "b", None)]


def test_null_bytes_foreign_bytes_and_wrong_widths_are_rejected_by_line(connection: Connection) -> None:
    counts = load(connection, b"id,name\n1,a\0b\n2,\xff\n3,ok\n4,a,b\n5\n\n6,ok")
    assert (counts.inserted, counts.rejected, counts.rows_in_report) == (2, 4, 6)
    assert [line for line, _ in rejects(connection)] == [2, 3, 5, 6]
    raw = connection.execute("select raw from canvas.canvas_sync_rejected_rows order by id").fetchall()
    assert raw[:2] == [("1,a\\x00b",), ("2,\\xff",)]


def test_what_copy_takes_for_its_own_signs_is_text(connection: Connection) -> None:
    load(connection, b'id,name\n1,"\n\\.\n"\n2,\\.\n3,\\N\n4,"a\rb"\n')
    assert texts(connection) == [(1, "\n\\.\n"), (2, "\\."), (3, "\\N"), (4, "a\rb")]


def test_keys_at_the_ends_of_the_range_are_compared_without_overflow(connection: Connection) -> None:
    keys = [2**63 - 1, -(2**63), 2**63 - 1]
    counts = load(connection, b"id,name\n" + b"".join(b"%d,n\n" % key for key in keys), batch=1)
    assert (counts.inserted, counts.duplicates) == (2, 1)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(['"', "\n", ",", "a", "\r", "\r\n", "é", '""', '",', ',"']), max_size=60).map("".join))
def test_no_line_of_any_text_is_lost(text: str) -> None:
    content = text.encode()
    lines = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    for size in (1, 7, 1 << 20):
        found = [
            (n, r)
            for b in read_blocks(io.BytesIO(content), first_line=1, width=2, size=size)
            for n, r in zip(b.lines, b.records, strict=True)
        ]
        covered = {n + k for n, record in found for k in range(record.count(b"\n") + 1)}
        assert covered == {n for n, line in enumerate(lines, 1) if line} | {
            n + k for n, r in found for k in range(r.count(b"\n") + 1)
        }


values = st.lists(st.sampled_from(["", "a", '"', ",", "\n", "é", " ", "'"]), max_size=5).map("".join)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(values, values, values), min_size=1, max_size=8),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_the_slow_road_reads_what_the_fast_one_reads(rows: list[tuple[str, str, str]], quoting: Literal[0, 1]) -> None:
    columns = [Column(n, ColumnType.TEXT, keeps_empty_text=True) for n in ("a", "b", "c")]
    layout = Layout(3, ",", tuple((column, at) for at, column in enumerate(columns)))
    written = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n", quoting=quoting).writerow(row)
        written.append(text.getvalue().removesuffix("\n").encode())
    fast, none = parse(pl.Series(written), layout)
    slow, one = parse(pl.Series([*written, b"1"]), layout)
    assert (len(none), len(one)) == (0, 1)
    assert fast.equals(slow)


KINDS = {
    ColumnType.BIGINT: ["0", "-", "+", "9", "223372036854775808", " ", ".", ".0", "e5", "_", "٣", "1"],
    ColumnType.NUMERIC: ["1", "-", "+", ".", "e", "E", "99", "0", " ", "NaN", "inf", "_", "e-999", "e999", "٣"],
    ColumnType.BOOLEAN: ["t", "true", "T", "yes", "no", "on", "0", "1", " ", "f", "FALSE", "n"],
    ColumnType.TIMESTAMP: [
        "2026-02-28", "2026-02-29", "0000-01-01", "9999-12-31", "0001-01-01", "20205-02-28", "-0044-03-15", "294276-12-31", "-4713-01-01", "T", " ", "00:00", "23:59:60", "24:00:00", ":59",
        ".123456789", "Z", " UTC", "+15:59", "-16", "+0530", "-07:00", "+14:60", "1", "-",
    ],
    ColumnType.JSON: ["{", "}", "[", "]", '"a"', ":", ",", "1", "1e400", "NaN", "null", "\\u0000", '"\\ud800"', '"\\u0041"', "-0", " "],
    ColumnType.BIGINT_ARRAY: ["{", "}", ",", "1", "-", "9" * 18, "٣", "NULL", " "],
}  # fmt: skip


@pytest.mark.every_postgres
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_postgresql_takes_whatever_was_found_valid(connection: Connection, kind: ColumnType) -> None:
    chance = random.Random(7)
    made = {"".join(chance.choices(KINDS[kind], k=chance.randint(1, 5))) for _ in range(20_000)}
    column = Column("value", kind)
    frame = pl.DataFrame({ROW: pl.Series(range(len(made)), dtype=pl.UInt32), "value": sorted(made)})
    accepted, refused = valid(frame, [column])
    assert 0 < accepted.height < len(made)
    assert refused
    connection.execute(f"create temporary table taken (value {kind.value})")
    from psycopg import sql

    assert copy_frame(connection, sql.SQL("taken"), accepted.select("value").drop_nulls()) > 0


def test_documents_that_only_python_reads_are_rejected_by_row(connection: Connection) -> None:
    bad = [
        "NaN",
        "Infinity",
        '"\\ud800"',
        '{"a":"\\u0000"}',
        '{"a":1e999999}',
        "[" * 100_000,
        "[" * 900 + "]" * 900,
        "{",
    ]
    good = ['{"a":"\\\\u0000"}', '"\\ud83d\\ude00"', "[1.5e10]", "[" * 400 + "]" * 400]
    assert [is_document(text) for text in [*bad, *good]] == [False] * len(bad) + [True] * len(good)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([[n, document] for n, document in enumerate([*bad, *good])])
    counts = load(connection, b"id,document\n" + text.getvalue().encode())
    assert (counts.inserted, counts.rejected) == (len(good), len(bad))


def test_rest_values_of_every_kind_arrive(connection: Connection) -> None:
    row: dict[str, object] = {
        "id": "7",
        "name": "a\0\ud800b\rc",
        "document": {"x": "\0y", "z": [None, "é"]},
        "ids": [1, 2],
    }
    load_rows(
        Warehouse(connection, "canvas").table(NOTES),
        [row, {"id": 8, "document": "text", "ids": []}],
        Source("", T0, "/notes"),
    )
    assert texts(connection, "id, name, document, ids") == [
        (7, "a?b\rc", {"x": "y", "z": [None, "é"]}, [1, 2]),
        (8, None, "text", []),
    ]
    assert document("\0\\u0000") == '"\\\\u0000"'
    assert frame_of([{"id": True}], [NOTES["name"]]).height == 1


def test_rest_rows_of_one_key_are_laid_over_each_other(connection: Connection) -> None:
    rows: list[dict[str, object]] = [{"id": 1, "name": "a", "note": "kept"}, {"id": "1", "name": "b"}]
    counts = load_rows(Warehouse(connection, "canvas").table(NOTES), rows, Source("", T0, "/notes"))
    assert (counts.inserted, counts.duplicates) == (1, 1)
    assert texts(connection, "id, name, note") == [(1, "b", "kept")]


@pytest.mark.parametrize("row", [{"name": "a"}, {"id": None}, {"id": ""}])
def test_a_rest_row_without_its_key_fails_the_whole(connection: Connection, row: dict[str, object]) -> None:
    with pytest.raises(ReportContentError, match="the key is empty"):
        load_rows(Warehouse(connection, "canvas").table(NOTES), [row], Source("", T0, "/notes"))
