"""What `sync` prints and how it exits: each trouble once, what is skipped, what a person ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

import dagster as dg
import psycopg
import pytest
from click.testing import CliRunner, Result

from canvas_sync_dagster.cli import main
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.commands.logs import logfmt

STOCK = frozenset({"provisioning_csv"})


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("CANVAS_SYNC_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")


def called(canvas: SimulatedCanvas, url: str, *arguments: str, **variables: str) -> Result:
    given = {
        "DAGSTER_HOME": str(Path.cwd()),
        "CANVAS_SYNC_HOME": str(Path.cwd()),
        "CANVAS_SYNC_BASE_URL": canvas.base_url,
        "CANVAS_SYNC_TOKEN": canvas.token,
        "CANVAS_SYNC_DATABASE_URL": url,
        "CANVAS_SYNC_POLL_SECONDS": "0.02",
        "CANVAS_SYNC_TERM_SCOPE": "116,118",
    }
    return CliRunner().invoke(main, arguments, env=given | variables)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_what_is_skipped_is_named_once_and_is_neither_failed_nor_ok(database_url: str) -> None:
    (Path.cwd() / "own.py").write_text(
        "from canvas_sync_dagster import CanvasSync\nfrom canvas_sync_dagster.settings import Settings\n"
        "sync = CanvasSync(Settings.from_environment(), models=['terms', 'users', 'rubrics', 'courses', 'submissions'])\n"
        "for name in ('rubrics', 'submissions'):\n    sync.mapping(name).alter_rows(lambda row: row)\n"
        "@sync.insert(after='courses')\ndef broken(context):\n    raise RuntimeError('no')\n"
        "@sync.insert(after='broken')\ndef later(context):\n    pass\n"
    )
    with SimulatedCanvas(compile_seconds=0.01, reports=STOCK).serve() as canvas:
        done = called(canvas, database_url, "sync", "-f", "own.py")
        shown = called(canvas, database_url, "status", "-f", "own.py")
    assert done.exit_code == 1
    log = logfmt(done.stdout)
    assert done.stderr == ""
    missing = (
        "the token may not run it on this account; its rows go through functions of yours, which a walk over REST does "
        "not call"
    )
    assert [
        {name: each[name] for name in ("event", "tenant", "model", "title", "models", "message") if name in each}
        for each in log
        if each["event"] in {"skipped", "failed"}
    ] == [
        {
            "event": "skipped",
            "tenant": "canvas",
            "model": "rubrics",
            "message": f"this Canvas has no report rubrics_csv, or {missing}",
        },
        {
            "event": "failed",
            "tenant": "canvas",
            "title": "canvas term 116",
            "models": "broken",
            "message": "RuntimeError: no",
        },
        {
            "event": "skipped",
            "tenant": "canvas",
            "model": "submissions",
            "message": f"this Canvas has no report proserv_student_submissions_csv, or {missing}",
        },
    ]
    ended = log[-1]
    assert (ended["level"], ended["event"], ended["status"]) == ("error", "finished", "failed")
    assert ended["failed"] == "broken of term 116,broken of term 118"
    assert ended["blocked"] == "later of term 116,later of term 118"
    assert "did not yield" not in done.stdout
    query = "select job_class, status, metadata->'skipped' from canvas.canvas_sync_job_logs where metadata->'skipped' != '{}'"
    assert {(name, status, *cast(dict[str, str], reasons)) for name, status, reasons in rows(database_url, query)} == {
        ("rubrics_csv", "success", "rubrics"),
        ("proserv_student_submissions_csv", "success", "submissions"),
    }
    assert shown.exit_code == 0
    (line,) = [line for line in shown.stdout.splitlines() if line.strip().startswith("submissions")]
    assert line.split() == ["submissions", "0", "skipped"]
    assert shown.stdout.count("proserv_student_submissions_csv") == 1


def test_a_model_that_the_command_names_must_be_fed(database_url: str) -> None:
    (Path.cwd() / "canvas_sync.yaml").write_text(
        "tenants: {canvas: {feeds: {rubric_associations: report}, token: '{{ env.CANVAS_SYNC_TOKEN }}'}}\n"
    )
    with SimulatedCanvas(compile_seconds=0.01, reports=STOCK).serve() as canvas:
        done = called(canvas, database_url, "sync", "--models", "terms,rubrics,rubric_associations")
        shown = called(canvas, database_url, "status")
    assert (done.exit_code, done.stderr, logfmt(done.stdout)[-1]["failed"]) == (1, "", "rubric_associations")
    assert "feeds requests the report of rubric_associations, but this Canvas has no report" in done.stdout
    assert "over REST: rubrics, because this Canvas has no report rubrics_csv" in shown.stdout


def test_json_is_one_document_and_the_log_is_json_on_standard_error(canvas: SimulatedCanvas, migrated_url: str) -> None:
    arguments = ("sync", "--models", "terms,courses", "--json", "--log-format", "json")
    done = called(canvas, migrated_url, *arguments)
    assert done.exit_code == 0, done.output
    (told,) = json.loads(done.stdout)
    assert (told["tenant"], told["status"], told["failed"]) == ("canvas", "completed", [])
    assert [(each["model"], each["term"]) for each in told["tables"]] == [
        ("terms", None),
        ("courses", "116"),
        ("courses", "118"),
    ]
    assert told["inserted"] == sum(each["inserted"] for each in told["tables"]) > 0
    log = [json.loads(line) for line in done.stderr.splitlines()]
    assert [each["event"] for each in log if each["event"] != "progress"][:3] == ["expect", "begin", "landed"]
    assert log[-1]["rows_in_report"] == told["rows_in_report"]


def test_a_term_that_is_named_for_one_sync_becomes_a_partition(canvas: SimulatedCanvas, migrated_url: str) -> None:
    done = called(canvas, migrated_url, "sync", "--models", "terms,courses", "--term-scope", "117")
    assert done.exit_code == 0, done.output
    with dg.DagsterInstance.from_config(str(Path.cwd())) as instance:
        assert instance.get_dynamic_partitions("canvas_terms__canvas") == ["116", "118", "117"]
        assert instance.get_materialized_partitions(dg.AssetKey(["canvas", "courses"])) == {"117"}


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        ({"CANVAS_SYNC_TOKEN": "revoked"}, 1, "answered 401"),
        ({"CANVAS_SYNC_DATABASE_URL": "postgresql://u:hidden@127.0.0.1:9/x"}, 1, "cannot reach x at 127.0.0.1:9"),
        ({"CANVAS_SYNC_BASE_URL": ""}, 2, "CANVAS_SYNC_BASE_URL"),
        ({"CANVAS_SYNC_SCHEDULE": "daily"}, 2, "CANVAS_SYNC_SCHEDULE"),
        ({"DAGSTER_HOME": "nowhere"}, 2, "DAGSTER_HOME"),
    ],
)
def test_token_database_and_settings_are_checked_before_anything_begins(
    canvas: SimulatedCanvas, migrated_url: str, variables: dict[str, str], code: int, words: str
) -> None:
    done = called(canvas, migrated_url, "sync", **variables)
    assert done.exit_code == code, done.output
    (said,) = done.stderr.strip().splitlines()
    assert said.startswith("error: ")
    assert words in said
    assert "Error" not in said
    assert done.stdout == ""
    assert rows(migrated_url, "select 1 from canvas.canvas_sync_sync_batches") == []
    assert [each.method for each in canvas.requests if each.method != "GET"] == []


def test_a_misspelled_header_and_a_mistyped_column_are_named_by_sync_status_and_doctor(
    database_url: str, canvas: SimulatedCanvas
) -> None:
    (Path.cwd() / "own.py").write_text(
        "from canvas_sync_dagster import CanvasSync\nfrom canvas_sync_dagster.settings import Settings\n"
        "sync = CanvasSync(Settings.from_environment(), models=['terms', 'users', 'pseudonyms'])\n"
        "sync.mapping('users').link_column('full_nmae', 'nickname')\n"
    )
    assert called(canvas, database_url, "migrate", "-f", "own.py").exit_code == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table canvas.pseudonyms alter unique_id type numeric using null")
    checked = called(canvas, database_url, "migrate", "--check", "-f", "own.py")
    mistyped = "canvas.pseudonyms.unique_id is numeric, but the model declares text"
    assert (checked.exit_code, checked.stdout) == (1, "")
    assert mistyped in checked.stderr
    done = called(canvas, database_url, "sync", "-f", "own.py")
    log = logfmt(done.stdout)
    assert done.exit_code == 0, done.output
    assert [(each["level"], each["model"], each["message"]) for each in log if each["event"] == "header"] == [
        (
            "warning",
            "users",
            "the report has no header for nickname: not filled. Correct the mapping; `canvas-sync doctor` shows the header",
        )
    ]
    assert [each["model"] for each in log if each["event"] == "skipped" and mistyped in each["message"]] == [
        "pseudonyms"
    ]
    missing = "the latest report of users had no header full_nmae (column nickname)"
    (told,) = json.loads(called(canvas, database_url, "status", "-f", "own.py", "--json").stdout)
    assert [each.partition(". ")[0].removeprefix("pseudonyms: ") for each in told["problems"]] == [mistyped, missing]
    found = called(canvas, database_url, "doctor", "-f", "own.py").output
    assert f"{missing}, so that this is not filled. Its header was: canvas_user_id, " in found
    assert mistyped in found
