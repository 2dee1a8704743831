"""Tables whose keys are called as the gem's old mappings called them go all the way."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import psycopg

from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.reconciliation import reconcile
from canvas_sync_dagster.sync.terms import read_terms
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.fix_canvas import session_of
from tests.truth import live_term_ids, sync_everything

MODELS = Settings(legacy_ids=True).models()


def test_a_sync_under_legacy_ids(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> None:
    migrate(database_url, "legacy", MODELS)
    with session_of(canvas, database_url, tmp_path, MODELS, schema="legacy") as session:
        outcomes = sync_everything(session)
        assert live_term_ids(session) == ["1", "116", "117", "118"]
        assert outcomes["enrollments", "118"].orphans == {"courses": 0, "sections": 0, "users": 0}
        canvas.advance(minutes=1)
        canvas.university.enrollments = canvas.university.enrollments.filter(pl.col("id") != 4_000_002)
        again = sync_everything(session, SyncOptions(mode="full"))
        assert again["enrollments", "118"].suspects == 1
        assert reconcile(session, session.by_name["enrollments"]).deleted == 1
        with connect(database_url) as connection:
            assert len(read_terms(Warehouse(connection, "legacy").table(session.by_name["terms"]))) == 5
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select canvas_course_id, canvas_term_id from legacy.courses where canvas_course_id = 2003"
        )
        assert rows.fetchall() == [(2003, 118)]
