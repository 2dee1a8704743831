"""The recipes of docs/how-to/alerts.md: their settings load, their sensor exists, and their Python pages a service."""

from __future__ import annotations

import dagster as dg
import pytest
import yaml

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.alert_settings import AlertKind
from canvas_sync_dagster.alerts.delivery import targets_of
from canvas_sync_dagster.errors import RunFailedError
from canvas_sync_dagster.settings import Settings
from tests.alerts.servers import webhook_server
from tests.test_docs import ROOT, blocks

PAGE = "docs/how-to/alerts.md"
VARIABLES = {
    **dict.fromkeys(("SLACK_WEBHOOK_URL", "ACADEMY_WEBHOOK_URL", "TEAMS_WORKFLOW_URL"), "https://hooks.test/x"),
    **dict.fromkeys(("SMTP_PASSWORD", "SCHOOL_TOKEN", "ACADEMY_TOKEN", "SANDBOX_TOKEN"), "x"),
}


@pytest.fixture
def pages() -> list[Settings]:
    """The settings of each block of YAML, in order."""
    return [
        Settings.from_content(yaml.safe_load(block), VARIABLES, source=ROOT / "canvas_sync.yaml")
        for block in blocks(PAGE, "yaml")
    ]


def test_the_settings_of_the_page_load_and_send_what_it_says(pages: list[Settings]) -> None:
    first, teams, expiring = pages
    alerts = {tenant.slug: tenant.alerts for tenant in first.tenants}
    school, academy, sandbox = (alerts[slug] for slug in ("school", "academy", "sandbox"))
    assert school and academy and sandbox and teams.tenants[0].alerts
    assert [target.channel for target in targets_of(school)] == ["webhook", "email"]
    assert [each.is_active for each in (school, academy, sandbox)] == [True, True, False]
    assert academy.kinds == (AlertKind.FAILED_SYNC, AlertKind.EXPIRING_TOKEN)
    assert teams.tenants[0].alerts.webhook_format == "teams"
    assert expiring.tenants[0].token_expires_at is not None


def test_the_sensor_exists_if_a_tenant_has_alerts(pages: list[Settings]) -> None:
    def sensors(settings: Settings) -> set[str]:
        tenants = [tenant.model_copy(update={"models": ("terms",)}) for tenant in settings.tenants]
        return {each.name for each in CanvasSync(tenants=tenants).definitions().sensors or ()}

    assert "canvas_sync_alerts" in sensors(pages[1])
    assert "canvas_sync_alerts" not in sensors(pages[2])
    paused = [tenant.model_copy(update={"enabled": False}) for tenant in pages[1].tenants]
    assert "canvas_sync_alerts" not in sensors(pages[1].model_copy(update={"tenants": tuple(paused)}))


def test_the_page_pages_pagerduty(monkeypatch: pytest.MonkeyPatch) -> None:
    (recipe,) = blocks(PAGE, "python")
    before = recipe[: recipe.index("defs = ")].replace('CanvasSync.from_file("canvas_sync.yaml")', "CanvasSync()")
    with webhook_server() as server, dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("PAGERDUTY_URL", server.url)
        monkeypatch.setenv("PAGERDUTY_ROUTING_KEY", "R")
        scope: dict[str, object] = {}
        exec(before, scope)  # noqa: S102 (the page's own text)
        run = instance.create_run_for_job(dg.JobDefinition(name="a_job", graph_def=dg.GraphDefinition("a_job")))
        page = scope["page_on_call"]
        assert callable(page)
        page(RunFailedError("row content", step="users"), tenant="school", run=run)
    (event,) = server.received
    assert (event["routing_key"], event["dedup_key"]) == ("R", "school a_job")
    assert event["payload"]["custom_details"] == {"run_id": run.run_id, "step": "users"}
    assert "row content" not in str(event)
