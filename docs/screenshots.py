"""Make the images of Dagster's UI in docs/images anew, from the demo: `./run python docs/screenshots.py`.

It needs Chromium and the developers' requirements. It prepares the demo in a temporary directory, serves the UI on it,
launches a sync, and takes the images once the sync has ended.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

from canvas_sync_dagster.commands.demo_location import Demo, prepared_demo
from canvas_sync_dagster.embedded import leave_embedded_servers

IMAGES = Path(__file__).parent / "images"
LIMIT = 200_000
"""Bytes of an image."""
PATIENCE = 90.0
"""Seconds."""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
JOBS = "/locations/canvas_sync_dagster.definitions/jobs"


def images(page: Page) -> None:
    """Open each page of the UI, and write its image."""
    shoot(page, "assets", "/asset-groups", "people")
    shoot(
        page, "batches", "/locations/canvas_sync_dagster.definitions/sensors/canvas_sync_batches", "canvas_sync_batches"
    )
    shoot(page, "materialization", "/assets/canvas/courses?view=events", "rows read")
    shoot(page, "runs", "/runs", "canvas__sync_root")
    shoot(page, "checks", "/assets/canvas/courses?view=checks", "staleness")
    shoot(page, "launchpad", f"{JOBS}/canvas__sync_root", "Materialize all", before=open_launchpad)


def open_launchpad(page: Page) -> None:
    page.get_by_role("button", name="Materialize all").locator("xpath=following::button[1]").click()
    page.get_by_text("Open launchpad").click()
    page.get_by_text("accept_shrinkage").first.click()
    page.get_by_text("How much is read").first.wait_for()


def shoot(page: Page, name: str, path: str, text: str, *, before: Callable[[Page], None] = lambda _: None) -> None:
    """Write the image of a page as soon as it shows a text.

    Raises:
        ValueError: The image is larger than the limit.
    """
    page.goto(path)
    page.get_by_text(text).first.wait_for()
    before(page)
    # The lineage is drawn, and panels are unfolded, after their texts are there.
    page.wait_for_timeout(3000)
    image = page.screenshot(path=IMAGES / f"{name}.png")
    if len(image) > LIMIT:
        raise ValueError(f"{name}.png has {len(image):,} bytes, more than {LIMIT:,}")


def sync(page: Page) -> None:
    """Launch a sync by a click, and wait until its last run has ended."""
    page.goto(f"{JOBS}/canvas__sync_root")
    page.get_by_role("button", name="Materialize all").click()
    # A page that is left at once does not send the request.
    page.wait_for_timeout(10_000)
    page.goto("/runs")
    page.get_by_text("canvas__sync_term").first.wait_for()
    for state in ("Queued (0)", "In progress (0)"):
        page.get_by_text(state).first.wait_for()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


def await_ui(url: str) -> None:
    """Wait until the UI answers.

    Raises:
        TimeoutError: It does not.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/server_info").is_success:
                return
        time.sleep(1)
    raise TimeoutError("the UI does not answer")


def browse(url: str) -> None:
    """Sync and take the images in Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 880}, base_url=url)
        page.set_default_timeout(PATIENCE * 1000)
        sync(page)
        images(page)
        browser.close()


def take(demo: Demo) -> None:
    """Serve the UI on a demo, and take the images."""
    port = free_port()
    serving = demo.start_ui(port)
    try:
        await_ui(f"http://127.0.0.1:{port}")
        browse(f"http://127.0.0.1:{port}")
    finally:
        serving.terminate()
        serving.wait(60)


def main() -> None:
    """Take all images."""
    with tempfile.TemporaryDirectory() as home:
        try:
            with prepared_demo(Path(home), "small") as demo:
                take(demo)
        finally:
            # Before its directory is deleted.
            leave_embedded_servers()


if __name__ == "__main__":
    main()
