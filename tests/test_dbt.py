"""examples/dbt and docs/how-to/dbt.md with a real dagster-dbt, in an environment of its own: `.ci/dbt`."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import psycopg
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.test_docs import ROOT, blocks

pytest.importorskip("dagster_dbt")
from dbt.cli.main import dbtRunner  # type: ignore[import-not-found]

MARTS = ("active_enrollments", "activity", "grade_distribution", "missing_submissions")


@pytest.fixture
def project(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Copy the example, and point it to the database of the test."""
    shutil.copytree(ROOT / "examples" / "dbt", tmp_path / "dbt")
    parts = psycopg.conninfo.conninfo_to_dict(database_url)
    named = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    for part, name in named.items():
        if part in parts:
            monkeypatch.setenv(name, str(parts[part]))
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path / "dbt"))
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("WAREHOUSE_URL", database_url)
    yield tmp_path / "dbt"
    sys.modules.pop("definitions", None)
    sys.modules.pop("dbt_location", None)


def load(directory: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(directory)
    return importlib.import_module(name)


@pytest.mark.filterwarnings("ignore")
def test_the_example_is_built_and_tested_term_by_term_after_a_sync(
    canvas: SimulatedCanvas, database_url: str, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = {
        "CANVAS_URL": canvas.base_url,
        "CANVAS_TOKEN": canvas.token,
        "CANVAS_SYNC_HOME": str(tmp_path),
        "CANVAS_SYNC_POLL_SECONDS": "0.05",
        "DAGSTER_HOME": str(tmp_path),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "canvas_sync_dagster.cli", "sync", "-f", str(project / "definitions.py")]
    subprocess.run([*command, "--term-scope", "all"], check=True)
    location = load(project, "definitions", monkeypatch)
    graph = location.defs.resolve_asset_graph()
    assert graph.get(dg.AssetKey("stg_canvas__courses")).parent_keys == {dg.AssetKey(["canvas", "courses"])}
    assert graph.get(dg.AssetKey("activity")).partitions_def.name == "canvas_terms__canvas"

    def rows(query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(database_url, autocommit=True) as connection:
            return sorted(connection.execute(query.encode()).fetchall())

    submitted = (
        "select canvas_term_id from canvas.submissions s join canvas.courses c on c.canvas_id = canvas_course_id"
    )
    busiest = f"{submitted} group by 1 order by count(*) desc limit 2"
    terms = [str(term) for (term,) in rows(busiest)]
    resources = {"dbt": location.defs.resources["dbt"]}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("canvas_terms__canvas", terms)
        assert dg.materialize([location.staging], resources=resources, instance=instance).success
        for term in (*terms, terms[0]):
            assert dg.materialize([location.marts], resources=resources, instance=instance, partition_key=term).success
    # The second run of a term replaced its rows. The marts contain what the tables give without dbt.
    of_terms = f"c.canvas_term_id in ({', '.join(terms)}) and c.workflow_state <> 'deleted'"
    assert rows("select * from analytics.active_enrollments") == rows(
        "select c.canvas_term_id, e.base_role_type, count(*), count(distinct e.canvas_user_id) from canvas.enrollments e "
        "join canvas.courses c on c.canvas_id = e.canvas_course_id "
        f"where e.workflow_state = 'active' and {of_terms} group by 1, 2"
    )
    assert rows("select canvas_term_id, sum(submissions)::bigint from analytics.activity group by 1") == rows(
        "select canvas_term_id, count(*) from canvas.submissions s join canvas.courses c on c.canvas_id = s.canvas_course_id "
        f"where submitted_at is not null and s.workflow_state <> 'deleted' and {of_terms} group by 1"
    )
    for mart in MARTS:
        assert rows(f"select count(*) > 0 from analytics.{mart}") == [(True,)], mart
    place = ["--project-dir", str(project), "--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path)]
    for command in (["parse", "--warn-error"], ["test", "--select", "source:*"]):
        assert dbtRunner().invoke([*command, *place]).success, command
    # The simulated Canvas's clock does not go with ours.
    with psycopg.connect(database_url, autocommit=True) as connection:
        for name in (model.name for model in BUILT_IN):
            connection.execute(f"update canvas.{name} set observed_at = now()".encode())
    assert dbtRunner().invoke(["source", "freshness", *place]).success
    results = json.loads((tmp_path / "target" / "sources.json").read_text())["results"]
    assert [each["status"] for each in results] == ["pass"] * 30


@pytest.mark.filterwarnings("ignore")
def test_the_location_of_the_page_has_dbt_downstream_of_the_tables(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = "models: [terms, courses, enrollments], database_url: postgresql://u@h/warehouse"
    (tmp_path / "canvas_sync.yaml").write_text(f"tenants: {{canvas: {{{settings}}}}}")
    (tmp_path / "dbt_location.py").write_text("\n".join(blocks("docs/how-to/dbt.md", "python")))
    graph = load(tmp_path, "dbt_location", monkeypatch).defs.resolve_asset_graph()
    courses = graph.get(dg.AssetKey(["canvas", "courses"]))
    staged = graph.get(dg.AssetKey("stg_canvas__courses"))
    assert staged.parent_keys == {courses.key}
    assert courses.metadata["dagster/table_name"] == "warehouse.canvas.courses"
    assert staged.metadata["dagster/table_name"].endswith(".analytics.stg_canvas__courses")
