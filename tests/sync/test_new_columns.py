"""Columns that are added, dropped and added again, or linked anew, are filled by the next sync, whatever the digests are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.sync_status import read_status
from canvas_sync_dagster.warehouse.schema.migrate import Migration, migrate
from tests.fix_canvas import tenant_of


def project_of(canvas: SimulatedCanvas, url: str, home: Path, link: Callable[[CanvasSync], Any]) -> Project:
    tenant = tenant_of(canvas, url, models=["users", "courses"], full_sync_every="300 days")
    sync = CanvasSync(Settings(home=home, tenants=(tenant,)))
    link(sync)
    return sync.project()


def sync(project: Project, mode: Any = "auto") -> SyncOutcome:
    """Read the report of the users."""
    with project.session(project.settings.tenants[0]) as session:
        group = next(each for each in report_groups(session.models) if "users" in {m.name for m in each.models})
        return sync_report(Flow.of(session, SyncOptions(mode=mode)), group, {"users"})


def coming(project: Project, url: str) -> Decision:
    """Return what `status` predicts of the next sync of the users."""
    (tenant,) = project.settings.tenants
    found = read_status(CoveredTerms(tenant, url, project.models_of(tenant)))
    (decision,) = [each.coming for each in found if each.model == "users"]
    assert decision is not None
    return decision


def migrated(project: Project, url: str) -> Migration:
    (tenant,) = project.settings.tenants
    return migrate(url, "canvas", project.models_of(tenant))


def test_the_next_sync_is_full_and_fills_every_column_that_the_last_full_one_has_not(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    def values(columns: str) -> list[Any]:
        return connection.execute(f"select {columns} from canvas.users order by canvas_id".encode()).fetchall()

    plain = project_of(canvas, database_url, tmp_path, lambda _: None)
    sync(plain)
    with psycopg.connect(database_url, autocommit=True) as connection:
        good = values("first_name, last_name, updated_at")
        canvas.advance(hours=3)
        assert (sync(plain).decision.mode, coming(plain, database_url).mode) == ("incremental", "incremental")

        # Dropped and added again, by `migrate` and by hand: the digests of all rows still match.
        connection.execute("alter table canvas.users drop column first_name, drop column last_name")
        connection.execute("alter table canvas.users add column last_name text")
        assert migrated(plain, database_url).filled_next == {"users": ("first_name",)}
        reason = "columns that the last full sync did not fill: first_name, last_name"
        assert coming(plain, database_url) == Decision(None, reason)
        # A person's request for an incremental sync is followed, and does not use up the full one.
        assert sync(plain, "incremental").decision.mode == "incremental"
        # A live event confirms a row while the report is compiled: the row is newer, and the next full sync fills it.
        connection.execute("update canvas.users set observed_at = now() + interval '1 minute' where canvas_id = 1002")
        done = sync(plain)
        assert done.decision == Decision(None, reason)
        counts = done.models[0].counts
        assert (counts.updated, counts.superseded) == (sum(bool(first or last) for first, last, _ in good) - 1, 1)
        assert sync(plain).decision.mode == "incremental"
        connection.execute("update canvas.users set observed_at = null where canvas_id = 1002")
        assert sync(plain, "full").models[0].counts.updated == 1
        assert values("first_name, last_name") == [row[:2] for row in good]

        # A header is linked to a new column, and one to a column that the table has already.
        connection.execute("alter table canvas.users add column nickname text")

        def link(sync: CanvasSync) -> None:
            sync.mapping("users").link_column("full_name", "name_in_report")
            sync.mapping("users").link_column("login_id", "nickname")

        linked = project_of(canvas, database_url, tmp_path, link)
        assert migrated(linked, database_url).filled_next == {"users": ("name_in_report",)}
        assert coming(linked, database_url).reason.endswith(": name_in_report, nickname")
        assert sync(linked).decision.mode == "full"
        ((empty,),) = connection.execute(
            "select count(*) from canvas.users where missing_since is null and "
            "(name_in_report is distinct from name or nickname is distinct from login_id)"
        ).fetchall()
        assert empty == 0

        # Linked to another header: the column was filled, but not from this one.
        other = project_of(
            canvas, database_url, tmp_path, lambda sync: sync.mapping("users").link_column("email", "nickname")
        )
        assert coming(other, database_url).reason.endswith(": nickname")
        sync(other)
        assert (sync(other).decision.mode, coming(other, database_url).mode) == ("incremental", "incremental")
