"""Rejected rows are tried again after a fix: as they stood in the file, as old as they are, and no twice."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest

from canvas_sync_dagster.catalogue.built_in.courses import courses, sections
from canvas_sync_dagster.catalogue.model import Model
from canvas_sync_dagster.sync.rejects import Replay, replay_rejects
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, RejectLimits, Source, enrich_csv, load_csv
from canvas_sync_dagster.warehouse.state.housekeeping import drop_old_rows
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Warehouse

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SPANISH = courses.with_columns(
    replace(courses["start_at"], transform=lambda value, row: None if value == "sin fecha" else value)
)
HEADER = "canvas_course_id,long_name,start_date\n"


def load(url: str, content: str | bytes, *, days: int = 0, model: Model = courses, full: bool = False) -> LoadCounts:
    data = content if isinstance(content, bytes) else content.encode()
    source = Source("118", T0 + timedelta(days=days), "provisioning_csv", 1, complete=full)
    with connect(url) as connection:
        counts = load_csv(
            Warehouse(connection, "canvas").table(model), lambda: io.BytesIO(data), source, limits=RejectLimits(1.0)
        )
        Watermarks(Warehouse(connection, "canvas")).advance(
            "courses", "118", observed_at=source.observed_at, complete=full, report_id=source.report_id
        )
    return counts


def names(url: str) -> dict[int, str]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("select canvas_id, name from canvas.courses").fetchall())


def rejected(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select line, raw from canvas.canvas_sync_rejected_rows order by id").fetchall()


def test_a_mended_mapping_loads_them_and_a_second_replay_finds_nothing(database_url: str) -> None:
    load(database_url, HEADER + '1,"a\nb",sin fecha\n2,ok,\n3,c,sin fecha\n')
    assert names(database_url) == {2: "ok"}
    assert replay_rejects(database_url, "canvas", SPANISH) == Replay(2, 2, 0)
    assert names(database_url) == {1: "a\nb", 2: "ok", 3: "c"}
    assert replay_rejects(database_url, "canvas", SPANISH) == Replay()


def test_rows_of_an_enriching_table_are_replayed_into_the_table_that_they_enrich(database_url: str) -> None:
    source = Source("118", T0, "provisioning_csv", 1, complete=False)
    (xlist,) = sections.feed.enrichments  # type: ignore[union-attr]
    with connect(database_url) as connection:
        for load_rows, content in (
            (load_csv, "canvas_section_id,name\n1,one\n2,two\n"),
            (partial(enrich_csv, enrichment=xlist), "canvas_section_id,canvas_nonxlist_course_id\n1,seven\n2,8\n"),
        ):
            opener = partial(io.BytesIO, content.encode())
            load_rows(Warehouse(connection, "canvas").table(sections), open_file=opener, source=source)  # type: ignore[operator]
        connection.execute("update canvas.canvas_sync_rejected_rows set raw = '1,7'")
    assert replay_rejects(database_url, "canvas", sections) == Replay(1, 1, 0)
    with psycopg.connect(database_url) as connection:
        query = "select canvas_id, canvas_nonxlist_course_id from canvas.sections order by 1"
        assert connection.execute(query).fetchall() == [(1, 7), (2, 8)]


def test_what_is_rejected_again_keeps_the_line_where_it_stood(database_url: str) -> None:
    load(database_url, HEADER + '1,"a\nb",2026-01-01\n2,b,nonsense\n3,c,sin fecha\n4,"open,nonsense\n5,e,nonsense\n')
    before = rejected(database_url)
    assert [line for line, _ in before] == [4, 5, 6, 7]
    assert replay_rejects(database_url, "canvas", SPANISH) == Replay(4, 1, 3)
    assert sorted(rejected(database_url)) == sorted(row for row in before if row[0] != 5)


def test_a_record_that_each_full_report_rejects_is_one_row_with_its_sightings(database_url: str) -> None:
    rows = "1,a,nonsense\n1,a,nonsense\n2,b,2026-01-01\n"
    sightings = "select line, sightings, source_observed_at, last_seen_at > created_at from {} order by id".format(
        "canvas.canvas_sync_rejected_rows"
    )
    for days in range(3):
        load(database_url, HEADER + rows, days=days, full=True)
    load(database_url, HEADER + "3,c,sin fecha\n9,z,\n" + rows, days=3, full=True)
    last = T0 + timedelta(days=3)
    expected = [(4, 4, last, True), (5, 4, last, True), (2, 1, last, False)]
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert connection.execute(sightings).fetchall() == expected
        # What a replay rejects again was not seen once more; what it loads leaves.
        assert replay_rejects(database_url, "canvas", SPANISH) == Replay(3, 1, 2)
        assert sorted(connection.execute(sightings).fetchall()) == expected[:2]
        # A record that is still seen stays, however long ago the first sighting was.
        connection.execute(
            "update canvas.canvas_sync_rejected_rows set created_at = now() - interval '200 days', last_seen_at = now() - "
            "case line when 4 then interval '91 days' else interval '89 days' end"
        )
        assert drop_old_rows(Warehouse(connection, "canvas"))["canvas_sync_rejected_rows"] == 1
        assert [line for line, *_ in connection.execute(sightings)] == [5]


def test_semicolons_are_understood_again(database_url: str) -> None:
    load(database_url, "canvas_course_id;long_name;start_date\n1;a, b;sin fecha\n")
    assert replay_rejects(database_url, "canvas", SPANISH).loaded == 1
    assert names(database_url) == {1: "a, b"}


def test_a_long_row_is_kept_whole(database_url: str) -> None:
    header, long = "canvas_course_id,start_date,long_name\n", "x" * 300_000
    load(database_url, f"{header}1,sin fecha,{long}\n")
    replay_rejects(database_url, "canvas", SPANISH)
    assert names(database_url) == {1: long}


def test_what_text_cannot_hold_is_never_loaded_in_another_spelling(database_url: str) -> None:
    load(database_url, HEADER.encode() + b"1,caf\xe9,\n2,a\0b,\n3,ok,sin fecha\n")
    assert replay_rejects(database_url, "canvas", SPANISH) == Replay(1, 1, 0)
    assert names(database_url) == {3: "ok"}
    assert rejected(database_url) == [(2, "1,caf\\xe9,"), (3, "2,a\\x00b,")]


def test_the_oldest_comes_first_and_what_a_full_report_has_spoken_of_since_stays(database_url: str) -> None:
    load(database_url, HEADER + "1,first,sin fecha\n2,outdated,sin fecha\n")
    load(database_url, HEADER + "1,second,sin fecha\n", days=1)
    assert replay_rejects(database_url, "canvas", SPANISH).loaded == 3
    assert names(database_url)[1] == "second"
    load(database_url, HEADER + "2,now,\n", days=2)
    load(database_url, HEADER + "2,between,sin fecha\n", days=3)
    load(database_url, HEADER + "1,second,\n2,now,\n", days=4, full=True)
    assert replay_rejects(database_url, "canvas", SPANISH).loaded == 1
    assert names(database_url) == {1: "second", 2: "now"}


@pytest.mark.parametrize("_", range(3))
def test_replays_and_loads_at_once_lose_nothing(database_url: str, _: int) -> None:
    rows = "".join(f"{number},n{number},sin fecha\n" for number in range(1, 500))
    load(database_url, HEADER + rows)
    done: list[Replay] = []
    replays = [
        threading.Thread(target=lambda: done.append(replay_rejects(database_url, "canvas", SPANISH))) for _ in range(3)
    ]
    loads = [threading.Thread(target=load, args=(database_url, HEADER + rows.replace("sin fecha", "")))]
    for thread in [*replays, *loads]:
        thread.start()
    for thread in [*replays, *loads]:
        thread.join()
    assert sum(each.loaded for each in done) == 499
    assert names(database_url) == {number: f"n{number}" for number in range(1, 500)}
    assert rejected(database_url) == []
