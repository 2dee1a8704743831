"""Full syncs keep their interval, whenever reports begin, across midnight and changes of the clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.cron import Cron
from canvas_sync_dagster.full_sync_policy import FullSyncEvery, forecast, schedule_problem
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.policy import decide
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.sync_status import unmet_schedules
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.state.watermarks import Watermark

DENVER = ZoneInfo("America/Denver")
START = datetime(2026, 1, 5, 7, tzinfo=UTC)
zones = st.sampled_from(["UTC", "America/Denver", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Auckland"]).map(
    ZoneInfo
)


def synced(
    text: str, cron: str, zone: ZoneInfo, delays: list[float], *, weeks: int = 40, late: float = 0
) -> list[list[datetime]]:
    """Plays the batches of a schedule over two terms whose reports wait in a queue; returns the full ones of each."""
    every, full = FullSyncEvery.parse(text), [[], []]  # type: tuple[FullSyncEvery, list[list[datetime]]]
    marks: list[Watermark | None] = [None, None]
    for number, tick in enumerate(Cron.parse(cron).ticks(START, zone, days=7 * weeks)):
        batch = tick + timedelta(seconds=late * (number % 3))
        for term in (0, 1):
            decision = decide(
                now=batch, watermarks=[marks[term]], takes_updated_after=True, full_sync_every=every, timezone=zone
            )
            began = batch + timedelta(hours=delays[(number + term) % len(delays)] * (term + 1))
            known = marks[term]
            if decision.mode == "full":
                full[term].append(batch)
                marks[term] = Watermark(began, began, full_started_at=batch)
            elif known is not None:
                marks[term] = replace(known, observed_at=began)
    return full


@settings(max_examples=15)
@given(zone=zones, delays=st.lists(st.floats(0, 20), min_size=1, max_size=5), late=st.floats(0, 500))
def test_a_saturday_night_whose_second_term_is_asked_on_sunday_is_full_every_week(
    zone: ZoneInfo, delays: list[float], late: float
) -> None:
    one, other = synced("saturday", "30 23 * * *", zone, delays, late=late)
    assert one == other
    days = [each.astimezone(zone).date() for each in one][1:]
    assert len(days) >= 38
    assert {day.weekday() for day in days} == {5}
    assert all((later - earlier).days == 7 for earlier, later in pairwise(days))


@settings(max_examples=15)
@given(
    zone=zones,
    days=st.integers(1, 9),
    delays=st.lists(st.floats(0, 23), min_size=1, max_size=5),
    hour=st.integers(0, 23),
    late=st.floats(0, 500),
)
def test_n_days_never_come_a_tick_late_or_early(
    zone: ZoneInfo, days: int, delays: list[float], hour: int, late: float
) -> None:
    one, other = synced(f"{days} days", f"17 {hour} * * *", zone, delays, weeks=45, late=late)
    assert one == other
    dates = [each.astimezone(zone).date() for each in one]
    assert all((later - earlier).days == days for earlier, later in pairwise(dates))


@given(zone=zones, late=st.floats(0, 500))
@settings(max_examples=10)
def test_a_frequent_schedule_keeps_n_days_to_the_tick(zone: ZoneInfo, late: float) -> None:
    one, _ = synced("3 days", "0 * * * *", zone, [1.0], weeks=12, late=late)
    clocks = [(each.astimezone(zone).replace(tzinfo=None)) for each in one]
    assert all(abs(later - earlier - timedelta(days=3)) < timedelta(minutes=31) for earlier, later in pairwise(clocks))


def test_a_weekday_without_a_sync_is_made_up_for_by_the_next_batch() -> None:
    one, _ = synced("sunday/2", "0 3 * * 1-5", DENVER, [0.5])
    days = [each.astimezone(DENVER).date() for each in one]
    assert {day.weekday() for day in days} == {0}
    assert all((later - earlier).days == 14 for earlier, later in pairwise(days))


@pytest.mark.parametrize(
    ("every", "cron", "problem"),
    [
        ("sunday/2", "0 */3 * * *", ""),
        ("saturday", "30 23 * * *", ""),
        ("10 days", "0 */3 * * *", ""),
        ("1 days", "0 3 * * *", ""),
        ("7 days", "@weekly", ""),
        ("0 days", "@daily", ""),
        ("15%", "0 3 * * 1-5", ""),
        ("sunday/2", "0 3 * * mon-fri", "not every Sunday has a sync; the first one after it is the full one (Monday)"),
        ("sunday", "@monthly", "full syncs come up to 31 days apart, because no sync starts in between"),
        ("10 days", "@weekly", "full syncs come up to 14 days apart, because no sync starts in between"),
        ("1 days", "0 3 * * 1-5", "full syncs come up to 3 days apart, because no sync starts in between"),
    ],
)
def test_an_interval_that_a_schedule_cannot_keep_is_reported(every: str, cron: str, problem: str) -> None:
    ticks = list(islice(Cron.parse(cron).ticks(START, DENVER, days=366), 3_000))
    assert schedule_problem(FullSyncEvery.parse(every), ticks, DENVER) == problem


def test_the_forecast_begins_with_the_first_batch() -> None:
    ticks = list(Cron.parse("@daily").ticks(START, DENVER, days=30))
    full = forecast(FullSyncEvery.parse("sunday"), ticks, DENVER)
    days = [each.astimezone(DENVER).date() for each in full]
    assert days == [date(2026, 1, 5), *(date(2026, 1, day) for day in (11, 18, 25)), date(2026, 2, 1)]


@pytest.mark.parametrize(
    "line",
    ["0 */3 * * *", "5,35 1-5/2 * * *", "0 0 13 * 5", "15 4 * jan-mar sun", "@weekly", "0 2 1,15 * *", "7 3 * * 7"],
)
def test_cron_lines_are_read_as_dagster_reads_them(line: str) -> None:
    from dagster._utils.schedules import cron_string_iterator

    ours = list(islice(Cron.parse(line).ticks(START, DENVER, days=1_500), 40))
    theirs = list(islice(cron_string_iterator(START.timestamp(), line, "America/Denver"), 40))
    assert ours == [each.astimezone(UTC) for each in theirs]


@pytest.mark.parametrize("line", ["", "* * * *", "60 * * * *", "0 0 0 * *", "5-1 * * * *", "x * * * *", "*/0 * * * *"])
def test_what_is_not_a_cron_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Cron.parse(line)


def test_each_schedule_that_cannot_keep_full_sync_every_is_reported() -> None:
    nightly = {"schedule": "@daily", "models": ["users"], "full_sync_every": "sunday"}
    tenant = TenantSettings.model_validate({"schedule": "0 3 * * 1-5", "genres": {"people": nightly}})
    (told,) = unmet_schedules(tenant, START)
    assert told.startswith(
        "genre default: full_sync_every is 'sunday/2', the schedule is '0 3 * * 1-5' (UTC): not every"
    )


def test_reports_of_one_batch_are_decided_on_its_start_and_count_from_it(session: Session) -> None:
    started = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)  # a Saturday
    group = next(group for group in report_groups(BUILT_IN) if group.name == "provisioning")

    def sync(batch: datetime) -> str:
        options = SyncOptions(batch_id=str(batch), started_at=batch)
        weekly = replace(session, tenant=session.tenant.model_copy(update={"full_sync_every": "saturday"}))
        return sync_report(Flow.of(weekly, options), group, {"users"}).decision.mode

    assert [sync(started + timedelta(days=days)) for days in (0, 0, 1, 6, 7, 7, 13, 14)] == [
        "full", "incremental", "incremental", "incremental", "full", "incremental", "incremental", "full",
    ]  # fmt: skip
    with psycopg.connect(session.database_url) as connection:
        rows = connection.execute("select full_started_at from canvas.canvas_sync_watermarks").fetchall()
    assert rows == [(started + timedelta(days=14),)]


@pytest.fixture
def database_url(migrated_url: str) -> str:
    return migrated_url
