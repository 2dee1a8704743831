"""What a person clicks in Dagster's UI, in a real browser."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.machines import ROOT, Machine, until

CHROMIUM = shutil.which("chromium")
PATIENCE = 120
"""Seconds; `dagster dev` takes 15 to start on a busy machine, the sync as long."""
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]


@pytest.fixture
def machine(tmp_path: Path, postgres_binaries: Path) -> Iterator[Machine]:
    with (
        SimulatedCanvas(compile_seconds=0.01).serve() as canvas,
        EmbeddedPostgres(tmp_path / "postgres", binaries=postgres_binaries) as server,
    ):
        machine = Machine(tmp_path / "home", canvas, server, CANVAS_SYNC_TERM_SCOPE="118")
        (machine.home / ".nux").mkdir()
        (machine.home / ".nux" / "nux.yaml").write_text("seen: 1\n")
        try:
            yield machine
        finally:
            machine.end()


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1600, "height": 1000})
        browser.close()


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


def test_materialize_all_on_the_root_job_syncs_the_terms_too(machine: Machine, page: Page) -> None:
    page.goto(f"{served(machine)}/locations/canvas_sync_dagster.definitions/jobs/canvas__sync_root")
    button = page.get_by_role("button", name="Materialize all")
    expect(button).to_be_enabled(timeout=PATIENCE * 1000)
    button.click()
    query = "select status, metadata->>'trigger' from canvas.canvas_sync_sync_batches"
    until(lambda: machine.query(query) not in ([], [("processing", "launch")]), PATIENCE, "the batch is not completed")
    assert machine.query(query) == [("completed", "launch")]
    assert machine.query("select count(*) > 0 from canvas.courses") == [(True,)]
