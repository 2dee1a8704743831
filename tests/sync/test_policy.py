"""Full or incremental, and why."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canvas_sync_dagster.full_sync_policy import FullSyncEvery, draw
from canvas_sync_dagster.sync.policy import OVERLAP, decide
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.state.watermarks import Watermark

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)  # a Sunday
RECENT = Watermark(NOW - timedelta(hours=3), NOW - timedelta(days=1))
hours = st.integers(0, 23)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
marks = st.none() | st.builds(Watermark, st.none() | moments, st.none() | moments)


def test_a_scope_without_an_earlier_full_sync_is_read_in_full() -> None:
    decision = decide(now=NOW, watermarks=[RECENT, None], takes_updated_after=True)
    assert (decision.mode, decision.reason) == ("full", "no earlier full sync of this scope")


def test_a_report_that_cannot_be_limited_is_read_in_full() -> None:
    assert decide(now=NOW, watermarks=[RECENT], takes_updated_after=False, mode="incremental").mode == "full"


def test_the_oldest_of_several_marks_decides_how_far_an_incremental_report_reaches_back() -> None:
    older = Watermark(NOW - timedelta(days=5), NOW - timedelta(days=6))
    decision = decide(now=NOW, watermarks=[RECENT, older], takes_updated_after=True)
    assert decision.updated_after == NOW - timedelta(days=5) - OVERLAP


def test_a_date_is_taken_as_given() -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    assert decide(now=NOW, watermarks=[RECENT], takes_updated_after=True, updated_after=since).updated_after == since


def test_a_run_may_ask_for_incremental_although_the_policy_is_full() -> None:
    decision = decide(now=NOW, watermarks=[RECENT], takes_updated_after=True, mode="incremental", updated_after=False)
    assert decision.mode == "incremental"


def test_a_full_sync_is_due_from_its_weekday_on_and_after_its_weeks() -> None:
    sunday = FullSyncEvery.parse("sunday/2")
    zone = ZoneInfo("America/Denver")
    assert sunday.is_due(now=NOW, last_full=NOW - timedelta(days=14), timezone=zone, batch_id="")
    assert not sunday.is_due(now=NOW, last_full=NOW - timedelta(days=7), timezone=zone, batch_id="")
    assert not sunday.is_due(
        now=NOW - timedelta(days=1), last_full=NOW - timedelta(days=14), timezone=zone, batch_id=""
    )
    assert sunday.is_due(now=NOW - timedelta(days=1), last_full=NOW - timedelta(days=60), timezone=zone, batch_id="")


@pytest.mark.parametrize("off", [timedelta(days=-90), timedelta(minutes=1)])
def test_full_syncs_are_counted_on_our_own_clock_however_wrong_the_one_of_canvas_is(off: timedelta) -> None:
    on_canvas, started = NOW + off, NOW - timedelta(minutes=5)
    decision = decide(
        now=NOW,
        watermarks=[Watermark(on_canvas, on_canvas, full_started_at=started)],
        takes_updated_after=True,
        full_sync_every=FullSyncEvery.parse("sunday"),
    )
    assert (decision.mode, decision.updated_after) == ("incremental", on_canvas - OVERLAP)


def test_a_drift_of_hours_does_not_skip_a_week() -> None:
    last = datetime(2026, 11, 8, 12, 30, tzinfo=UTC)
    assert FullSyncEvery.parse("sunday/2").is_due(now=NOW, last_full=last, timezone=ZoneInfo("UTC"), batch_id="")


@given(marks=st.lists(marks), takes=st.booleans(), now=moments, since=st.booleans() | moments)
def test_an_incremental_report_never_starts_after_what_is_already_known(
    marks: list[Watermark | None], takes: bool, now: datetime, since: datetime | bool
) -> None:
    decision = decide(now=now, watermarks=marks, takes_updated_after=takes, updated_after=since)
    if decision.updated_after is None or isinstance(since, datetime):
        return
    assert takes
    assert all(mark and mark.full_observed_at for mark in marks)
    assert all(decision.updated_after < mark.observed_at for mark in marks if mark and mark.observed_at)


@given(st.text())
def test_other_text_is_not_an_interval(text: str) -> None:
    try:
        parsed = FullSyncEvery.parse(text)
    except ValueError:
        return
    assert [parsed.percent, parsed.days, parsed.weekday].count(None) == 2


@given(st.text())
def test_the_percentage_is_the_same_for_one_batch(batch: str) -> None:
    assert draw(batch) == draw(batch)
    assert 0 <= draw(batch) < 100


@pytest.mark.parametrize("text", ["101%", "-1 days", "someday", "sunday/0", "", "sunday/"])
def test_what_is_not_an_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="interval of full syncs"):
        FullSyncEvery.parse(text)


def test_a_date_later_than_the_last_success_leaves_no_gap() -> None:
    decision = decide(now=NOW, watermarks=[RECENT], takes_updated_after=True, updated_after=NOW - timedelta(minutes=5))
    assert decision.updated_after == NOW - timedelta(hours=3) - OVERLAP
    assert "earlier than the date that was given" in decision.reason


def test_a_date_disables_full_sync_every_unless_it_is_set() -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    assert TenantSettings(updated_after=since).full_sync_policy is None
    assert TenantSettings(updated_after=since, full_sync_every="10 days").full_sync_policy == FullSyncEvery(days=10)
    assert TenantSettings().full_sync_policy == FullSyncEvery(weekday=6, weeks=2)


@given(day=st.dates(datetime(2026, 1, 1).date(), datetime(2027, 12, 31).date()), weeks=st.integers(1, 6), hour=hours)
def test_a_weekly_full_sync_comes_on_its_day_across_changes_of_the_clock(day: date, weeks: int, hour: int) -> None:
    zone, sunday = ZoneInfo("America/Denver"), day - timedelta(days=(day.weekday() + 1) % 7)
    last = datetime.combine(sunday, time(hour), zone)
    every = FullSyncEvery(weekday=6, weeks=weeks)
    due = [
        (at - sunday).days
        for at in (sunday + timedelta(days=number) for number in range(50))
        if every.is_due(now=datetime.combine(at, time(23 - hour), zone), last_full=last, timezone=zone, batch_id="")
    ]
    assert due == list(range(7 * weeks, 50))
