"""Freshness policies of a tenant's assets, derived from its schedule and `stale_after`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import dagster as dg

from canvas_sync_dagster.cron import Cron
from canvas_sync_dagster.tenants import TenantSettings

MOST_TENANTS = 20
"""Tenants of a location up to which the assets have policies by default. Dagster's daemon evaluates every asset with a
policy twice a minute: 0.64 s of CPU per 1,000 assets, which is 2 % of a core, against 0.09 s without policies."""
GRACE = timedelta(hours=1)
"""How long a sync may take, longer than the previous one took, before its tick counts as missed."""
START = datetime(2026, 1, 1, tzinfo=UTC)
"""Ticks are computed from a fixed day, so that definitions do not change from day to day."""


def with_freshness(
    specs: Mapping[str, dg.AssetSpec], tenant: TenantSettings, tenants: int
) -> Mapping[str, dg.AssetSpec]:
    """Return the specifications with a freshness policy, unless they have one already.

    Args:
        specs: Name → specification.
        tenant: Settings of the tenant.
        tenants: Number of tenants in the code location.
    """
    wanted = tenant.freshness_policies
    if not (tenants <= MOST_TENANTS if wanted is None else wanted):
        return specs
    fail, warn = freshness_windows(longest_gap(tenant.schedule, tenant.time_zone), tenant.stale_after)
    policy = dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)
    return {
        name: spec if spec.freshness_policy is not None else spec.replace_attributes(freshness_policy=policy)
        for name, spec in specs.items()
    }


def freshness_windows(gap: timedelta | None, stale_after: timedelta) -> tuple[timedelta, timedelta | None]:
    """Return after how long an asset fails its policy, and after how long it warns; None for no warning before.

    It warns after one missed tick, and fails when it is stale. If `stale_after` is shorter than that, it fails after one
    missed tick: between two ticks of a schedule that keeps its times nothing is wrong.

    Args:
        gap: Longest time between two ticks of the schedule; None if it ticks less than once a year.
        stale_after: The setting.

    >>> freshness_windows(timedelta(hours=3), timedelta(days=1))
    (datetime.timedelta(days=1), datetime.timedelta(seconds=14400))
    >>> freshness_windows(timedelta(days=7), timedelta(days=1))
    (datetime.timedelta(days=7, seconds=3600), None)
    """
    shortest = timedelta(minutes=2)
    if gap is None:
        return max(stale_after, shortest), None
    missed = gap + min(gap, GRACE)
    return (stale_after, missed) if missed < stale_after else (max(missed, shortest), None)


@functools.cache
def longest_gap(schedule: str, timezone: ZoneInfo) -> timedelta | None:
    """Return the longest time between two ticks; None if the schedule ticks less than once a year."""
    cron = Cron.parse(schedule)
    for days in (15, 400):
        ticks = list(cron.ticks(START, timezone, days=days))
        if len(ticks) > 2 or (days > 15 and len(ticks) > 1):
            return max(later - earlier for earlier, later in pairwise(ticks))
    return None
