"""Addresses of databases: what is wrong with one is said without any part of the password."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from canvas_sync_dagster.cli import main
from canvas_sync_dagster.errors import CanvasSyncError, MisconfiguredError, SettingError
from canvas_sync_dagster.instance_storage import DATABASE_URL, sqlalchemy_url, storage_url
from canvas_sync_dagster.postgres_url import problem_of, redacted
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.warehouse.connection import connect
from tests.fix_pgbouncer import needs_pgbouncer, pgbouncer
from tests.test_instance_storage import INSTANCE

SECRETS = ("hid/den", "hid@den", "hid%nde", "hid den", "hid?den", "hid#den", "12/hidden", "hid@h/den?x=1", "hid://den")
PIECES = ("hid", "den", "nde")
PASSWORD = "a/b@c%d e:f?g#h"


def assert_silent(text: str) -> None:
    # "hidden" and its halves, in whichever way a parser cuts it.
    assert not any(piece in text for piece in PIECES), text


@pytest.mark.parametrize("secret", SECRETS)
def test_an_unencoded_password_is_refused_and_no_part_of_it_shown(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://canvas:{secret}@db.test/school"
    told = [problem_of(url) or "", redacted(url)]
    monkeypatch.setenv(DATABASE_URL, url)
    for attempt in (
        lambda: Settings.from_environment({"CANVAS_SYNC_DATABASE_URL": url}, directory=tmp_path),
        lambda: connect(url),
        storage_url,
    ):
        with pytest.raises(MisconfiguredError, match=r"percent-encode the password") as caught:
            attempt()
        told += [str(caught.value), str(caught.value.__cause__)]
    assert_silent(" ".join(told))
    assert problem_of(f"postgresql://canvas:{quote(secret, safe='')}@db.test/school") is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///school?host=/run/postgresql&port=5433",
        "postgresql://canvas@one:5432,two:5433/school?target_session_attrs=read-write",
        "postgresql://canvas@[::1]:5432/school",
        "postgresql://canvas@%2Frun%2Fpostgresql/school",
        "postgresql:///?service=school",
        "postgresql:///?user=a%40b&passfile=/etc/canvas/pgpass",
        "postgres://user%40tenant:x@db.test/school?sslmode=verify-full",
    ],
)
def test_forms_that_libpq_reads_are_accepted_and_mean_the_same_to_both_drivers(url: str) -> None:
    assert problem_of(url) is None
    parts = sa.make_url(sqlalchemy_url(url))
    _, options = parts.get_dialect()().create_connect_args(parts)
    wanted = {name: str(value) for name, value in psycopg.conninfo.conninfo_to_dict(url).items()}
    assert {name: str(value) for name, value in options.items()} == wanted | {"client_encoding": "UTF8"}


@pytest.mark.parametrize("variable", ["CANVAS_SYNC_DATABASE_URL", DATABASE_URL])
@pytest.mark.parametrize("command", ["doctor", "sync"])
def test_commands_print_no_part_of_a_password(
    canvas: SimulatedCanvas,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dagster.yaml").write_text(INSTANCE)
    given = {"CANVAS_SYNC_DATABASE_URL": database_url, "CANVAS_SYNC_HOME": str(tmp_path)}
    given |= {"CANVAS_SYNC_BASE_URL": canvas.base_url, "CANVAS_SYNC_TOKEN": canvas.token}
    given |= {variable: "postgresql://c:hid/den@db.test/x"}
    done = CliRunner().invoke(main, [command], env=given)
    said = done.output + ("" if isinstance(done.exception, SystemExit | None) else repr(done.exception))
    assert done.exit_code != 0
    assert_silent(said)
    assert "percent-encode the password" in said


@pytest.mark.parametrize(
    "base_url",
    ["https://7~hidden@school.test", "https://school.test?access_token=7~hidden", "https://x.test/#hidden", "7~hidden"],
)
def test_a_token_in_the_base_url_is_refused_and_not_shown(tmp_path: Path, base_url: str) -> None:
    with pytest.raises(SettingError, match="CANVAS_SYNC_BASE_URL: ") as caught:
        Settings.from_environment({"CANVAS_SYNC_BASE_URL": base_url}, directory=tmp_path)
    assert_silent(str(caught.value))


def test_a_base_url_without_a_secret_is_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"'school\.instructure\.com'"):
        Settings.from_environment({"CANVAS_SYNC_BASE_URL": "school.instructure.com"}, directory=tmp_path)


@needs_pgbouncer
def test_passwords_come_encoded_from_variables_and_from_a_password_file(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pgpass"
    file.write_text("*:*:*:*:" + PASSWORD.replace(":", "\\:") + "\n")
    file.chmod(0o600)
    with pgbouncer(database_url, "transaction", password=PASSWORD) as url:
        head, _, tail = url.partition("@")
        host, port, database = (
            redacted(url).split(" at ")[1].split(":")[0],
            url.split(":")[-1].split("/")[0],
            url.rsplit("/")[-1],
        )

        def works(address: str) -> None:
            with connect(address) as connection:
                assert connection.execute("select current_database()").fetchone() == (database,)
            with sa.create_engine(sqlalchemy_url(address), poolclass=sa.NullPool).connect() as other:
                assert other.execute(sa.text("select current_database()")).scalar() == database

        works(f"{head}:{quote(PASSWORD, safe='')}@{tail}")
        works(f"{url}?passfile={file}")
        with pytest.raises(CanvasSyncError):
            connect(url)
        variables = {"HOST": host, "PORT": port, "DATABASE": database, "USER": "canvas_sync", "PASSWORD": PASSWORD}
        for name, value in variables.items():
            monkeypatch.setenv(f"PG{name}", value)
        works("postgresql://")
        assert redacted("postgresql://") == f"{database} at {host}:{port}"


def test_variables_for_another_server_do_not_lead_away_from_the_embedded_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PORT": "1", "HOST": "nowhere.invalid", "USER": "x", "DATABASE": "y", "PASSWORD": "z"}.items():
        monkeypatch.setenv(f"PG{name}", value)
    connect(database_url).close()
