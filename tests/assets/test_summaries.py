"""What people see of a run in the UI: summaries, links to Canvas, and the descriptions of the launchpad."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from canvas_sync_dagster.assets.jobs import ReconcileConfig
from canvas_sync_dagster.assets.links import canvas_page, reports_page
from canvas_sync_dagster.assets.summaries import drain_summary, load_summary
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.resources import SyncOptionsResource
from canvas_sync_dagster.sync.outcome import ModelOutcome, SyncOutcome
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.absence import Absence
from canvas_sync_dagster.warehouse.loading.load import LoadCounts

MODELS = {model.name: model for model in BUILT_IN}
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
COURSES = ModelOutcome(
    MODELS["courses"],
    LoadCounts(rows_in_report=1200, inserted=3, updated=1, unchanged=1196, seconds={"read": 1.5, "merge": 0.5}),
    table_rows=5400,
)
REPORT = SyncOutcome("provisioning_csv", "118", NOON, Decision(None, "a full sync was asked for"), 10.0, (COURSES,))


def test_a_summary_names_what_was_read_changed_and_how_long_it_took() -> None:
    assert load_summary(REPORT, COURSES) == (
        "**1,200 rows read** from `provisioning_csv`, term 118: everything (a full sync was asked for).\n\n"
        "- **Changed**: 3 inserted, 1 updated; 1,196 unchanged.\n"
        "- **Table**: 5,400 rows, as of 2026-03-04 12:00:00 UTC.\n"
        "- **Time**: 12.0 s; 10.0 s for Canvas, 2.0 s to load."
    )


def test_a_summary_of_an_incremental_load_names_since_when() -> None:
    incremental = replace(REPORT, scope="", decision=Decision(NOON, "since the last success"))
    first = load_summary(incremental, COURSES).splitlines()[0]
    assert first.endswith("`provisioning_csv`: changes since 2026-03-04 12:00:00 UTC (since the last success).")


def test_a_summary_names_what_was_held_back() -> None:
    counts = replace(COURSES.counts, rejected=1, superseded=2)
    absence = Absence(100, 30, "courses: 30 of 100 rows are missing at once; none was marked.")
    text = load_summary(REPORT, replace(COURSES, counts=counts, absence=absence, suspects=4))
    assert [line for line in text.splitlines() if "Held back" in line] == [
        "- **Held back**: 1 row could not be loaded; see the table `canvas_sync_rejected_rows`.",
        "- **Held back**: 2 rows, of which the table has newer content.",
        "- **Held back**: courses: 30 of 100 rows are missing at once; none was marked.",
        "- **Held back**: 4 suspects in the table, missing from a complete source.",
    ]


def test_a_summary_of_live_events_names_rows_events_and_seconds() -> None:
    assert drain_summary(1, {"applied": 3, "ignored": 0, "failed": 1}, 0.26) == (
        "**1 row written** from live events.\n\n- **Events of all tables**: 3 applied, 1 failed.\n- **Time**: 0.3 s."
    )


@pytest.mark.parametrize(
    ("model", "scope", "path"),
    [
        ("courses", "118", "/accounts/7?enrollment_term_id=118"),
        ("users", "", "/accounts/7/users"),
        ("terms", "", "/accounts/self/terms"),
        ("groups", "", "/accounts/7"),
    ],
)
def test_a_link_leads_to_the_list_the_term_or_the_account(model: str, scope: str, path: str) -> None:
    tenant = TenantSettings(base_url="https://school.example.edu", account_id="7")
    assert canvas_page(tenant, MODELS[model], scope) == f"https://school.example.edu{path}"


def test_links_quote_a_sis_id_and_need_a_base_url() -> None:
    tenant = TenantSettings(base_url="https://school.example.edu", account_id="sis_account_id:law school")
    page = "https://school.example.edu/accounts/sis_account_id:law%20school/settings#tab-reports"
    assert reports_page(tenant) == page
    assert canvas_page(TenantSettings(), MODELS["users"], "") is None


@pytest.mark.parametrize("config", [SyncOptionsResource, ReconcileConfig])
def test_each_field_of_the_launchpad_has_a_description(config: type[SyncOptionsResource | ReconcileConfig]) -> None:
    described = {name: field.description for name, field in config.to_fields_dict().items()}
    assert described
    assert [name for name, text in described.items() if not text or not text.endswith((".", "}."))] == []
