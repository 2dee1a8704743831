"""What a person clicks in Dagster's UI, in a real browser; the results are read from Postgres and from Dagster.

All tests share one location, because starting it takes as long as several tests.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.fix_browser import CHROMIUM
from tests.machines import ROOT, Machine, Query, until

PATIENCE = 120
"""Seconds; `dagster dev` takes 15 to start on a busy machine, the sync as long."""
FAST, ENDLESS = 0.01, 3600.0
"""Seconds that Canvas compiles a report."""
ROOT_JOB = "/locations/canvas_sync_dagster.definitions/jobs/canvas__sync_root"
RECONCILE = "/locations/canvas_sync_dagster.definitions/jobs/canvas__reconcile/playground"
TERMS = ("117", "118")
expect.set_options(timeout=PATIENCE * 1000)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]


@dataclass(frozen=True, slots=True)
class Location:
    """A code location with its UI, its daemon and its Canvas."""

    canvas: SimulatedCanvas
    machine: Machine
    instance: dg.DagsterInstance
    url: str

    def query(self, query: str, *values: object) -> Query:
        return self.machine.query(query, *values)

    def runs(self) -> list[dg.DagsterRun]:
        """Returns all runs, the latest first."""
        return list(self.instance.get_runs())

    def next_run(self, known: int) -> dg.DagsterRun:
        """Waits for the run that follows so many others."""
        until(lambda: len(self.runs()) > known, PATIENCE, "no run was launched")
        return self.runs()[0]

    def ended(self, run: dg.DagsterRun) -> str:
        """Waits for the end of a run, and returns its status."""
        until(lambda: self.status(run) in {"SUCCESS", "FAILURE", "CANCELED"}, PATIENCE, "the run does not end")
        return self.status(run)

    def status(self, run: dg.DagsterRun) -> str:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status.value

    def slots(self) -> int:
        return self.instance.event_log_storage.get_concurrency_info("canvas_reports__canvas").active_slot_count

    def materialization(self, model: str, run: dg.DagsterRun) -> Mapping[str, object]:
        """Returns the metadata of the table that a run has loaded."""
        records = self.instance.fetch_materializations(dg.AssetKey(["canvas", model]), limit=20).records
        (made,) = [each.asset_materialization for each in records if each.run_id == run.run_id]
        assert made is not None
        return {name: value.value for name, value in made.metadata.items()}


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory, postgres_binaries: Path) -> Iterator[Location]:
    home = tmp_path_factory.mktemp("browser")
    with (
        SimulatedCanvas(compile_seconds=FAST).serve() as canvas,
        EmbeddedPostgres(home / "postgres", binaries=postgres_binaries) as server,
    ):
        # The daemon frees no slot within the tests: what is free was freed by the run itself.
        monitoring = {"free_slots_after_run_end_seconds": 3600}
        given = {"CANVAS_SYNC_TERM_SCOPE": ",".join(TERMS), "CANVAS_SYNC_REPORTS_AHEAD": "0"}
        machine = Machine(home / "home", canvas, server, monitoring=monitoring, **given)
        (machine.home / ".nux").mkdir()
        (machine.home / ".nux" / "nux.yaml").write_text("seen: 1\n")
        try:
            url = served(machine)
            with machine.instance() as instance:
                yield Location(canvas, machine, instance, url)
        finally:
            machine.end()


@pytest.fixture
def page(browser: Browser, location: Location) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1600, "height": 1000}, base_url=location.url)
    page.set_default_timeout(PATIENCE * 1000)
    yield page
    page.close()


@pytest.fixture(scope="module")
def synced(browser: Browser, location: Location) -> Location:
    """The location after a click on *Materialize all* of the root job."""
    page = browser.new_page(base_url=location.url)
    page.goto(ROOT_JOB)
    button = page.get_by_role("button", name="Materialize all")
    expect(button).to_be_enabled()
    button.click()
    query = "select status from canvas.canvas_sync_sync_batches"
    until(lambda: location.query(query) not in ([], [("processing",)]), PATIENCE, "the batch is not completed")
    page.close()
    return location


def served(machine: Machine) -> str:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    machine.start("dagster", "dev", "-p", str(port), "-w", str(ROOT / "workspace.yaml"))
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{url}/server_info").is_success
        return False

    until(answers, PATIENCE, "the UI does not answer")
    return url


def asset(model: str, view: str = "overview") -> str:
    return f"/assets/canvas/{model}?view={view}"


def choose_terms(page: Page, *terms: str) -> Locator:
    """Opens the dialog that launches runs of the assets of a page, chooses terms in it, and returns it."""
    # While the page still loads the state of the partitions, the dialog lists no terms.
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="All", exact=True).click()
    dialog.get_by_role("button", name="Custom", exact=True).click()
    for term in set(TERMS) - set(terms):
        dialog.locator(f'[data-tooltip="{term}"]').get_by_role("img", name="close").click()
    return dialog


def test_the_partitions_of_an_asset_are_missing_before_the_first_sync(location: Location, page: Page) -> None:
    def registered() -> bool:
        return set(location.instance.get_dynamic_partitions("canvas_terms__canvas")) == set(TERMS)

    until(registered, PATIENCE, "the terms did not become partitions")
    page.goto(asset("courses", "partitions"))
    expect(page.get_by_text("Missing (2)")).to_be_visible()


def test_the_partitions_of_an_asset_are_materialized_after_the_first_sync(synced: Location, page: Page) -> None:
    page.goto(asset("courses", "partitions"))
    expect(page.get_by_text("Materialized (2)")).to_be_visible()


def test_materialize_all_on_the_root_job_syncs_the_terms_too(synced: Location) -> None:
    query = "select status, metadata->>'trigger' from canvas.canvas_sync_sync_batches"
    assert synced.query(query) == [("completed", "launch")]
    assert synced.query("select count(*) > 0 from canvas.courses") == [(True,)]


def test_the_page_of_an_asset_shows_summary_links_and_plots(synced: Location, page: Page) -> None:
    page.goto(asset("courses", "events"))
    expect(page.get_by_text("rows read from proservices_provisioning_csv, term")).to_be_visible()
    links = page.get_by_role("link", name=f"{synced.canvas.base_url}/accounts/self")
    expect(links).to_have_count(2)
    page.goto(asset("courses"))
    page.get_by_role("button", name="Plots").click()
    for name in ("changes", "dagster/row_count", "rejected", "seconds", "suspects"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()


def test_the_page_of_the_checks_shows_their_evidence(synced: Location, page: Page) -> None:
    page.goto(asset("courses", "checks"))
    expect(page.get_by_text("staleness").first).to_be_visible()
    page.get_by_text("load", exact=True).first.click()
    for finding in ("header", "volume", "rejected", "duplicate"):
        expect(page.get_by_text(finding).first).to_be_visible()


def test_the_launchpad_explains_what_it_takes(synced: Location, page: Page) -> None:
    page.goto(RECONCILE)
    page.get_by_text("limit").first.click()
    expect(page.get_by_text("Maximum suspects per model").first).to_be_visible()
    page.goto(ROOT_JOB)
    page.get_by_role("button", name="Materialize all").locator("xpath=following::button[1]").click()
    page.get_by_text("Open launchpad").click()
    page.get_by_text("accept_shrinkage").first.click()
    expect(page.get_by_text("How much is read. full: all rows.").first).to_be_visible()


def test_a_backfill_of_one_asset_syncs_it_in_two_terms(synced: Location, page: Page) -> None:
    known = {run.run_id for run in synced.runs()}
    page.goto(asset("courses"))
    choose_terms(page, *TERMS).get_by_role("button", name="Launch backfill").click()
    until(synced.instance.get_backfills, PATIENCE, "no backfill was launched")
    (backfill,) = synced.instance.get_backfills()

    def status() -> str:
        found = synced.instance.get_backfill(backfill.backfill_id)
        return found.status.value if found else ""

    until(lambda: status().startswith("COMPLETED"), PATIENCE, "the backfill does not end")
    assert status() == "COMPLETED_SUCCESS"
    runs = [run.run_id for run in synced.runs() if run.run_id not in known]
    query = (
        "select job_arguments::jsonb->'models', job_arguments::jsonb->>'scope', status "
        "from canvas.canvas_sync_job_logs where job_id = any(%s) order by 2"
    )
    assert synced.query(query, runs) == [(["courses"], term, "success") for term in TERMS]


def test_a_run_that_is_terminated_frees_its_slot_and_the_next_one_adopts_its_report(
    synced: Location, page: Page
) -> None:
    known, before = len(synced.runs()), len(synced.canvas.queue.reports)
    synced.canvas.queue.compile_seconds = ENDLESS
    page.goto(asset("courses"))
    choose_terms(page, "118").get_by_role("button", name="Launch 1 run").click()
    run = synced.next_run(known)
    until(lambda: len(synced.canvas.queue.reports) > before, PATIENCE, "no report was requested")
    assert synced.slots() == 1
    page.goto(f"/runs/{run.run_id}")
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
    assert synced.ended(run) == "CANCELED"
    until(lambda: synced.slots() == 0, PATIENCE, "the slot stays taken")
    synced.canvas.queue.compile_seconds = FAST
    page.get_by_role("button", name="Re-execute").first.click()
    again = synced.next_run(known + 1)
    assert synced.ended(again) == "SUCCESS"
    query = "select status, exception from canvas.canvas_sync_job_logs where job_id = any(%s) order by id"
    rows = synced.query(query, [run.run_id, again.run_id])
    assert rows == [("error", "cancelled before it was done"), ("success", None)]
    assert len(synced.canvas.queue.reports) == before + 1
    assert synced.materialization("courses", again)["adopted"] is True
