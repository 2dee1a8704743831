"""A year of syncs and housekeeping, in steps of a hundred days: no table of Dagster's storage or of ours grows for ever."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.utils import make_new_backfill_id
from psycopg import sql

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.instance_storage import DATABASE_URL
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.warehouse.state.housekeeping import KEPT
from tests.fix_canvas import tenant_of
from tests.test_instance_storage import INSTANCE

DAYS = 100
"""Days of a step: more than Dagster's runs and everything of ours but the batches are kept."""
SETTLED, STEPS = 4, 6
"""After so many steps nothing may grow: batches are kept for a year. All steps are 600 days."""
MODELS = ("terms", "courses")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
EVERY = sql.SQL("")
COUNTED = {"event_logs": sql.SQL("where dagster_event_type is not null")}
"""A slow report has more lines in the log of its run: one for each look at it."""
LEFT = """
insert into canvas.canvas_sync_rejected_rows (model, line, reason) values ('courses', 1, 'too long');
insert into canvas.canvas_sync_live_events (event_name, content_hash, payload, state) values
    ('old', sha256(random()::text::bytea), '{}', 'applied'), ('bad', sha256(random()::text::bytea), '{}', 'dead');
with walk as (insert into canvas.canvas_sync_walks (model, scope, fingerprint) values ('groups', '', '') returning id),
    parent as (insert into canvas.canvas_sync_walk_parents (walk_id, parent, result) select id, 1, 'read' from walk)
insert into canvas.canvas_sync_walk_rows (walk_id, content) select id, '' from walk
"""
"""What syncs leave that not every sync does: rejects, settled events, an interrupted walk."""


@pytest.fixture
def instance(
    postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text(INSTANCE)
    monkeypatch.setenv(DATABASE_URL, postgres.database("dagster_of_a_year"))
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


def all_tables(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname in ('canvas', 'public') order by 2"
        ).fetchall()
        counts = {
            name: connection.execute(
                sql.SQL("select count(*) from {} {}").format(sql.Identifier(schema, name), COUNTED.get(name, EVERY))
            ).fetchone()
            for schema, name in names
        }
    return {name: count[0] for name, count in counts.items() if count}


def make_older(url: str) -> None:
    """Make everything older by the days of a step: each column of a time, and the seconds of Dagster's runs."""
    with psycopg.connect(url, autocommit=True) as connection:
        columns = connection.execute(
            "select table_schema, table_name, array_agg(column_name::text) from information_schema.columns c "
            "join pg_class on relname = table_name and relnamespace = table_schema::regnamespace and relkind in ('r', 'p') "
            "and not relispartition where table_schema in ('canvas', 'public') and is_generated = 'NEVER' "
            "and data_type in ('date', 'timestamp without time zone', 'timestamp with time zone') group by 1, 2"
        ).fetchall()
        for schema, table, names in columns:
            changes = sql.SQL(", ").join(
                sql.SQL("{0} = {0} - interval '{1} days'").format(sql.Identifier(name), sql.Literal(DAYS))
                for name in names
            )
            connection.execute(sql.SQL("update {} set {}").format(sql.Identifier(schema, table), changes))
        if ("public", "runs") in {(schema, table) for schema, table, _ in columns}:
            connection.execute(
                "update runs set start_time = start_time - %s, end_time = end_time - %s", [DAYS * 86400] * 2
            )


def sync(instance: dg.DagsterInstance, definitions: dg.Definitions, service: BatchService, number: int) -> None:
    """Sync one term as a batch, with an event of Dagster that belongs to no run."""
    batch = service.open(str(number))
    assert batch is not None
    runs = []
    for job, term in (("canvas__sync_root", None), ("canvas__sync_term", "118")):
        done = definitions.resolve_job_def(job).execute_in_process(
            instance=instance, partition_key=term, tags={BATCH_TAG: batch.key}, run_config=QUIET
        )
        assert done.success
        runs.append(done.run_id)
    service.note_terms(batch, ["118"])
    assert service.close(batch, "completed", "all done", runs)
    courses = dg.AssetKey(["canvas", "courses"])
    instance.report_runless_asset_event(dg.AssetObservation(courses))
    # Its time is inside of a text of Dagster's, which `make_older` does not change.
    made, success = time.time() - DAYS * 86400, BulkActionStatus.COMPLETED_SUCCESS
    ended = PartitionBackfill(make_new_backfill_id(), success, False, {}, made, asset_selection=[courses])
    instance.add_backfill(ended)
    with psycopg.connect(service.url) as connection:
        connection.execute(LEFT)


def test_no_table_grows_for_ever(
    instance: dg.DagsterInstance, canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    tenant = tenant_of(canvas, database_url, models=MODELS, term_scope="118")
    sync_of_tenant = CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))
    definitions, models = sync_of_tenant.definitions(), tenant.chosen(BUILT_IN)
    service, url = BatchService(tenant, database_url, models), os.environ[DATABASE_URL]
    housekeeping = definitions.resolve_job_def("canvas__housekeeping")
    sizes: list[dict[str, int]] = []
    for step in range(STEPS):
        sync(instance, definitions, service, step)
        for each in (url, database_url):
            make_older(each)
        assert housekeeping.execute_in_process(instance=instance, run_config=QUIET).success
        output = len(list(tmp_path.rglob("*.complete")))
        sizes.append({**all_tables(url), **all_tables(database_url), "captured output": output})
    grown = {name: [size[name] for size in sizes] for name in sizes[-1] if sizes[-1][name] > sizes[SETTLED][name]}
    assert grown == {}
    # Nothing is bounded because it was never there.
    ours = {name for name in sizes[-1] if name in KEPT}
    assert ours == KEPT.keys()
