"""Columns that a report has and the model does not declare: warned of, added to the table, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.commands.checks.database import headers
from canvas_sync_dagster.commands.checks.finding import Checked, Level
from canvas_sync_dagster.commands.location import Location
from canvas_sync_dagster.errors import HeaderContractError, SettingError
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from tests.fix_canvas import tenant_of

TERM = "118"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def project_of(canvas: SimulatedCanvas, url: str, home: Path, **settings: Any) -> Project:
    return CanvasSync(Settings(home=home, tenants=(tenant_of(canvas, url, **settings),))).project()


def sync(project: Project, *names: str, mode: Any = "auto") -> SyncOutcome:
    """Read the report of models for a term, or for the account."""
    with project.session(project.settings.tenants[0]) as session:
        group = next(each for each in report_groups(session.models) if {*names} <= {m.name for m in each.models})
        scope = TERM if group.term_scoped else ""
        return sync_report(Flow.of(session, SyncOptions(mode=mode), scope), group, {*names})


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(text.encode()).fetchall()


def test_fail_publishes_nothing_and_names_the_columns(canvas: SimulatedCanvas, database_url: str, home: Path) -> None:
    project = project_of(canvas, database_url, home, unknown_columns={"courses": "fail"})
    canvas.faults.add("unknown_column")
    with pytest.raises(HeaderContractError, match=r"courses: pronouns\), and the setting unknown_columns is fail"):
        sync(project, "courses", "sections")
    assert query(database_url, "select count(*) from canvas.sections") == [(0,)]
    sync(project, "courses", "sections")
    assert query(database_url, "select count(*) > 0 from canvas.courses") == [(True,)]


def test_add_keeps_each_column_as_text_and_fills_it_for_all_rows_by_the_next_sync(
    canvas: SimulatedCanvas, database_url: str, home: Path
) -> None:
    sync(project_of(canvas, database_url, home), "courses")
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table canvas.courses add column pronouns text default 'mine'")
    project = project_of(canvas, database_url, home, unknown_columns="add", exclude=["courses.course_code"])
    canvas.advance(hours=3)
    for mode, reason in (
        ("incremental", "since the last success"),
        ("full", "columns that the last full sync did not fill: "),
    ):
        canvas.faults.add("unknown_column")
        outcome = sync(project, "courses")
        assert (outcome.decision.mode, reason in outcome.decision.reason) == (mode, True), outcome.decision.reason
        assert outcome.models[0].header is not None and not outcome.models[0].header.unknown
    # The user's own column of this name is left alone. What the catalogue knows and does not keep is kept, too.
    listed = "missing_since is null and canvas_term_id = 118"
    assert query(database_url, f"select distinct pronouns, pronouns_2 from canvas.courses where {listed}") == [
        ("mine", "?")
    ]
    filled = query(database_url, f"select count(*) = count(created_by_sis) from canvas.courses where {listed}")
    assert filled == [(True,)]
    names = {
        name
        for (name,) in query(
            database_url, "select column_name from information_schema.columns where table_name = 'courses'"
        )
    }
    assert "short_name" not in names
    # A report without the column, and a setting that is no longer add, leave the table usable.
    canvas.advance(hours=3)
    sync(project, "courses", mode="full")
    outcome = sync(project_of(canvas, database_url, home), "courses", mode="full")
    assert outcome.models[0].counts.rejected == 0


def test_doctor_shows_the_observed_header_of_an_assumed_one_as_a_mapping(
    canvas: SimulatedCanvas, database_url: str, home: Path
) -> None:
    project = project_of(canvas, database_url, home, models=["content_migrations", "scores"])
    canvas.faults.add("unknown_column")
    sync(project, "content_migrations")
    checked = Checked(Location(project), project.settings.tenants[0])
    with psycopg.connect(database_url) as connection:
        found = list(headers(checked, connection))
    (shown,) = [each for each in found if "content_migrations" in each.message and each.level is Level.NOTE]
    assert "also has pronouns" in shown.message
    assert 'mappings: {content_migrations: {columns: {"canvas_content_migration_id": "canvas_id"' in shown.details
    assert '"pronouns": "pronouns"}}}' in shown.details
    assert any("scores are assumed; the first sync" in each.message for each in found)
    settings = Settings.from_content(
        {"tenants": {"canvas": {}}, **yaml.safe_load(shown.details)},
        {},
        source=home / "canvas_sync.yaml",
    )
    (model,) = [each for each in settings.models() if each.name == "content_migrations"]
    assert model["pronouns"].report == ("pronouns",)


def test_a_wrong_value_is_refused(canvas: SimulatedCanvas, home: Path) -> None:
    with pytest.raises(SettingError, match="unknown_columns is 'people': unknown model"):
        project_of(canvas, "postgresql://x@y.test/z", home, unknown_columns={"people": "add"})
    with pytest.raises(SettingError, match=r"CANVAS_SYNC_UNKNOWN_COLUMNS is 'keep': .* Allowed: warn, add or fail"):
        CanvasSync.from_environment({"CANVAS_SYNC_UNKNOWN_COLUMNS": "keep"}, directory=home)
