"""The code location of `canvas-sync demo`: a simulated Canvas, an embedded PostgreSQL and a Dagster instance."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
from pydantic import SecretStr

from canvas_sync_dagster.commands.known_demo import (
    DAGSTER_DATABASE,
    SLUG,
    demo_database,
    demo_directory,
    remember_demo,
)
from canvas_sync_dagster.commands.sync_report import SyncReport
from canvas_sync_dagster.commands.tenant_sync import SyncRequest, sync_tenant
from canvas_sync_dagster.dagster_yaml import NAME, instance_file
from canvas_sync_dagster.embedded import embedded_database_url
from canvas_sync_dagster.errors import DemoFailedError
from canvas_sync_dagster.instance_storage import DATABASE_URL as DAGSTER_DATABASE_URL
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.live_events.serve import receiver
from canvas_sync_dagster.live_events.uvicorn_server import served
from canvas_sync_dagster.orchestration.run_listener import Progress
from canvas_sync_dagster.project.builder import CanvasSync
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas, deliver
from canvas_sync_dagster.sync.session import open_session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.schema.migrate import migrate

COMPILE_SECONDS = 0.03
"""Seconds that a report takes in the demo, which waits for sixty of them."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A prepared demo.

    Attributes:
        canvas: The running simulated Canvas.
        settings: Settings of a code location that uses it.
        directory: DAGSTER_HOME of its instance.
        database_url: URL of the database with the tables.
    """

    canvas: SimulatedCanvas
    settings: Settings
    directory: Path
    database_url: str

    def sync(self, progress: Progress) -> SyncReport:
        """Sync all terms in full, as `canvas-sync sync` does, so that a second sync shows what has changed since.

        Args:
            progress: Receives what happens.

        Raises:
            DemoFailedError: A run failed.
        """
        project = CanvasSync(self.settings).project()
        report = sync_tenant(
            project,
            project.settings.tenants[0],
            SyncRequest({"mode": "full"}, term_scope=("all",)),
            open_instance=lambda: dg.DagsterInstance.from_config(str(self.directory)),
            progress=lambda: nullcontext(progress),
        )
        if report.failed:
            raise DemoFailedError(f"{', '.join(report.failed)} failed: {'; '.join(report.messages)}")
        return report

    def live_events(self) -> Counter[str]:
        """Send signed live events to a receiver, and drain its inbox; return state → number of events."""
        settings = self.settings.model_copy(update={"jwk_url": self.canvas.jwk_url})
        tenant, models = settings.tenants[0], settings.models()
        events = [each for table in ("courses", "sections", "enrollments") for each in self.canvas.save_again(table, 3)]
        with served(receiver(settings, models)) as url:
            deliver(f"{url}{PATH}", self.canvas.signer, events)
        with open_session(settings, tenant, tenant.chosen(models)) as session:
            return drain(session).events

    def start_ui(self, port: int) -> subprocess.Popen[bytes]:
        """Start the Dagster UI and the daemon on the same data; return their process."""
        tenant = self.settings.tenants[0]
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(self.directory),
            "CANVAS_SYNC_TENANT": SLUG,
            "CANVAS_SYNC_BASE_URL": str(tenant.base_url),
            "CANVAS_SYNC_TOKEN": self.canvas.token,
            "CANVAS_SYNC_DATABASE_URL": self.database_url,
            "CANVAS_SYNC_POLL_SECONDS": str(tenant.poll_seconds),
        }
        # In the directory of the instance, so that `.env` and `canvas_sync.yaml` of the user are not read.
        command = [sys.executable, "-m", "dagster", "dev", "-m", "canvas_sync_dagster.definitions", "-p", str(port)]
        return subprocess.Popen(command, env=environment, cwd=self.directory)

    def serve_ui(self, port: int) -> int:
        """Serve the Dagster UI on the same data until it is interrupted; return the exit code."""
        try:
            return self.start_ui(port).wait()
        except KeyboardInterrupt:
            return 0


@contextmanager
def prepared_demo(home: Path, size: str) -> Iterator[Demo]:
    """Prepare the demo in separate databases, and create the tables.

    Args:
        home: `CANVAS_SYNC_HOME`.
        size: Size of the simulated Canvas.

    Yields:
        The prepared demo.
    """
    directory = demo_directory(home)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / NAME).write_text(instance_file(), encoding="utf-8")
    # Prevents a dialog of Dagster that covers the page at the first visit.
    (directory / ".nux").mkdir(exist_ok=True)
    (directory / ".nux" / "nux.yaml").write_text("seen: 1\n", encoding="utf-8")
    os.environ["CANVAS_SYNC_HOME"] = str(home)
    os.environ[DAGSTER_DATABASE_URL] = embedded_database_url(home, DAGSTER_DATABASE)
    url = embedded_database_url(home, demo_database(size))
    with SimulatedCanvas(size, compile_seconds=COMPILE_SECONDS).serve() as canvas:
        clock = directory / f"{size}.clock"
        _go_on(canvas, clock)
        tenant = TenantSettings(
            slug=SLUG,
            base_url=canvas.base_url,
            token=SecretStr(canvas.token),
            database_url=SecretStr(url),
            poll_seconds=COMPILE_SECONDS,
        )
        settings = Settings(home=home, tenants=(tenant,))
        migrate(url, tenant.schema_in_database, CanvasSync(settings).project().models_of(tenant))
        remember_demo(home, size)
        try:
            yield Demo(canvas, settings, directory, url)
        finally:
            clock.write_text(f"{canvas.now.isoformat()}\n", encoding="utf-8")


def _go_on(canvas: SimulatedCanvas, clock: Path) -> None:
    """Lets as much time pass at the university as has passed since the last demo; so much changes there."""
    if clock.exists():
        elapsed = timedelta(seconds=max(0.0, time.time() - clock.stat().st_mtime))
        until = datetime.fromisoformat(clock.read_text(encoding="utf-8").strip()) + elapsed
        canvas.advance(seconds=max(0.0, (until - canvas.now).total_seconds()))
