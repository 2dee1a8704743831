"""The examples are whole code locations: they load, sync a simulated Canvas, and say what their comments say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jinja2
import psycopg
import pytest
import yaml

from canvas_sync_dagster.simulator import SimulatedCanvas

EXAMPLES = Path(__file__).parent.parent / "examples"
Rows = Callable[[str], list[tuple[object, ...]]]


@pytest.fixture
def environment(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> dict[str, str]:
    addresses = {f"{who}_URL": canvas.base_url for who in ("CANVAS", "NORTH", "SOUTH")}
    tokens = {f"{who}_TOKEN": canvas.token for who in ("CANVAS", "NORTH", "SOUTH")}
    own = {"WAREHOUSE_URL": database_url, "CANVAS_SYNC_HOME": str(tmp_path), "CANVAS_SYNC_POLL_SECONDS": "0.05"}
    # The instance of dagster.yaml would be the checkout's own.
    return {**os.environ, **addresses, **tokens, **own, "DAGSTER_HOME": str(tmp_path)}


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield lambda query: connection.execute(query).fetchall()


def canvas_sync(environment: dict[str, str], example: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "canvas_sync_dagster.cli", *arguments]
    location = ["-f", str(EXAMPLES / example / "definitions.py")]
    done = subprocess.run([*command, *location], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_tenants_land_in_schemas_of_their_own(environment: dict[str, str], rows: Rows) -> None:
    canvas_sync(environment, "two_tenants", "sync")
    north = rows("select canvas_term_id, count(*) from north.courses group by 1 order by 1")
    assert north
    assert rows("select canvas_term_id, count(*) from southern.courses group by 1 order by 1") == north
    # The term without dates is out of scope, by the function.
    assert {term for term, _ in north} <= {
        term for (term,) in rows("select canvas_id from north.terms where start_at is not null")
    }
    # A tenant has the tables of its own models only.
    assert rows("select to_regclass('north.users') is null, to_regclass('southern.users') is null") == [(False, True)]


def test_a_tenant_whose_canvas_is_not_there_keeps_nobody_from_syncing(environment: dict[str, str], rows: Rows) -> None:
    command = [sys.executable, "-m", "canvas_sync_dagster.cli", "sync", "-f"]
    done = subprocess.run(
        [*command, str(EXAMPLES / "two_tenants" / "definitions.py")],
        env=environment | {"NORTH_TOKEN": "expired"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.count("CANVAS_SYNC_TOKEN") == 1
    assert rows("select count(*) > 0 from southern.courses") == [(True,)]
    # The token is checked before a batch begins.
    assert rows("select to_regclass('north.canvas_sync_sync_batches')") == [(None,)]
    assert rows("select status from southern.canvas_sync_sync_batches") == [("completed",)]


def test_a_report_a_table_and_a_step_of_ones_own(environment: dict[str, str], rows: Rows) -> None:
    canvas_sync(environment, "custom_report", "sync")
    assert rows("select count(*) > 0, min(assignments) > 0 from canvas.assignments_per_course") == [(True, True)]
    assert rows("select count(*) from canvas.rubric_titles") == [(4,)]
    without = rows("select count(*) from canvas.users where email is null")
    assert rows("select count(*) from canvas.unreachable_users") == without


def test_dbt_sources_and_staging_models_are_those_that_the_command_writes(
    environment: dict[str, str], rows: Rows, tmp_path: Path
) -> None:
    canvas_sync(environment, "minimal", "sync")
    location = tmp_path / "definitions.py"
    location.write_text("from canvas_sync_dagster import CanvasSync\nsync = CanvasSync.from_environment()\n")
    command = [sys.executable, "-m", "canvas_sync_dagster.cli", "dbt-sources", "-f", str(location)]
    done = subprocess.run(
        [*command, "--staging", str(tmp_path / "staging")],
        env=environment | {"CANVAS_SYNC_DATABASE_URL": environment["WAREHOUSE_URL"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    ours = EXAMPLES / "dbt" / "models"
    assert (ours / "sources.yml").read_text() == done.stdout, "write it anew by `make docs`"
    written = {each.name: each.read_text() for each in (tmp_path / "staging").iterdir()}
    assert written == {each.name: each.read_text() for each in (ours / "staging").iterdir()}
    tables = {
        (each["name"], table["name"]): f"{each['schema']}.{table['name']}"
        for each in yaml.safe_load(done.stdout)["sources"]
        for table in each["tables"]
    }
    for name in ("terms", "courses", "enrollments"):
        # What dbt does with `source`, without dbt, which is not among our requirements.
        query = jinja2.Template(written[f"stg_canvas__{name}.sql"]).render(source=lambda *table: tables[table])
        assert rows(query), name


def test_every_example_is_in_the_list() -> None:
    listed = set(re.findall(r"\]\((\w+)", (EXAMPLES / "README.md").read_text()))
    assert listed == {each.name for each in EXAMPLES.iterdir() if each.is_dir()}
