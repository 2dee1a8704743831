"""Deferred events that would take longer to read than the next report takes wait for it, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.commands.status import _left_to_reports
from canvas_sync_dagster.live_events import drain as draining
from canvas_sync_dagster.live_events import read_backlog
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.waiting import Coming, coming_syncs, new_waits
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.state.inbox import backlog, depth
from canvas_sync_dagster.warehouse.state.report_waits import ReportWait, has_ended, read_active_waits, write_wait
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.live_events.test_deferred import read_paths, section
from tests.live_events.test_drain import put
from tests.truth import actual, sync_structure

NOW = datetime(2026, 12, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SOON = {"submissions": Coming(NOW + HOUR, NOW + 4 * HOUR), "courses": Coming(NOW + HOUR, NOW + 4 * HOUR)}
SYNCED = {"submissions": NOW - 2 * HOUR, "courses": NOW - 2 * HOUR}


@pytest.mark.parametrize(
    ("objects", "coming", "synced", "earlier", "expected"),
    [
        # At ten per second 36,000 objects take an hour.
        ({"submissions": 36_000}, SOON, SYNCED, None, []),
        ({"submissions": 36_001}, SOON, SYNCED, None, ["submissions"]),
        # The largest backlog waits first, and what is left can be read in time.
        ({"submissions": 50_000, "courses": 20_000}, SOON, SYNCED, None, ["submissions"]),
        ({"submissions": 50_000, "courses": 40_000}, SOON, SYNCED, None, ["submissions", "courses"]),
        # A small backlog is read even if the sync begins in this minute.
        ({"courses": 2_999}, {"courses": Coming(NOW, NOW + HOUR)}, SYNCED, None, []),
        # No schedule, no sync yet, or a schedule that does not run.
        ({"submissions": 90_000}, {}, SYNCED, None, []),
        ({"submissions": 90_000}, SOON, {}, None, []),
        ({"submissions": 90_000}, SOON, {"submissions": NOW - 9.1 * HOUR}, None, []),
        # The last wait was in vain, or it ended with a sync.
        ({"submissions": 90_000}, SOON, SYNCED, NOW - HOUR, []),
        ({"submissions": 90_000}, SOON, SYNCED, NOW - 3 * HOUR, ["submissions"]),
    ],
)
def test_which_models_wait(
    objects: dict[str, int],
    coming: dict[str, Coming],
    synced: dict[str, datetime],
    earlier: datetime | None,
    expected: list[str],
) -> None:
    before = {name: ReportWait(name, earlier, earlier, earlier) for name in objects} if earlier else {}
    waits = new_waits(objects, 10.0, coming, synced, before, NOW)
    assert [wait.model for wait in waits] == expected
    assert {(wait.since, wait.at, wait.until) for wait in waits} <= {(NOW, NOW + HOUR, NOW + 4 * HOUR)}


def test_the_next_sync_of_a_model_is_that_of_any_genre_and_only_where_a_report_feeds_it() -> None:
    tenant = TenantSettings.model_validate(
        {
            "schedule": "0 3 * * *",
            "feeds": {"scores": "rest"},
            "genres": {"grades": {"schedule": "0 */2 * * *", "models": ["submissions", "scores"]}},
        }
    )
    found = coming_syncs(tenant, BUILT_IN, NOW + timedelta(minutes=1))
    assert found["submissions"] == Coming(NOW + 2 * HOUR, NOW + 4 * HOUR)
    assert found["courses"] == Coming(NOW + 15 * HOUR, NOW + 39 * HOUR)
    assert not {"scores", "terms", "learning_outcomes"} & set(found)


def test_a_wait_ends_when_all_affected_terms_were_synced() -> None:
    wait = ReportWait("submissions", NOW, NOW + HOUR, NOW + HOUR, ("1", "2"))
    assert not has_ended(wait, {"1": NOW + HOUR, "2": NOW - HOUR, "3": NOW + HOUR})
    assert not has_ended(wait, {"1": NOW + HOUR})
    assert has_ended(wait, {"1": NOW + HOUR, "2": NOW + HOUR})
    assert has_ended(replace(wait, terms=()), {"7": NOW + HOUR})


def test_events_of_a_slow_canvas_wait_for_the_report_and_are_settled_by_it_without_a_request(
    canvas: SimulatedCanvas, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "READS_PER_TURN", 2)
    monkeypatch.setattr(read_backlog, "MEASURED_SECONDS", 0.001)
    monkeypatch.setattr(read_backlog, "LOOK_SECONDS", 0.0)
    real: Callable[..., None] = read_backlog.ReadBacklog.measured
    # A Canvas that needs an hour for each object.
    monkeypatch.setattr(
        read_backlog.ReadBacklog, "measured", lambda self, objects, _: real(self, objects, 3600.0 * objects)
    )

    def looked(session: Session) -> tuple[int, dict[str, int], list[tuple[str, int]]]:
        with connect(session.database_url) as connection:
            warehouse = Warehouse(connection, session.schema)
            left = [(each["model"], each["events"]) for each in _left_to_reports(warehouse)]
            return backlog(warehouse).due, dict(depth(warehouse).counts), left

    canvas.university.now = datetime.now(UTC) - 3 * HOUR
    sync_structure(session)
    canvas.university.set("courses", pl.lit(value=True), name="Renamed")
    courses = [
        event("course_updated", {"course_id": global_id(id_)}, canvas.now + timedelta(minutes=1))
        for id_ in canvas.university.courses.filter(pl.col("term_id") == 118).get_column("id").to_list()[:6]
    ]
    canvas.advance(minutes=1)
    put(session, courses, canvas)
    before = len(canvas.requests)
    assert drain(session).events == {"applied": 2}
    assert len(read_paths(canvas, before)) == 2
    assert looked(session) == (0, {"deferred": 4}, [("courses", 4)])
    # Others do not wait, and neither a further drain nor an event of a waiting model changes that.
    put(session, [section(canvas, 0.1, name="Renamed")], canvas)
    assert drain(session).events == {"applied": 1}
    assert actual(session.database_url, "sections")[4006]["name"] == "Renamed"
    assert (drain(session).events, looked(session)[2]) == ({}, [("courses", 4)])
    with connect(session.database_url) as connection:
        (wait,) = read_active_waits(Warehouse(connection, session.schema)).values()
        assert (wait.terms, wait.is_requested) == (("118",), False)
        # The sync never came: the objects are read, and do not wait again.
        write_wait(Warehouse(connection, session.schema), replace(wait, until=datetime.now(UTC)))
        connection.commit()
    assert looked(session) == (4, {"deferred": 4}, [])
    with connect(session.database_url) as connection:
        write_wait(Warehouse(connection, session.schema), wait)
        connection.commit()
    canvas.university.now = datetime.now(UTC) + timedelta(seconds=30)
    sync_structure(session)
    assert looked(session) == (4, {"deferred": 4}, [])
    before = len(canvas.requests)
    assert drain(session).events == {"applied": 4}
    assert (read_paths(canvas, before), looked(session)) == ([], (0, {}, []))
