"""The receiver with the least that it needs: no Canvas token, and a database role that reaches the inbox alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from tests.live_events.test_receiver import post, renamed, serving, settings_of, stored

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "least-privilege.md"
ROLE = "canvas_receiver"


def documented_grants() -> list[str]:
    """Returns what the page tells administrators to grant to this role alone."""
    found = re.findall(rf"^grant (?:insert|select) .* to {ROLE};$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return found


@pytest.fixture
def receiver_url(database_url: str) -> Iterator[str]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"create role {ROLE} login; grant usage on schema canvas to {ROLE}")
        for statement in documented_grants():
            connection.execute(statement)
        yield re.sub(r"//[^@]*@", f"//{ROLE}@", database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"drop owned by {ROLE}; drop role {ROLE}")


def without_token(canvas: SimulatedCanvas, url: str, home: Path, **tenant: object) -> Settings:
    return settings_of(canvas, url, home, token=None, base_url=None, root_account_uuid=None, **tenant)


def test_it_receives_with_a_role_for_the_inbox_alone_and_without_a_token(
    canvas: SimulatedCanvas, session: Session, database_url: str, receiver_url: str, tmp_path: Path
) -> None:
    token = canvas.signer.sign(renamed(canvas))
    settings = without_token(canvas, receiver_url, tmp_path)
    with serving(settings) as base:
        # Until the first sync has stored whose events are the tenant's.
        assert post(base, token) == 503
    sync_list(Flow.of(session, SyncOptions()), session.by_name["terms"])
    with serving(settings) as base:
        assert post(base, token) == 200
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("drop table canvas.canvas_sync_live_events_default")
        # An inbox of an earlier version that nobody has migrated: the event is not lost, and the drain repairs it.
        assert post(base, canvas.signer.sign(renamed(canvas, name="y"))) == 503
        drain(session)
        assert post(base, canvas.signer.sign(renamed(canvas, name="y"))) == 200
    assert len(stored(database_url)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "select payload from canvas.canvas_sync_live_events",
        "select * from canvas.users",
        "select * from canvas.canvas_sync_rejected_rows",
        "delete from canvas.canvas_sync_live_events",
        "update canvas.canvas_sync_live_events set state = 'applied'",
        "create table canvas.own ()",
        "insert into canvas.canvas_sync_remembered values ('root_account_uuid', 'evil')",
    ],
)
def test_its_role_can_do_nothing_else(receiver_url: str, statement: str) -> None:
    with (
        psycopg.connect(receiver_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_a_set_uuid_needs_no_sync(
    canvas: SimulatedCanvas, receiver_url: str, database_url: str, tmp_path: Path
) -> None:
    settings = without_token(canvas, receiver_url, tmp_path)
    (tenant,) = settings.tenants
    known = tenant.model_copy(update={"root_account_uuid": "uuid-of-account-1"})
    with serving(settings.model_copy(update={"tenants": (known,)})) as base:
        assert post(base, canvas.signer.sign(renamed(canvas))) == 200
    assert len(stored(database_url)) == 1
