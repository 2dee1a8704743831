"""Gaps that are longer than an inbox's usual ones are reported by `status`, and covered by the next sync."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest
from click.testing import CliRunner

from canvas_sync_dagster.cli import main
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.event_gaps import EventGaps, Gap, with_events
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.session import Session
from tests.live_events.test_drain import put
from tests.truth import actual, assert_true, sync_everything

START = datetime(2026, 9, 1, tzinfo=UTC)


def days(number: int, pause: timedelta) -> EventGaps:
    """Return days with events every ten minutes, except for one gap each night."""
    moments = []
    for day in range(number):
        dawn = START + timedelta(days=day) + pause
        moments += [
            dawn + timedelta(minutes=10 * n) for n in range(int((timedelta(days=1) - pause) / timedelta(minutes=10)))
        ]
    return with_events(EventGaps(), moments)


def test_nights_are_usual_and_a_lost_day_is_not() -> None:
    gaps = days(7, pause=timedelta(hours=6))
    assert timedelta(hours=18) <= gaps.limit <= timedelta(hours=19)
    assert gaps.unusual == []
    assert gaps.latest is not None
    late = gaps.latest + timedelta(days=2)
    assert with_events(gaps, [late]).unusual == [Gap(gaps.latest, late)]


def test_a_busy_inbox_is_silent_after_an_hour_and_a_new_one_after_a_day() -> None:
    assert days(7, pause=timedelta(minutes=10)).limit == timedelta(hours=1)
    assert days(2, pause=timedelta(minutes=10)).limit == timedelta(days=1)


def test_neither_order_nor_repetition_of_moments_matters() -> None:
    moments = [START + timedelta(minutes=n) for n in (0, 5, 60, 61)]
    assert with_events(with_events(EventGaps(), moments), list(reversed(moments))) == with_events(EventGaps(), moments)


def test_status_reports_an_outage_that_the_next_sync_repairs(
    canvas: SimulatedCanvas, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_everything(session)
    canvas.take_events()
    put(session, canvas.save_again("courses", 1), canvas)
    with psycopg.connect(session.database_url) as connection:
        long_ago = canvas.now - timedelta(days=3)
        connection.execute("update canvas.canvas_sync_live_events set received_at = %s", (long_ago,))
    drain(session)
    # Three days without events, in which much changes.
    canvas.advance(days=3)
    canvas.university.set("courses", pl.col("id") == 2003, name="Renamed meanwhile")
    canvas.take_events()
    put(session, canvas.save_again("users", 1), canvas)
    with psycopg.connect(session.database_url) as connection:
        query = "update canvas.canvas_sync_live_events set received_at = %s where state = 'pending'"
        connection.execute(query, (canvas.now - timedelta(hours=1),))
    drain(session)
    assert reported_gaps(canvas, session, tmp_path, monkeypatch) == [False]
    sync_everything(session, SyncOptions(mode="incremental"))
    assert reported_gaps(canvas, session, tmp_path, monkeypatch) == [True]
    assert actual(session.database_url, "courses")[2003]["name"] == "Renamed meanwhile"
    sync_everything(session)
    assert_true(canvas, session.database_url)


def reported_gaps(canvas: SimulatedCanvas, session: Session, home: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    monkeypatch.setenv("CANVAS_SYNC_HOME", str(home))
    monkeypatch.setenv("CANVAS_SYNC_BASE_URL", canvas.base_url)
    monkeypatch.setenv("CANVAS_SYNC_TOKEN", canvas.token)
    monkeypatch.setenv("CANVAS_SYNC_DATABASE_URL", session.database_url)
    monkeypatch.chdir(home)
    result = CliRunner().invoke(main, ["status", "--json"])
    assert result.exit_code == 0, result.output
    return [gap["repaired"] for gap in json.loads(result.output)[0]["events"]["gaps"]]
