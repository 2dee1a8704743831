"""Excluded and hashed columns: no table of the database has what Canvas sent, whatever source it came from."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psycopg
import pytest
from psycopg import sql

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.keyed_hash import HASHED, KeyedHash
from canvas_sync_dagster.catalogue.protection import Rules
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.live_events.serve import receiver
from canvas_sync_dagster.live_events.uvicorn_server import served
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.api_rows import rows_of
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.reconciliation import reconcile
from canvas_sync_dagster.sync.rejects import replay_rejects
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.walk_staging import WalkStaging
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from canvas_sync_dagster.warehouse.state.stored_protection import protect_stored
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.fix_canvas import tenant_of
from tests.truth import actual, expected

KEY = "0123456789abcdef" * 2
PROTECTED: dict[str, Any] = {
    "exclude": ["users.email", "users.name"],
    "hash": ["users.login_id", "pseudonyms.unique_id"],
    "hash_key": KEY,
}
MODELS = ["users", "pseudonyms", "courses"]
EMAIL, LOGIN, NAME = "@uni.test", "plantedlogin", "Plantedname"
FULL = SyncOptions(mode="full")


@pytest.fixture
def planted(canvas: SimulatedCanvas) -> SimulatedCanvas:
    """A Canvas in which all logins and first names can be recognized."""
    u = canvas.university
    u.logins = u.logins.with_columns(unique_id=pl.format(LOGIN + "{}", "id"))
    u.users = u.users.with_columns(first_name=pl.format(NAME + "{}", "id"))
    canvas.take_events()
    return canvas


def project_of(canvas: SimulatedCanvas, url: str, home: Path, **settings: Any) -> Project:
    tenant = tenant_of(canvas, url, models=MODELS, unsigned_events=True, **settings)
    return CanvasSync(Settings(home=home, tenants=(tenant,), jwk_url=canvas.jwk_url)).project()


def sync(project: Project) -> None:
    """Read the reports of people in full."""
    with project.session(project.settings.tenants[0]) as session:
        for group in report_groups(session.models):
            if not group.term_scoped:
                sync_report(Flow.of(session, FULL), group, {model.name for model in group.models})


def walk(project: Project, parents: list[int]) -> None:
    """Read the logins of users over REST, and leave what was staged."""
    with project.session(project.settings.tenants[0]) as session:
        model = session.by_name["pseudonyms"]
        assert model.rest is not None
        staging = WalkStaging(session, model, "", "planted")
        for parent in parents:
            bodies = session.canvas.get(f"/users/{parent}/logins")
            staging.add(parent, rows_of(session, model, ((body, {}) for body in bodies)))
        staging.stage(session.canvas.moment(0.0))
        staging.close()


def found(url: str, *texts: str) -> dict[str, set[str]]:
    """Return text → tables that have it in any column of any row."""
    hits: dict[str, set[str]] = {text: set() for text in texts}
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'canvas' and table_type = 'BASE TABLE'"
        ).fetchall()
        for (table,) in tables:
            name = sql.Identifier("canvas", table)
            for text in texts:
                query = sql.SQL("select exists (select from {} t where t::text ilike %s)").format(name)
                if connection.execute(query, (f"%{text}%",)).fetchone() == (True,):
                    hits[text].add(table)
        for (content,) in connection.execute("select content from canvas.canvas_sync_walk_rows").fetchall():
            staged = zlib.decompress(content).decode()
            for text in texts:
                if text in staged:
                    hits[text].add("canvas_sync_walk_rows")
    return {text: {table.partition("_2")[0] for table in where} for text, where in hits.items()}


def post_events(project: Project, canvas: SimulatedCanvas) -> None:
    """Deliver events over HTTP: one that is applied, one that dies, and one about another model."""
    login, name = f"{LOGIN}1002", f"{NAME}1002"
    given = [
        event("user_updated", {"user_id": global_id(1002), "name": f"{name} X", "user_login": login}, canvas.now),
        event("user_updated", {"name": f"{name} X", "email": f"u1002{EMAIL}"}, canvas.now),
        event("enrollment_created", {"user_name": f"{name} X", "deep": [{"unique_id": login}]}, canvas.now),
    ]
    with served(receiver(project.settings, project.models, models_of=project.models_of)) as base:
        for each in given:
            more = {"user_login": login, "url": f"https://c.test/login?unique_id={login}&n={name}%20X"}
            each["metadata"] |= more
            answer = httpx.post(base + PATH, content=canvas.signer.sign(each), timeout=20)
            assert answer.status_code == 200
    with project.session(project.settings.tenants[0]) as session:
        drain(session)
        with session.transaction("killing events") as connection:
            connection.execute("update canvas.canvas_sync_live_events set state = 'dead' where state = 'failed'")
            dead = connection.execute(
                "select count(*) from canvas.canvas_sync_live_events where state = 'dead'"
            ).fetchone()
            assert dead is not None and dead[0] >= 1


def fill(project: Project, canvas: SimulatedCanvas) -> None:
    """Bring the planted values in by every source."""
    for fault in ("bad_number", "open_quote"):
        canvas.faults.add(fault)
        sync(project)
        canvas.advance(minutes=10)
    post_events(project, canvas)
    walk(project, [1002, 1003])
    with project.session(project.settings.tenants[0]) as session:
        with session.transaction("making a suspect") as connection:
            connection.execute("update canvas.users set missing_since = now() where canvas_id = 1002")
        reconcile(session, session.by_name["users"])


def test_no_table_has_what_is_excluded_or_hashed(planted: SimulatedCanvas, database_url: str, tmp_path: Path) -> None:
    off = project_of(planted, database_url, tmp_path)
    fill(off, planted)
    before = found(database_url, EMAIL, LOGIN, NAME)
    everywhere = {"users", "canvas_sync_rejected_rows", "canvas_sync_live_events"}
    assert before[EMAIL] >= everywhere and before[NAME] >= everywhere
    assert before[LOGIN] >= everywhere | {"pseudonyms", "canvas_sync_walk_rows"}

    # With the settings, the next sync cleans what is stored, and no source brings it back.
    on = project_of(planted, database_url, tmp_path, **PROTECTED)
    planted.advance(minutes=10)
    sync(on)
    assert found(database_url, EMAIL, LOGIN) == {EMAIL: set(), LOGIN: set()}
    fill(on, planted)
    assert found(database_url, EMAIL, LOGIN) == {EMAIL: set(), LOGIN: set()}
    # First and sortable name are columns of their own, and are not excluded; rejects and events must not have the name.
    assert found(database_url, NAME + "1002 ") == {NAME + "1002 ": set()}
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select u.login_id, p.unique_id, u.email, u.name, u.first_name from canvas.users u "
            "join canvas.pseudonyms p on u.login_id = p.unique_id and p.canvas_user_id = u.canvas_id"
        ).fetchall()
        assert len(rows) > 20
        assert all(
            HASHED.fullmatch(login) and email is None and name is None and first
            for login, _, email, name, first in rows
        )
        hash_of = KeyedHash(KEY)
        assert {row[0] for row in rows} <= {hash_of(text) for text in planted.university.logins["unique_id"]}
        kept = "select payload from canvas.canvas_sync_live_events where event_name = 'enrollment_created' order by id desc"
        row = connection.execute(kept).fetchone()
        assert row is not None
        assert row[0]["body"] == {"deep": [{"unique_id": hash_of(f"{LOGIN}1002")}]}
        assert row[0]["metadata"]["user_login"] == hash_of(f"{LOGIN}1002")
    for model in ("users", "pseudonyms"):
        replay_rejects(database_url, "canvas", next(m for m in on.models_of(on.settings.tenants[0]) if m.name == model))
    assert found(database_url, EMAIL, LOGIN) == {EMAIL: set(), LOGIN: set()}

    # Without them, the next full sync brings everything back.
    planted.advance(minutes=10)
    sync(off)
    assert actual(database_url, "users") == expected(planted, "users")


def test_wrong_columns_are_refused_for_their_tenant(planted: SimulatedCanvas, tmp_path: Path) -> None:
    for settings, problem in {
        "exclude=users.mail": "tenants.canvas.exclude is 'users.mail': unknown column. Allowed: users.email",
        "exclude=people.email": "unknown model",
        "exclude=users.canvas_id": "the sync needs this column",
        "exclude=enrollments.canvas_course_id": "the sync needs this column",
        "hash=submissions.score": "only texts can be hashed",
    }.items():
        name, _, column = settings.partition("=")
        with pytest.raises(SettingError, match="^.*" + problem.replace("'", ".")):
            project_of(planted, "postgresql://x@y.test/z", tmp_path, **{name: [column], "hash_key": KEY})
    environ = {"CANVAS_SYNC_HASH": "users.login_id", "CANVAS_SYNC_EXCLUDE": "users.email"}
    with pytest.raises(SettingError, match="hash_key: it is not set, and the setting hash requires it"):
        CanvasSync.from_environment(environ, directory=tmp_path)
    with pytest.raises(SettingError, match="HASH_KEY: the key is too short") as raised:
        CanvasSync.from_environment(environ | {"CANVAS_SYNC_HASH_KEY": "short"}, directory=tmp_path)
    assert "'short'" not in str(raised.value)
    given = CanvasSync.from_environment(environ | {"CANVAS_SYNC_HASH_KEY": KEY}, directory=tmp_path)
    assert KEY not in repr(given.project())


def test_stored_values_are_cleaned_once_per_change_and_only_in_tables_of_the_tenant(database_url: str) -> None:
    rules = Rules(("users.email",), ("users.login_id",), KeyedHash(KEY))
    users = rules.of(next(model for model in BUILT_IN if model.name == "users"))
    texts = {EMAIL: f"planted{EMAIL}", LOGIN: f"{LOGIN}7"}
    with connect(database_url, autocommit=True) as connection:
        warehouse = Warehouse(connection, "canvas")
        connection.execute("create table canvas.users_history (canvas_id bigint, email text, login_id text)")
        for table in ("users", "users_history"):
            connection.execute(
                f"insert into canvas.{table} (canvas_id, email, login_id) values (7, %s, %s)", [*texts.values()]
            )
        payload = {"metadata": {"user_login": texts[LOGIN]}, "body": {"email": texts[EMAIL]}}
        ensure_partitions(warehouse)
        connection.execute(
            "insert into canvas.canvas_sync_live_events (event_name, content_hash, payload) values ('x', 'x', %s)",
            [json.dumps(payload)],
        )
        # A table of a model that the tenant does not sync may be another application's.
        assert protect_stored(warehouse, (), [users]) == ("users.email", "users.login_id")
        assert found(database_url, *texts) == {text: {"users", "users_history"} for text in texts}
        # Once the tenant syncs the model, it is.
        assert protect_stored(warehouse, [users]) == ("users.email", "users.login_id")
        assert found(database_url, *texts) == {text: set() for text in texts}
        assert protect_stored(warehouse, [users]) == ()
        assert protect_stored(warehouse, ()) == ()
        connection.execute("update canvas.users set email = %s", [texts[EMAIL]])
        assert protect_stored(warehouse, [users]) != ()
        row = connection.execute("select email, login_id from canvas.users").fetchone()
        assert row == (None, KeyedHash(KEY)(texts[LOGIN]))
