"""The ops of a run share the connections to Canvas and to the database, which end with the run."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import psycopg
import pytest

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync import session
from canvas_sync_dagster.warehouse import kept_connections
from tests.fix_canvas import tenant_of

MODELS = ("terms", "courses", "assignments", "submissions")
OURS = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'canvas_sync'"


@pytest.mark.parametrize("own_client", [False, True])
def test_the_ops_of_a_run_share_a_session_unless_the_user_makes_the_clients(
    canvas: SimulatedCanvas, migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, own_client: bool
) -> None:
    sessions, connections = list[str](), list[str]()
    for module, name, opened in ((session, "connect_canvas", sessions), (kept_connections, "connect", connections)):
        real = getattr(module, name)

        def counted(*given: object, _real: object = real, _opened: list[str] = opened, **more: object) -> object:
            _opened.append("")
            return _real(*given, **more)  # type: ignore[operator]

        monkeypatch.setattr(module, name, counted)
    tenant = tenant_of(canvas, migrated_url, models=MODELS)
    sync = CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))
    if own_client:
        sync.client(lambda _tenant, _account: canvas.token)
    job = sync.definitions().resolve_job_def("canvas__sync_term")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("canvas_terms__canvas", ["118"])
        done = job.execute_in_process(instance=instance, partition_key="118")
    steps = sum(event.is_step_success for event in done.all_events)
    assert (done.success, steps) == (True, len(MODELS) - 1)
    assert len(sessions) == (steps if own_client else 1)
    assert len(connections) == 2 * len(sessions)
    with psycopg.connect(migrated_url) as admin:
        assert admin.execute(OURS).fetchone() == (0,)
