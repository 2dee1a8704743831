"""`sync`, `status` and `doctor`, as people and their scripts call them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.warehouse.state.job_logs import CANCELLED
from tests.commands.logs import logfmt

INSTANCE = "telemetry: {enabled: false}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(INSTANCE)
    return tmp_path


def environment(home: Path, canvas: SimulatedCanvas, url: str, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CANVAS_SYNC_", "DAGSTER_"))}
    return {
        **kept,
        "DAGSTER_HOME": str(home / "dagster"),
        "CANVAS_SYNC_HOME": str(home),
        "CANVAS_SYNC_BASE_URL": canvas.base_url,
        "CANVAS_SYNC_TOKEN": canvas.token,
        "CANVAS_SYNC_DATABASE_URL": url,
        "CANVAS_SYNC_POLL_SECONDS": "0.05",
        "CANVAS_SYNC_MODELS": "terms,users,courses",
        "CANVAS_SYNC_TERM_SCOPE": "118",
        "DATASERVICES_JWK_URL": canvas.jwk_url,
        **variables,
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "canvas_sync_dagster.cli", *arguments]


def called(home: Path, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=home, env=variables, capture_output=True, text=True, check=False, timeout=120
    )


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_status_tells_how_each_model_was_synced_why_and_what_comes_next(
    home: Path, canvas: SimulatedCanvas, database_url: str
) -> None:
    variables = environment(home, canvas, database_url)
    done = called(home, variables, "sync")
    assert done.returncode == 0, done.stderr
    assert 'mode_reason="no earlier full sync of this scope"' in done.stdout
    assert "complete, 100 %" in done.stdout
    (told,) = json.loads(called(home, variables, "status", "--json").stdout)
    assert (told["batch"]["status"], told["batch"]["reason"]) == ("completed", "1 terms done")
    models = {each["model"]: each for each in told["models"]}
    (courses,) = models["courses"]["scopes"]
    assert (courses["term"], courses["stale"], courses["last"]["status"]) == ("118", False, "success")
    assert courses["last"]["mode_reason"] == "no earlier full sync of this scope"
    assert courses["next"]["mode"] == "incremental"
    assert models["terms"]["scopes"][0]["next"]["mode_reason"] == "a list over REST is always read in full"
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into canvas.canvas_sync_alerts (channel, kind, subject, condition, attempts, error) "
            "values ('webhook', 'stale_table', 'users', '{}', 1, 'the webhook at x answered 500')"
        )
    shown = called(home, variables | {"CANVAS_SYNC_TERM_SCOPE": "116"}, "status", "--by-term").stdout
    assert shown.startswith("canvas: 2 things need attention\n  ! stale: courses.")
    assert "alerts not delivered by webhook: 1, and sent again later: the webhook at x answered 500" in shown
    assert "out of scope" in shown
    assert "stale" in shown


def test_status_knows_that_a_model_which_was_left_out_makes_the_next_sync_full(
    home: Path, canvas: SimulatedCanvas, database_url: str
) -> None:
    variables = environment(home, canvas, database_url, CANVAS_SYNC_MODELS="users,pseudonyms")
    assert called(home, variables, "sync", "--models", "users").returncode == 0
    (told,) = json.loads(called(home, variables, "status", "--json").stdout)
    coming = {each["model"]: each["scopes"][0]["next"]["mode"] for each in told["models"]}
    assert coming == {"users": "full", "pseudonyms": "full"}


def test_one_tenants_trouble_keeps_nobody_from_anything_and_is_told(
    home: Path, canvas: SimulatedCanvas, database_url: str
) -> None:
    own = f"base_url: '{canvas.base_url}', token: {canvas.token}"
    (home / "canvas_sync.yaml").write_text(
        f"tenants:\n  good: {{{own}, database_url: '{database_url}'}}\n  wrong: {{{own}, schedule: daily}}\n"
        f"  away: {{{own}, database_url: 'postgresql://u:hidden@127.0.0.1:9/x'}}\n"
    )
    variables = environment(home, canvas, database_url)
    for name in ("BASE_URL", "TOKEN", "DATABASE_URL"):
        del variables[f"CANVAS_SYNC_{name}"]
    done = called(home, variables, "sync")
    assert done.returncode == 1
    assert rows(database_url, "select status from good.canvas_sync_sync_batches") == [("completed",)]
    told = {"sync": done, "status": called(home, variables, "status"), "doctor": called(home, variables, "doctor")}
    for name, each in told.items():
        said = each.stdout + each.stderr
        assert each.returncode == 1, name
        assert "tenants.wrong.schedule is 'daily'" in said, name
        assert "cannot reach x at 127.0.0.1:9" in said, name
        assert "hidden" not in said, name
    assert "courses" in told["status"].stdout
    assert "schema good has all tables" in told["doctor"].stdout
    assert called(home, variables, "status", "--tenant", "good").returncode == 0
    assert called(home, variables, "status", "--tenant", "wrong").returncode == 2


def test_ctrl_c_ends_the_whole_sync_and_leaves_nothing_open(home: Path, database_url: str) -> None:
    with SimulatedCanvas(compile_seconds=60).serve() as canvas:
        variables = environment(home, canvas, database_url, CANVAS_SYNC_MODELS="terms,courses")
        with subprocess.Popen(
            command("sync"), cwd=home, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            deadline = threading.Timer(120, process.kill)
            deadline.start()
            assert process.stdout is not None
            for line in process.stdout:
                if "running" in line:
                    process.send_signal(signal.SIGINT)
                    break
            rest = process.stdout.read()
            assert process.wait(60) == 1
            deadline.cancel()
    assert "begin" not in rest
    assert rows(database_url, "select status, metadata->>'reason' from canvas.canvas_sync_sync_batches") == [
        ("failed", CANCELLED)
    ]
    query = "select status, exception, backtrace from canvas.canvas_sync_job_logs where status != 'success'"
    assert set(rows(database_url, query)) == {("error", CANCELLED, None)}
    assert "cancelled" in called(home, variables, "status").stdout


def until_running(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if "running" in line:
            return
    raise AssertionError("it ended before a report was running")


def test_a_killed_sync_can_be_run_again_at_once_and_a_second_one_beside_it_is_refused(
    home: Path, database_url: str
) -> None:
    # One place in the pool: a killed sync must not keep it.
    (home / "dagster" / "dagster.yaml").write_text(INSTANCE + "concurrency: {pools: {default_limit: 1}}\n")
    with SimulatedCanvas(compile_seconds=600).serve() as canvas:
        variables = environment(home, canvas, database_url, CANVAS_SYNC_MODELS="terms,users")
        with subprocess.Popen(
            command("sync"), cwd=home, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            until_running(process)
            refused = called(home, variables, "sync")
            process.kill()
        canvas.queue.compile_seconds = 0
        again = called(home, variables, "sync")
    assert refused.returncode == 1
    (said,) = refused.stderr.strip().splitlines()
    assert said == (
        "error: a sync of canvas (default) is under way already, so this one was not started; "
        "`canvas-sync status` shows it"
    )
    assert again.returncode == 0, again.stderr
    assert "was started before and is adopted" in again.stdout
    query = "select status, metadata->>'reason' from canvas.canvas_sync_sync_batches order by id"
    assert rows(database_url, query) == [("failed", "its process is gone"), ("completed", "all done")]
    assert rows(database_url, "select 1 from canvas.canvas_sync_job_logs where status = 'running'") == []


def test_on_failure_is_called_once_for_a_run_of_the_command(
    home: Path, canvas: SimulatedCanvas, database_url: str
) -> None:
    (home / "own.py").write_text(
        "from pathlib import Path\nfrom canvas_sync_dagster import CanvasSync\nsync = CanvasSync.from_environment()\n"
        "@sync.report('rubrics_csv')\ndef broken(report, context):\n    raise RuntimeError('no')\n"
        "@sync.on_failure\ndef failed(error, *, tenant, job_log, run, session):\n"
        "    with Path('told').open('a') as file:\n"
        "        print(tenant, job_log['job_class'], job_log['status'], run.job_name, file=file)\n"
        "        print(isinstance(error, RuntimeError), error, error.step, session.schema, file=file)\n"
        "@sync.on_failure\ndef worse(error, **given):\n    raise RuntimeError('this hurts nothing')\n"
        "@sync.insert(at='end')\ndef last(context):\n"
        "    with Path('told').open('a') as file:\n"
        "        print(context.batch['status'], context.batch['reason'], file=file)\n"
        "@sync.on_sync('complete')\ndef over(batch, *, tenant, session):\n"
        "    with Path('told').open('a') as file:\n        print(batch['status'], tenant, session.schema, file=file)\n"
    )
    done = called(home, environment(home, canvas, database_url), "sync", "-f", "own.py")
    assert done.returncode == 1
    finished = logfmt(done.stdout)[-1]
    assert (finished["event"], finished["status"], finished["failed"]) == ("finished", "failed", "broken")
    assert (home / "told").read_text() == (
        "canvas rubrics_csv error canvas__sync_root\nTrue no canvas__broken canvas\n"
        "failed the root run failed\nfailed canvas canvas\n"
    )


def test_a_model_that_is_not_there_is_named(home: Path, canvas: SimulatedCanvas, database_url: str) -> None:
    done = called(home, environment(home, canvas, database_url), "sync", "--models", "users,curses")
    assert done.returncode == 2
    assert "--models is 'curses'" in done.stderr


def test_a_genre_is_synced_by_hand_and_told_by_status(home: Path, canvas: SimulatedCanvas, database_url: str) -> None:
    grades = "{schedule: '*/30 * * * *', models: courses}"
    (home / "canvas_sync.yaml").write_text(f"tenants: {{canvas: {{genres: {{grades: {grades}}}}}}}")
    variables = environment(home, canvas, database_url)
    assert called(home, variables, "sync", "--genre", "grades").returncode == 0
    assert rows(database_url, "select count(*) from canvas.users") == [(0,)]
    assert rows(database_url, "select count(*) > 0 from canvas.courses") == [(True,)]
    (told,) = json.loads(called(home, variables, "status", "--json").stdout)
    assert [(each["genre"], each["batch"]["status"]) for each in told["genres"]] == [("grades", "completed")]
    assert "genre grades: */30 * * * * (UTC), models courses" in called(home, variables, "status").stdout


def test_a_genre_that_is_not_there_or_has_none_of_the_models_is_refused(
    home: Path, canvas: SimulatedCanvas, database_url: str
) -> None:
    (home / "canvas_sync.yaml").write_text(
        "tenants: {canvas: {genres: {grades: {schedule: '@daily', models: courses}}}}"
    )
    variables = environment(home, canvas, database_url)
    unknown = called(home, variables, "sync", "--genre", "marks")
    assert (unknown.returncode, "Allowed: default, grades" in unknown.stderr) == (2, True), unknown.stderr
    others = called(home, variables, "sync", "--genre", "grades", "--models", "users")
    assert (others.returncode, "has none of them" in others.stderr) == (2, True), others.stderr
