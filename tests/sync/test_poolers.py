"""Migrate, sync, live events, status and Dagster's storage through the real pgbouncer, in both of its modes."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import psycopg
import pytest
from click.testing import CliRunner

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.instance_storage import DATABASE_URL
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.live_events.serve import receiver
from canvas_sync_dagster.live_events.uvicorn_server import served
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas, deliver
from canvas_sync_dagster.warehouse.schema.migrate import migrate, plan
from tests.fix_canvas import session_of, tenant_of
from tests.fix_pgbouncer import needs_pgbouncer, pgbouncer
from tests.test_instance_storage import INSTANCE
from tests.truth import actual, expected, sync_structure

NAMES = "Zoë Čapek 渡辺"
"""Two bytes, two bytes beyond LATIN1, three bytes."""


def spoil(url: str) -> None:
    """Sets what must not count, on the database, as administrators do."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in (
            "client_encoding = 'LATIN1'",
            "timezone = 'Asia/Tokyo'",
            "datestyle = 'German'",
            "default_transaction_isolation = 'serializable'",
        ):
            connection.execute(f"alter database {connection.info.dbname} set {setting}".encode())


@needs_pgbouncer
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_everything_works_through_a_pooler(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    spoil(database_url)
    truth = f"{database_url}&client_encoding=UTF8&options=-c%20datestyle%3DISO"
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    canvas.university.set("users", pl.col("id") == 1002, last_name=NAMES)
    with pgbouncer(database_url, mode, default_pool_size=6) as url, session_of(canvas, url, tmp_path) as session:
        migrate(url, "canvas", BUILT_IN)
        assert plan(url, "canvas", BUILT_IN).changes == ()
        for _ in range(2):
            sync_structure(session)
        for model in ("users", "courses", "enrollments"):
            have, want = actual(truth, model), expected(canvas, model)
            assert have == {**have, **want}, model
        canvas.take_events()
        canvas.advance(hours=1)
        canvas.university.set("users", pl.col("id") == 1002, last_name=NAMES * 2)
        settings = Settings(home=tmp_path, tenants=(tenant_of(canvas, url),), jwk_url=canvas.jwk_url)
        with served(receiver(settings, BUILT_IN)) as base:
            assert deliver(base + PATH, canvas.signer, canvas.take_events()) == [200]
        assert drain(session).events == {"applied": 1}
        assert actual(truth, "users")[1002]["name"].endswith(NAMES * 2)
        variables = {"BASE_URL": canvas.base_url, "TOKEN": canvas.token, "DATABASE_URL": url, "HOME": str(tmp_path)}
        status = CliRunner().invoke(main, ["status"], env={f"CANVAS_SYNC_{n}": v for n, v in variables.items()})
        assert (status.exit_code, "enrollments" in status.output) == (0, True), status.output
        doctor = CliRunner().invoke(main, ["doctor"], env={f"CANVAS_SYNC_{n}": v for n, v in variables.items()})
        assert f"{mode} pooler is between here and the server" in doctor.output
        monkeypatch.setenv(DATABASE_URL, url)
        (tmp_path / "dagster.yaml").write_text(INSTANCE)
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            instance.add_dynamic_partitions("terms", [NAMES])
            assert list(instance.get_dynamic_partitions("terms")) == [NAMES]
    with psycopg.connect(truth) as connection:
        assert connection.execute("select partition from dynamic_partitions").fetchall() == [(NAMES,)]
