"""A wrong clock at Canvas, or ours, freezes nothing: observations in the future are neither made nor believed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.clocks import SLACK, believable, report_began
from canvas_sync_dagster.commands.checks.database import clocks
from canvas_sync_dagster.commands.checks.finding import Level
from canvas_sync_dagster.commands.progress import log_of, shown_progress
from canvas_sync_dagster.commands.status import _models
from canvas_sync_dagster.simulator import EPOCH, SimulatedCanvas
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.sync_status import read_status
from tests.fix_canvas import session_of

GROUPS = {group.name: group for group in report_groups(BUILT_IN)}
NOW = datetime(2026, 9, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_moment_in_our_future_is_replaced_by_ours() -> None:
    assert believable(NOW + SLACK, NOW) == NOW + SLACK
    assert believable(NOW + SLACK + timedelta(seconds=1), NOW) == NOW
    assert believable(NOW - 24 * HOUR, NOW) == NOW - 24 * HOUR


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        (NOW + 10 * HOUR, NOW - HOUR),  # Canvas's clock is ahead
        (datetime(1, 1, 1, tzinfo=UTC), NOW - HOUR),  # and behind
        (None, NOW - HOUR),
        (NOW - HOUR / 2, NOW - HOUR / 2),
    ],
)
def test_a_report_is_as_fresh_as_its_beginning_or_else_as_the_question(
    started: datetime | None, expected: datetime
) -> None:
    asked = NOW - HOUR
    assert report_began(started, asked=asked, asked_on_ours=asked, now=NOW) == expected


def test_where_our_clock_is_behind_a_report_is_ordered_by_ours_and_where_it_is_ahead_by_canvas() -> None:
    for ours_ahead in (-3 * HOUR, 3 * HOUR):
        asked, started, now = NOW, NOW + HOUR / 2, NOW + HOUR
        found = report_began(started, asked=asked, asked_on_ours=asked + ours_ahead, now=now + ours_ahead)
        assert found == (asked + ours_ahead if ours_ahead < timedelta() else started)


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "ahead", "", "x"])
def test_an_answer_dated_in_the_future_moves_no_clock(date: str) -> None:
    # Not among the parameters: processes that run tests side by side must find the same ones.
    date = format_datetime(datetime.now(UTC) + 2 * HOUR, usegmt=True) if date == "ahead" else date
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={}, headers={"Date": date}))
    with Canvas("https://school.test", "token", transport=transport) as canvas:
        canvas.get("/accounts/self")
        assert abs(canvas.now() - datetime.now(UTC)) < timedelta(seconds=5)
        assert (canvas.ahead is None) == (date in {"", "x"})
        assert canvas.ahead is None or canvas.ahead > HOUR / 2


def load(session: Session, mode: str = "full", *, reload: bool = False) -> SyncOutcome:
    options = SyncOptions(mode=mode, reload=reload)  # type: ignore[arg-type]
    sync_list(Flow.of(session, options), session.by_name["terms"])
    return sync_report(
        Flow.of(session, options, "118"), GROUPS["provisioning_term"], {"courses", "sections", "enrollments"}
    )


def asked(session: Session, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(session.database_url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def status_of(session: Session) -> list[dict[str, Any]]:
    """Return what `status --json` tells of each model."""
    found = read_status(CoveredTerms(session.tenant, session.database_url, session.models))
    with session.warehouse("reading") as warehouse:
        return _models(warehouse, session.models, found)


def set_clock(canvas: SimulatedCanvas, now: datetime) -> None:
    """Set the simulator's clock without living through the days between."""
    canvas.university.now, canvas.university.days = now, (now - EPOCH).days


@pytest.fixture
def named(session: Session, canvas: SimulatedCanvas) -> Callable[[str], bool]:
    """Renames a course in Canvas, syncs in full, and returns whether the table has the name."""

    def sync(name: str) -> bool:

        canvas.university.set("courses", pl.col("id") == 2003, name=name)
        load(session)
        return asked(session, "select name from canvas.courses where canvas_id = 2003") == [(name,)]

    return sync


@pytest.fixture
def database_url(migrated_url: str) -> str:
    return migrated_url


def test_a_canvas_whose_clock_is_ahead_for_a_while_freezes_nothing(
    canvas: SimulatedCanvas, session: Session, named: Callable[[str], bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    right = canvas.university.now
    set_clock(canvas, datetime.now(UTC) + timedelta(days=400))
    assert named("ahead")
    latest = "select max(observed_at) <= now() from canvas.{}"
    for table in ("courses", "terms", "canvas_sync_watermarks"):
        assert asked(session, latest.format(table)) == [(True,)]
    # Its clock is set right, and another process goes on.
    set_clock(canvas, max(right, datetime.now(UTC)))
    with session_of(canvas, session.database_url, tmp_path_factory.mktemp("home")) as another:
        outcome = load(another)
        assert named("right again")
    assert not any(each.counts.superseded for each in outcome.models)


def test_tables_that_were_frozen_before_thaw(session: Session, named: Callable[[str], bool]) -> None:
    assert named("before")
    with psycopg.connect(session.database_url) as connection:
        for table in ("courses", "sections", "terms"):
            connection.execute(f"update canvas.{table} set observed_at = '2999-01-01'".encode())
        connection.execute(
            "update canvas.canvas_sync_watermarks set observed_at = '2999-01-01', full_observed_at = '2999-01-01'"
        )
    found = read_status(CoveredTerms(session.tenant, session.database_url, session.models))
    coming = {each.coming.reason for each in found if each.model == "courses" and each.scope == "118" and each.coming}
    assert coming == {"the time of the last sync lay in the future, because a clock was wrong"}
    told = status_of(session)
    assert {"courses", "sections", "terms"} == {each["model"] for each in told if each["observed_in_future"]}
    assert any(scope["as_of_in_future"] for each in told for scope in each["scopes"])
    assert load(session, "auto").decision.mode == "full"
    assert named("after")
    assert asked(session, "select count(*) from canvas.canvas_sync_watermarks where observed_at > now()") == [(0,)]
    # Rows that are right were not written; a reload gives them a right time, too.
    assert any(each["observed_in_future"] for each in status_of(session))
    load(session, reload=True)
    assert not any(each["observed_in_future"] for each in status_of(session))


def test_a_sync_prints_how_many_rows_were_superseded(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(log_of("logfmt", stderr=False), "canvas") as progress:
        progress.table_done("courses", "118", {"rows_in_report": 3, "superseded": 2})
    assert "superseded=2" in capsys.readouterr().out


def test_a_database_whose_clock_is_apart_fails_the_doctor(session: Session) -> None:
    for ahead, level in ((timedelta(), Level.OK), (HOUR, Level.FAIL), (-HOUR, Level.FAIL)):
        with session.transaction("asking") as connection:
            (found,) = clocks(connection, datetime.now(UTC) + ahead)
        assert found.level is level
