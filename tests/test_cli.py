"""The commands that people type."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from canvas_sync_dagster.commands.instance import dagster_instance
from canvas_sync_dagster.embedded import EmbeddedPostgres


def canvas_sync(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_SYNC_", "DAGSTER_"))
    }
    environment |= {"CANVAS_SYNC_HOME": str(home / ".canvas_sync"), **variables}
    command = [sys.executable, "-m", "canvas_sync_dagster.cli", *arguments]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)


def test_the_demo_lands_a_university_and_a_second_one_writes_nothing(tmp_path: Path) -> None:
    first = canvas_sync(tmp_path, "demo")
    assert first.returncode == 0, first.stderr
    line = re.search(r"submissions +4 +(\d+) +(\d+) +0 +0 ", first.stdout)
    assert line
    assert line[1] == line[2]
    second = canvas_sync(tmp_path, "demo")
    assert second.returncode == 0, second.stderr
    assert "Nothing had changed, and nothing was written" in second.stdout
    shown = canvas_sync(tmp_path, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    assert [tenant["problems"] for tenant in json.loads(shown.stdout)] == [[]]
    with (
        EmbeddedPostgres(tmp_path / ".canvas_sync") as server,
        psycopg.connect(server.database("demo_small")) as connection,
    ):
        assert connection.execute("select count(*) from canvas.users").fetchone() == (38,)


def test_migrate_checks_prints_and_creates(tmp_path: Path, database_url: str) -> None:
    variables = {"CANVAS_SYNC_DATABASE_URL": database_url}
    check = canvas_sync(tmp_path, "migrate", "--check", **variables)
    assert (check.returncode, "missing: create table courses" in check.stdout) == (1, True)
    assert "CREATE TABLE canvas.courses" in canvas_sync(tmp_path, "migrate", "--sql", **variables).stdout
    assert canvas_sync(tmp_path, "migrate", **variables).returncode == 0
    check = canvas_sync(tmp_path, "migrate", "--check", **variables)
    assert (check.returncode, check.stdout) == (0, "canvas: nothing is missing\n")
    assert re.fullmatch(r"canvas: last migrated \S+ \d\d:\d\d UTC by canvas-sync-dagster \d\S*\n", check.stderr)


@pytest.mark.parametrize(
    ("variables", "code", "says"),
    [
        ({"CANVAS_SYNC_POLL_SECONDS": "often"}, 2, "CANVAS_SYNC_POLL_SECONDS"),
        ({"CANVAS_SYNC_DATABASE_URL": "postgresql://u:hidden@127.0.0.1:9/x"}, 1, "cannot reach"),
    ],
)
def test_an_error_is_one_line_and_the_right_exit_code(
    tmp_path: Path, variables: dict[str, str], code: int, says: str
) -> None:
    done = canvas_sync(tmp_path, "migrate", **variables)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr + done.stdout


def test_legacy_support_names_models_that_have_a_function_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from canvas_sync_dagster import CanvasSync\n"
        "sync = CanvasSync.from_environment()\n"
        "sync.row_by_row('users', print)\n"
    )
    asked = canvas_sync(tmp_path, "sync", "-m", "own", "--legacy-support", "users,courses")
    assert asked.returncode == 2
    assert "no function takes the rows of courses" in asked.stderr
    assert "Allowed: all, none, or of users" in asked.stderr


def test_wrong_usage_is_exit_code_two(tmp_path: Path) -> None:
    assert canvas_sync(tmp_path, "migrate", "--no-such").returncode == 2
    assert canvas_sync(tmp_path, "migrate", "--tenant", "nobody").returncode == 2


def test_a_sync_without_a_dagster_instance_says_where_to_name_one(tmp_path: Path) -> None:
    for variables in ({}, {"DAGSTER_HOME": str(tmp_path / "nowhere")}):
        done = canvas_sync(tmp_path, "sync", "--models", "terms", **variables)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith("error: DAGSTER_HOME")


def test_the_dagster_yaml_of_the_working_directory_names_the_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nstorage: {sqlite: {base_dir: kept}}\nrun_monitoring: {enabled: true}\n"
    )
    with dagster_instance(tmp_path / "home") as instance:
        assert instance.run_monitoring_enabled
    assert {path.name for path in tmp_path.iterdir()} == {"dagster.yaml", "home", "kept"}
