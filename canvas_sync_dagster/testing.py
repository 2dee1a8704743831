"""Fixtures for tests of a code location: a simulated Canvas and a real PostgreSQL.

`pytest_plugins = ["canvas_sync_dagster.testing"]` in `conftest.py` provides the fixtures
`canvas`, `database_url` and `location`. Each test gets a new Canvas and an empty database, also under pytest-xdist. All
tests share one PostgreSQL server, which the first test that needs it starts.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from canvas_sync_dagster.commands.location import find
from canvas_sync_dagster.embedded import embedded_database_url
from canvas_sync_dagster.extras import remedy
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.event import protected_event, read_event
from canvas_sync_dagster.orchestration.identifiers import term_partition_set
from canvas_sync_dagster.warehouse.reading.payloads import PayloadProtection
from canvas_sync_dagster.warehouse.state.inbox import store
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions

try:
    import pytest

    from canvas_sync_dagster.simulator import SimulatedCanvas
except ModuleNotFoundError as error:
    if sentence := remedy(error.name, __name__):
        raise ImportError(sentence) from None
    raise

if TYPE_CHECKING:
    import dagster as dg

    from canvas_sync_dagster.sync.project import Project

HOME = Path(tempfile.gettempdir()) / "canvas_sync_testing"
"""Directory of the server that all tests of this machine share; each test has a separate database."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@contextmanager
def simulated_canvas(size: str = "small", *, seed: int = 1, hostile: bool = False) -> Iterator[SimulatedCanvas]:
    """Serve a simulated Canvas whose reports take 0.02 seconds, as a context manager.

    Args:
        size: `small`, `medium` or `large`.
        seed: Seed of the university; equal seeds give equal data.
        hostile: Whether faults happen at random.

    Yields:
        The simulated Canvas.
    """
    with SimulatedCanvas(size, seed=seed, hostile=hostile, compile_seconds=0.02).serve() as canvas:
        yield canvas


@contextmanager
def embedded_postgres(home: Path = HOME) -> Iterator[str]:
    """Create an empty database, and drop it at the end of the `with` block.

    Args:
        home: Directory of the embedded server.

    Yields:
        URL of the database.
    """
    name = f"test_{secrets.token_hex(6)}"
    admin = embedded_database_url(home, "canvas_sync_testing")
    try:
        yield embedded_database_url(home, name)
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


@dataclass(frozen=True, slots=True)
class LocationUnderTest:
    """Your code location on a simulated Canvas and an empty database.

    Attributes:
        project: The location's `CanvasSync.project()`; all its tenants use the simulated Canvas.
        canvas: The simulated Canvas.
        database_url: Where the tables are.
        instance: An instance of Dagster's that ends with the test.
    """

    project: Project
    canvas: SimulatedCanvas
    database_url: str
    instance: dg.DagsterInstance

    def run(self, *steps: str, term: int | str | None = None, tenant: str | None = None) -> dict[str, dict[str, Any]]:
        """Materialize models, reports and steps, as a sync does.

        Args:
            steps: Their names; all by default. Steps at the end of a batch cannot be combined with others.
            term: Canvas id of a term, to run the assets per term; None runs the assets without a term.
            tenant: Slug of the tenant; the first tenant by default.

        Returns:
            Name → metadata of its materialization.

        Raises:
            dagster.Failure: A step failed. Exceptions of your functions are raised unchanged.
        """
        # Dagster's import takes 0.6 seconds, which tests of the simulator alone need not wait.
        from canvas_sync_dagster.assets.tenant_assets import tenant_assets  # noqa: PLC0415
        from canvas_sync_dagster.orchestration.term_partitions import register_terms  # noqa: PLC0415
        from canvas_sync_dagster.project.definitions import definitions_of  # noqa: PLC0415

        slug = tenant or self.project.settings.tenants[0].slug
        keys = tenant_assets(self.project, self.project.settings.tenant(slug)).keys
        if term is not None:
            register_terms(self.instance, slug, [str(term)])
        at_end = bool(steps) and set(steps) <= set(self.project.chain.at("end"))
        suffix = "end" if at_end else "root" if term is None else "term"
        job = definitions_of(self.project).resolve_job_def(f"{slug}__sync_{suffix}")
        result = job.execute_in_process(
            instance=self.instance,
            run_config=QUIET,
            partition_key=None if term is None else str(term),
            asset_selection=keys.all_of(steps) or None,
        )
        made = [event.materialization for event in result.get_asset_materialization_events()]
        return {keys.name_of(each.asset_key): {n: v.value for n, v in each.metadata.items()} for each in made}

    def deliver(self, *events: Mapping[str, Any], tenant: str | None = None) -> dict[str, int]:
        """Store live events, such as those of `canvas.take_events()`, in the inbox, and apply them. Run a sync first.

        Args:
            events: Events as Canvas delivers them, without signature.
            tenant: Slug of the tenant; the first tenant by default.

        Returns:
            State → number of events: applied, ignored, failed, dead.
        """
        settings = self.project.settings
        chosen = settings.tenant(tenant or settings.tenants[0].slug)
        with self.project.session(chosen) as session:
            with session.warehouse("storing live events") as warehouse:
                ensure_partitions(warehouse)
                received = self.canvas.now + timedelta(minutes=1)
                protection = PayloadProtection.of(map(chosen.rules.of, self.project.models))
                store(warehouse, [protected_event(read_event(dict(each), received), protection) for each in events])
            return dict(drain(session).events)

    def terms(self, tenant: str | None = None) -> list[str]:
        """Return the partitions of a tenant's assets per term: the Canvas ids of its terms, after `terms` was run.

        Args:
            tenant: Slug of the tenant; the first tenant by default.
        """
        slug = tenant or self.project.settings.tenants[0].slug
        return list(self.instance.get_dynamic_partitions(term_partition_set(slug)))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of an SQL query."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()


@contextmanager
def code_location(file: str | Path = "definitions.py", *, size: str = "small") -> Iterator[LocationUnderTest]:
    """Load a code location with all its tenants on a simulated Canvas and an empty database, as a context manager.

    Args:
        file: Python file that contains a `CanvasSync` or definitions, `defs.yaml`, or directory of a dg project.
        size: Size of the simulated Canvas.

    Yields:
        The loaded code location.
    """
    import dagster as dg  # noqa: PLC0415 (as above)

    with (
        simulated_canvas(size) as canvas,
        embedded_postgres() as url,
        tempfile.TemporaryDirectory() as home,
        pytest.MonkeyPatch.context() as patch,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        connection = {"BASE_URL": canvas.base_url, "TOKEN": canvas.token, "DATABASE_URL": url, "HOME": home}
        for name, value in connection.items():
            patch.setenv(f"CANVAS_SYNC_{name}", value)
        found = find(None, Path(file)).project
        # Replaces the settings of the file, so that a test never uses a real Canvas.
        project = found.redirected(base_url=canvas.base_url, token=canvas.token, database_url=url, home=Path(home))
        yield LocationUnderTest(project, canvas, url, instance)


@pytest.fixture
def canvas() -> Iterator[SimulatedCanvas]:
    """A simulated Canvas."""
    with simulated_canvas() as serving:
        yield serving


@pytest.fixture
def database_url() -> Iterator[str]:
    """The URL of an empty database."""
    with embedded_postgres() as url:
        yield url


@pytest.fixture
def location(request: pytest.FixtureRequest) -> Iterator[LocationUnderTest]:
    """The code location of pytest's root directory: its `definitions.py`, or else its dg project."""
    root = request.config.rootpath
    with code_location(root / "definitions.py" if (root / "definitions.py").is_file() else root) as found:
        yield found
