"""Freshness policies: after which time an asset warns and fails, and in which locations it has one."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.assets.freshness import MOST_TENANTS, freshness_windows, longest_gap
from canvas_sync_dagster.assets.metadata import event_materializations
from canvas_sync_dagster.live_events.drain import Drained
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.tenants import TenantSettings

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
UTC_ZONE = ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        ("0 */3 * * *", 3 * HOUR),
        ("*/30 * * * *", timedelta(minutes=30)),
        ("0 6 * * 1-5", 3 * DAY),
        ("0 2 * * sun", 7 * DAY),
        ("0 6,18 * * *", 12 * HOUR),
        ("@monthly", 31 * DAY),
        ("@yearly", 365 * DAY),
        ("0 0 29 2 *", None),
    ],
)
def test_the_longest_gap_of_a_schedule(schedule: str, gap: timedelta | None) -> None:
    assert longest_gap(schedule, UTC_ZONE) == gap


@pytest.mark.parametrize(
    ("gap", "stale_after", "windows"),
    [
        (3 * HOUR, DAY, (DAY, 4 * HOUR)),
        (HOUR / 2, DAY, (DAY, HOUR)),
        (DAY, DAY, (25 * HOUR, None)),
        (7 * DAY, DAY, (7 * DAY + HOUR, None)),
        (None, DAY, (DAY, None)),
        (timedelta(minutes=1), timedelta(minutes=1), (timedelta(minutes=2), None)),
    ],
)
def test_one_missed_tick_warns_and_a_stale_table_fails(
    gap: timedelta | None, stale_after: timedelta, windows: tuple[timedelta, timedelta | None]
) -> None:
    assert freshness_windows(gap, stale_after) == windows
    assert dg.FreshnessPolicy.time_window(*windows)


def test_live_events_do_not_make_a_table_fresh() -> None:
    users = dg.AssetKey(["canvas", "users"])
    done = Drained(Counter(applied=2), Counter(users=3, courses=0))
    with dg.DagsterInstance.ephemeral() as instance:
        for event in event_materializations(AssetKeys("canvas", {"users": users}), done):
            instance.report_runless_asset_event(event)
        assert instance.get_latest_materialization_event(users) is None
        (record,) = instance.fetch_observations(users, limit=5).records
    observed = record.asset_observation
    assert observed is not None
    assert (observed.metadata["changes"].value, observed.metadata["events"].value) == (3, 2)


def policies(number: int, **settings: object) -> set[object]:
    tenants = [
        TenantSettings(
            slug=f"t{each}", database_url=f"postgresql://u@h/d{each}", models=("users", "courses"), **settings
        )
        for each in range(number)
    ]
    graph = CanvasSync(Settings(tenants=tuple(tenants))).definitions().resolve_asset_graph()
    return {graph.get(key).freshness_policy for key in graph.materializable_asset_keys}


def test_assets_have_policies_up_to_a_number_of_tenants_unless_the_setting_decides() -> None:
    usual = dg.FreshnessPolicy.time_window(fail_window=DAY, warn_window=4 * HOUR)
    assert policies(1) == {usual}
    assert policies(1, freshness_policies=False) == {None}
    assert policies(MOST_TENANTS + 1) == {None}
    assert policies(MOST_TENANTS + 1, freshness_policies=True) == {usual}
