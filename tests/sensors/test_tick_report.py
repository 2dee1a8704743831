"""The text of a tick is short with two hundred tenants, and names those that failed."""

from __future__ import annotations

import dagster as dg

from canvas_sync_dagster.sensors.staleness import due
from canvas_sync_dagster.sensors.tick_report import MOST_CHARACTERS, MOST_TENANTS, TickReport
from canvas_sync_dagster.sensors.watched_tenants import WatchedTenants
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.tenants import TenantSettings


def test_problems_come_first_and_the_text_is_bounded() -> None:
    report = TickReport("nothing", {"paused": "paused is paused"})
    report.done = {f"tenant_{each:03}": "12 applied" for each in range(200)}
    report.problems = {"tenant_077": "no " * 1_000}
    text = report.text()
    assert text.startswith("tenant_077: no no")
    assert text.endswith("and 182 more")
    assert len(text) < (MOST_TENANTS + 1) * (MOST_CHARACTERS + 2)


def test_a_tick_with_problems_still_launches_runs_and_keeps_the_last_text_when_nothing_happens() -> None:
    report = TickReport("nothing", problems={"a": "no route to host"}, requests=[dg.RunRequest(job_name="b")])
    result = report.result("before")
    assert (result.cursor, len(result.run_requests or [])) == ("a: no route to host", 1)
    idle = TickReport("nothing").result("before")
    assert (idle.cursor, idle.skip_reason and idle.skip_reason.skip_message) == ("before", "nothing")


def tenant(slug: str, **settings: object) -> TenantSettings:
    return TenantSettings.model_validate({"slug": slug, "base_url": "https://school.test", **settings})


def test_tenants_are_grouped_by_database_and_role_and_paused_ones_are_named() -> None:
    one, other = "postgresql://loader:secret@db/one", "postgresql://another:secret@db/one"
    tenants = (
        tenant("a", database_url=one),
        tenant("b", database_url=one, schema="bee"),
        tenant("c", database_url=other),
        tenant("d", database_url=one, enabled=False),
        TenantSettings(slug="e"),
    )
    watched = WatchedTenants(lambda: Settings(tenants=tenants))
    assert [dict(each.slugs) for each in watched.databases] == [{"a": "a", "bee": "b"}, {"c": "c"}]
    assert watched.skipped["d"] == "d is paused by its setting enabled: false"
    assert "not configured" in watched.skipped["e"]
    assert "secret" not in repr(watched)


def test_each_tick_evaluates_a_share_of_the_tenants_those_first_that_wait_the_longest() -> None:
    slugs = [f"tenant_{each:03}" for each in range(24)]
    evaluated = dict.fromkeys(slugs, 10_000.0) | {"tenant_007": 5_000.0}
    assert due(slugs, evaluated, 10_001.0) == ["tenant_007"]
    assert due(slugs, evaluated | {"tenant_003": 4_000.0}, 20_000.0) == ["tenant_003", "tenant_007"]
    assert due(["only"], {}, 0.0) == ["only"]
