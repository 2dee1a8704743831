"""`canvas-sync psql`: where it connects, what others of the machine see, and the prompt without psql."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from click.testing import CliRunner, Result

from canvas_sync_dagster.cli import main
from canvas_sync_dagster.commands import psql as command
from canvas_sync_dagster.commands.psql import call_of
from canvas_sync_dagster.commands.questions import QUESTIONS
from canvas_sync_dagster.commands.typed import typed

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("CANVAS_SYNC_", "DAGSTER_", "PG"))]:
        monkeypatch.delenv(name)


def called(url: str, *arguments: str, typed_in: str | None = None) -> Result:
    return CliRunner().invoke(main, ["psql", *arguments], env={"CANVAS_SYNC_DATABASE_URL": url}, input=typed_in)


def test_secrets_are_passed_in_the_environment_only() -> None:
    url = "postgresql://u:se%2Fcret@db.example.edu/school?sslpassword=hidden&sslmode=require&options=-c%20jit%3Doff"
    call = call_of(url, 'odd "name', write=False)
    assert call.environment == {"PGPASSWORD": "se/cret", "PGCLIENTENCODING": "UTF8"}
    assert "cret" not in call.conninfo
    assert "hidden" not in call.conninfo
    given = psycopg.conninfo.conninfo_to_dict(call.conninfo)
    assert (given["host"], given["sslmode"], given["user"]) == ("db.example.edu", "require", "u")
    assert given["options"] == ('-c jit=off -c search_path="odd\\ ""name",public -c default_transaction_read_only=on')
    assert "options" not in call_of("postgresql://u@h/d", "canvas", write=True, options=False).conninfo


def test_psql_finds_the_tables_and_changes_nothing_without_write(migrated_url: str, tmp_path: Path) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute("create role reader login password 'open sesame'")
        connection.execute("grant usage on schema canvas to reader; grant select on canvas.users to reader")
    url = f"postgresql://reader:{quote('open sesame')}@{migrated_url.partition('@')[2]}"
    env = {**os.environ, "CANVAS_SYNC_DATABASE_URL": url}
    query = "select count(*) as users, current_user from users"
    shown = subprocess.run(
        [sys.executable, "-m", "canvas_sync_dagster.cli", "psql", "-c", query, "-c", r"\! ps -eo args", "--", "--csv"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("users,current_user\n0,reader\n")
    assert "psql" in shown.stdout
    assert "sesame" not in shown.stdout
    for arguments, code in (((), 1), (("--write",), 0)):
        done = subprocess.run(
            [sys.executable, "-m", "canvas_sync_dagster.cli", "psql", "-c", "delete from terms", *arguments],
            env=env | {"CANVAS_SYNC_DATABASE_URL": migrated_url},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr


def test_the_sample_questions_are_answered_and_documented(migrated_url: str) -> None:
    done = called(migrated_url, "--samples")
    assert done.exit_code == 0, done.output
    pages = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    for question in QUESTIONS:
        assert question.text in done.stdout
        assert question.query in pages


def test_without_psql_a_small_prompt_answers_and_goes_on_after_an_error(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_psql", lambda: None)
    lines = "select 1 as one,\n  2 as two;\ndelete from users;\nselect nothing;\n\\dt\n\\q\nselect 333;\n"
    done = called(migrated_url, typed_in=lines)
    assert done.exit_code == 0, done.output
    assert re.search(r"one +two\n.*\n +1 +2 +\n\(1 row\)", done.stdout)
    assert "cannot execute DELETE in a read-only transaction" in done.stderr
    assert 'column "nothing" does not exist' in done.stderr
    assert "canvas_sync_job_logs" in done.stdout
    assert "333" not in done.stdout
    assert called(migrated_url, "-c", "select nothing").exit_code == 1
    assert called(migrated_url, "--write").exit_code == 2


def test_several_tenants_need_a_choice(migrated_url: str) -> None:
    Path("canvas_sync.yaml").write_text("tenants: {north: {database_url: null}, south: {database_url: null}}")
    done = called(migrated_url, "-c", "select 1")
    assert (done.exit_code, "Allowed: north, south" in done.stderr) == (2, True), done.output


def test_a_hint_can_be_typed_in_this_shell(tmp_path: Path) -> None:
    environment, checkout = tmp_path / "venv", tmp_path / "checkout"
    for directory in (environment / "bin", checkout / ".venv" / "bin"):
        directory.mkdir(parents=True)
        (directory / "canvas-sync").touch(0o755)
    (checkout / "run").touch(0o755)
    activated = {"VIRTUAL_ENV": str(environment), "PATH": str(environment / "bin")}
    line = "canvas-sync doctor"
    assert typed(line, prefix=environment, environ=activated) == line
    assert typed(line, prefix=environment, environ={"PATH": "/nowhere"}) == f"{environment}/bin/{line}"
    assert typed(line, prefix=checkout / ".venv", directory=checkout, environ={}) == f"./run {line}"
    assert typed(line, prefix=checkout / ".venv", environ={}) == f"{checkout}/run {line}"


@pytest.mark.parametrize(("variables", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_at_a_terminal_the_status_fits_it_and_has_colors_unless_refused(
    migrated_url: str, tmp_path: Path, variables: dict[str, str], colored: bool
) -> None:
    terminal, end = pty.openpty()
    env = {**os.environ, "CANVAS_SYNC_DATABASE_URL": migrated_url, "TERM": "xterm-256color", **variables}
    env |= {"COLUMNS": "80", "LINES": "40"}
    with subprocess.Popen(
        [sys.executable, "-m", "canvas_sync_dagster.cli", "status"], env=env, cwd=tmp_path, stdout=end, stderr=end
    ) as process:
        os.close(end)
        written = b""
        try:
            while part := os.read(terminal, 65536):
                written += part
        except OSError:  # Linux ends the terminal of a process that is gone so.
            pass
        os.close(terminal)
        assert process.wait(60) == 0
    text = written.decode()
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", text)) == colored
    shown = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in text.splitlines()]
    assert shown[0] == "canvas: 1 thing needs attention"
    assert shown[1] == "  ! No sync yet. Run `canvas-sync sync`."
    assert max(map(len, shown)) <= 80
