"""Moments beyond the years 1 to 9999: PostgreSQL holds them, Python's datetime does not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from canvas_sync_dagster.catalogue import Column, ColumnType, Model, ReportFeed
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.warehouse.connection import Connection, connect
from canvas_sync_dagster.warehouse.loading.load import RejectLimits, Source, load_csv
from canvas_sync_dagster.warehouse.moments import FAR_FUTURE, FAR_PAST
from canvas_sync_dagster.warehouse.reading.frames import normal
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.fix_postgres import fresh

THINGS = Model(
    "things",
    (
        Column("canvas_id", ColumnType.BIGINT, report=("id",), api="id"),
        Column("at", ColumnType.TIMESTAMP, report=("at",), api="at"),
    ),
    ReportFeed("things_csv"),
)
T0 = datetime(2026, 1, 1, tzinfo=UTC)
TAKEN = {
    "9999-12-31T23:59:59-07:00": "10000-01-01 06:59:59+00",
    "20205-02-01T00:00:00Z": "20205-02-01 00:00:00+00",
    "20208-02-29 12:00 UTC": "20208-02-29 12:00:00+00",
    "294276-12-31T23:59:59Z": "294276-12-31 23:59:59+00",
    "294276-12-31": "294276-12-31 00:00:00+00",
    "0001-01-01T00:00:00+14:00": "0001-12-31 10:00:00+00 BC",
    "0000-02-29T00:00:00Z": "0001-02-29 00:00:00+00 BC",
    "-0044-03-15T12:00:00.5Z": "0045-03-15 12:00:00.5+00 BC",
    "-4712-01-01T00:00:00+14:00": "4714-12-31 10:00:00+00 BC",
}
REFUSED = (
    "294276-12-31T23:59:59-00:30",
    "294276-12-31T23:59:60Z",
    "294276-12-31T23:59:59.9999999Z",
    "294277-01-01T00:00:00Z",
    "999999-01-01T00:00:00Z",
    "-4713-12-31T00:00:00Z",
    "20205-02-30T00:00:00Z",
    "20207-02-29T00:00:00Z",
    "20205-13-01",
    "20205-01-01T24:00:00Z",
)


@pytest.fixture(scope="module")
def things(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    with fresh(postgres, "template1") as url:
        migrate(url, "canvas", [THINGS])
        with connect(url) as opened:
            yield opened


@pytest.mark.parametrize("text", REFUSED)
def test_what_postgres_cannot_hold_is_rejected_before_it_is_copied(text: str) -> None:
    assert pl.DataFrame({"at": [text]}).select(normal(THINGS["at"])).item() is None


def test_a_report_keeps_every_moment_that_postgres_holds(things: Connection) -> None:
    rows = [f"{number},{text}" for number, text in enumerate([*TAKEN, *REFUSED])]
    content = "\n".join(["id,at", *rows, ""]).encode()
    counts = load_csv(
        Warehouse(things, "canvas").table(THINGS),
        lambda: io.BytesIO(content),
        Source("", T0, "things_csv"),
        limits=RejectLimits(1.0),
    )
    assert (counts.inserted, counts.rejected) == (len(TAKEN), len(REFUSED))
    held = things.execute("select at::text from canvas.things order by canvas_id").fetchall()
    assert [text for (text,) in held] == list(TAKEN.values())


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
@pytest.mark.parametrize("binary", [False, True])
def test_what_python_cannot_hold_is_read_as_its_farthest_moment(things: Connection, kind: str, *, binary: bool) -> None:
    texts = ["20205-01-01", "0044-03-15 BC", "infinity", "-infinity", "2026-01-02"]
    with things.cursor(binary=binary) as cursor:
        rows = cursor.execute(f"select unnest(%s::text[])::{kind}", (texts,)).fetchall()  # type: ignore[arg-type]
    far, past = FAR_FUTURE.date(), FAR_PAST.date()
    dates = [value.date() if isinstance(value, datetime) else value for (value,) in rows]
    assert dates == [far, past, far, past, datetime(2026, 1, 2).date()]
    assert {getattr(value, "tzinfo", None) is not None for (value,) in rows} == {kind == "timestamptz"}


def test_the_farthest_moments_exist_in_every_zone() -> None:
    for moment in (FAR_FUTURE, FAR_PAST):
        for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
            assert moment.astimezone(ZoneInfo(zone)) == moment
