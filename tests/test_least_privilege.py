"""The four roles of docs/how-to/least-privilege.md, made by the statements of the page: each does its work, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import errors

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.live_events.serve import receiver
from canvas_sync_dagster.live_events.uvicorn_server import served
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import ROOT_ACCOUNT, SimulatedCanvas, deliver
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.warehouse.schema.migrate import migrate, plan
from canvas_sync_dagster.warehouse.state.housekeeping import drop_old_rows
from tests.fix_canvas import session_of, tenant_of
from tests.truth import FULL, actual, expected, sync_list, sync_structure

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "least-privilege.md"
ROLES = ("canvas_owner", "canvas_loader", "canvas_receiver", "canvas_bi")


def statements(who: str, database: str) -> str:
    """Reads from the page what a role runs, for a database of another name."""
    blocks = re.findall(r"```sql\n(-- as ([^,\n]*).*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return "\n".join(block for block, by in blocks if by == who).replace("database school", f'database "{database}"')


def of(url: str, role: str) -> str:
    return url.replace("canvas_sync@", f"{role}@")


def run(url: str, text: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(text.encode())


@pytest.fixture
def house(database_url: str) -> Iterator[str]:
    """A database with the page's roles, schema, tables and rights."""
    try:
        run(database_url, statements("an administrator", database_url.split("/")[3].split("?", maxsplit=1)[0]))
        owner = of(database_url, "canvas_owner")
        run(owner, plan(owner, "canvas", BUILT_IN).sql())
        run(owner, statements("canvas_owner", ""))
        yield database_url
    finally:
        for role in ROLES:
            run(database_url, f"drop owned by {role} cascade; drop role {role}")


def refused(url: str, role: str, *attempts: str) -> None:
    for attempt in attempts:
        with pytest.raises(errors.InsufficientPrivilege):
            run(of(url, role), attempt)


def test_each_role_does_its_work_and_nothing_else(house: str, canvas: SimulatedCanvas, tmp_path: Path) -> None:
    loader = of(house, "canvas_loader")
    assert migrate(loader, "canvas", BUILT_IN).changes == ()
    with session_of(canvas, of(house, "canvas_owner"), tmp_path) as session:
        drain(session)
    with session_of(canvas, loader, tmp_path) as session:
        for _ in range(2):
            sync_structure(session)
            sync_list(Flow.of(session, FULL), session.by_name["roles"])
        canvas.take_events()
        canvas.advance(hours=1)
        events = canvas.save_again("users", 3)
        alone = tenant_of(
            canvas, of(house, "canvas_receiver"), root_account_uuid=f"uuid-of-account-{ROOT_ACCOUNT}", token=None
        )
        settings = Settings(home=tmp_path, tenants=(alone,), jwk_url=canvas.jwk_url)
        with served(receiver(settings, BUILT_IN)) as base:
            assert deliver(base + PATH, canvas.signer, events) == [200] * 3
        assert drain(session).events == {"applied": 3}
        with session.warehouse("keeping house") as warehouse:
            drop_old_rows(warehouse)
    for model in ("users", "courses", "enrollments"):
        have, want = actual(of(house, "canvas_bi"), model), expected(canvas, model)
        assert have == {**have, **want}, model
    refused(house, "canvas_owner", "create schema other")
    refused(house, "canvas_loader", "create table canvas.x ()", "drop table canvas.users", "truncate canvas.users")
    refused(
        house,
        "canvas_receiver",
        "select payload from canvas.canvas_sync_live_events",
        "select 1 from canvas.users",
        "delete from canvas.canvas_sync_live_events",
        "create temporary table x ()",
    )
    refused(
        house,
        "canvas_bi",
        "select raw from canvas.canvas_sync_rejected_rows",
        "select payload from canvas.canvas_sync_live_events",
        "select exception from canvas.canvas_sync_job_logs",
        "delete from canvas.users",
    )


def test_doctor_names_each_right_that_is_missing_and_its_grant(house: str, canvas: SimulatedCanvas) -> None:
    variables = {"BASE_URL": canvas.base_url, "TOKEN": canvas.token, "DATABASE_URL": of(house, "canvas_loader")}
    environment = {f"CANVAS_SYNC_{name}": value for name, value in variables.items()}
    fine = CliRunner().invoke(main, ["doctor"], env=environment)
    assert "role canvas_loader has the rights that loads need" in fine.output
    database = house.split("/")[3].split("?", maxsplit=1)[0]
    run(house, f'revoke temporary on database "{database}" from canvas_loader')
    run(of(house, "canvas_owner"), "revoke delete on canvas.users, canvas.roles from canvas_loader")
    said = CliRunner().invoke(main, ["doctor"], env=environment)
    assert said.exit_code == 1
    assert f"grant temporary on database {database} to canvas_loader" in said.output
    assert "grant delete on canvas.roles, canvas.users to canvas_loader" in said.output
