"""A person's data stays in tables, rejected rows and inbox: no failure carries it into a log, the journal or Dagster."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import psycopg
import pydantic
import pytest
from click.testing import CliRunner

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.errors import RejectThresholdError, ReportContentError
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.loading.load import Source, load_csv
from canvas_sync_dagster.warehouse.loading.rows import load_rows
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.fix_canvas import session_of, tenant_of
from tests.live_events.test_drain import put_and_drain

USERS = next(model for model in BUILT_IN if model.name == "users")
PLANTED = "Plantedsson"
"""Last name of every user; it must be found nowhere."""
STATE = ("canvas_sync_job_logs", "canvas_sync_sync_batches", "canvas_sync_reports", "canvas_sync_watermarks")
REFUSE = """
alter table canvas.users add constraint no_strangers check (coalesce(last_name, name) not like '%Planted%');
create table canvas.guarded (name text);
create function canvas.refuse() returns trigger language plpgsql as $$ begin raise exception 'no %', new.name; end $$;
create trigger refuse before insert on canvas.guarded for each row execute function canvas.refuse();
"""


class Person(pydantic.BaseModel):
    born: date


def _fail_in_every_way(sync: CanvasSync) -> dict[str, Any]:
    """Insert a step for each kind of exception that quotes values; each reads its value from the database."""

    def step(name: str, function: Any) -> Any:
        def failing(context: Any) -> None:
            with context.session.transaction("looking") as connection:
                (row,) = connection.execute("select name from canvas.people").fetchone()
                function(connection, row)

        failing.__name__ = name
        return sync.insert(after="terms")(failing)

    def user_sql(connection: Any, row: str) -> None:
        try:
            connection.execute("select %s::integer", (row,))
        except psycopg.Error as error:
            raise RuntimeError("the step cannot go on") from error

    kinds: dict[str, Any] = {
        "of_a_cast": lambda connection, row: connection.execute("select %s::integer", (row,)),
        "of_a_trigger": lambda connection, row: connection.execute("insert into canvas.guarded values (%s)", (row,)),
        "of_a_cause": user_sql,
        "of_polars": lambda _, row: pl.Series([row]).cast(pl.Int64),
        "of_pydantic": lambda _, row: Person.model_validate({"born": row}),
        "of_json": lambda _, row: json.loads(f"[{row}]"),
        "of_int": lambda _, row: int(row),
        "of_a_key": lambda _, row: dict[str, str]()[row],
    }
    for name, function in kinds.items():
        step(name, function)
    return kinds


@pytest.fixture
def refusing(canvas: SimulatedCanvas, migrated_url: str) -> Iterator[str]:
    """A database that refuses every user of a Canvas whose users have the planted name."""
    canvas.university.set("users", pl.lit(value=True), last_name=PLANTED)
    with psycopg.connect(migrated_url) as connection:
        connection.execute(REFUSE)
        connection.execute("create table canvas.people as select %s as name", (PLANTED,))
    yield migrated_url


def _assert_clean(text: str, where: str) -> None:
    at = text.lower().find(PLANTED.lower())
    assert at < 0, f"{where}: {text[max(0, at - 300) : at + 100]}"


def _state(url: str) -> str:
    with psycopg.connect(url) as connection:
        return "\n".join(
            str(row)
            for table in STATE
            for row in connection.execute(f"select t::text from canvas.{table} t").fetchall()
        )


def test_no_failure_of_a_run_carries_a_name_into_dagster_the_journal_or_the_logs(
    canvas: SimulatedCanvas, refusing: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tenant = tenant_of(canvas, refusing, models="terms,accounts,users")
    sync = CanvasSync(Settings(home=tmp_path / "home", tenants=(tenant,)))
    kinds = _fail_in_every_way(sync)
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        job = sync.definitions().resolve_job_def("canvas__sync_root")
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        failed = {each.step_key for each in result.all_node_events if each.is_step_failure}
        stored = "\n".join(str(entry) for entry in instance.all_logs(result.run_id))
    assert failed >= {f"canvas__{name}" for name in kinds}
    assert len(failed) > len(kinds), "the load of users failed, too"
    out, err = capfd.readouterr()
    assert "violates check constraint" in err + stored
    for text, where in ((out, "stdout"), (err, "stderr"), (stored, "event storage"), (_state(refusing), "journal")):
        _assert_clean(text, where)
    for file in (tmp_path / "dagster").rglob("*"):
        if file.is_file():
            _assert_clean(file.read_bytes().decode("utf-8", errors="replace"), str(file))
    assert "no_strangers" in _state(refusing)


def test_no_live_event_carries_a_name_into_its_error_or_the_journal(
    canvas: SimulatedCanvas, refusing: str, tmp_path: Path
) -> None:
    spoken = [event("user_updated", {"user_id": global_id(1002)}, canvas.now + timedelta(hours=1))]
    with session_of(canvas, refusing, tmp_path) as session:
        assert put_and_drain(session, spoken, canvas).events == {"failed": 1}
    with psycopg.connect(refusing) as connection:
        (error,) = connection.execute("select error from canvas.canvas_sync_live_events").fetchone() or ("",)
    assert "no_strangers" in error
    _assert_clean(error + _state(refusing), "inbox")


def test_commands_show_no_row(
    canvas: SimulatedCanvas, refusing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"BASE_URL": canvas.base_url, "TOKEN": canvas.token, "DATABASE_URL": refusing, "HOME": str(tmp_path)}
    for name, value in given.items():
        monkeypatch.setenv(f"CANVAS_SYNC_{name}", value)
    with psycopg.connect(refusing) as connection:
        connection.execute(
            "insert into canvas.canvas_sync_rejected_rows (model, scope, report, line, reason, raw, header) "
            "values ('users', '', 'users', 2, 'was wrong', %s, 'canvas_user_id,last_name')",
            (f"19440,{PLANTED}",),
        )
    done = CliRunner().invoke(main, ["replay", "rejects", "--model", "users"])
    assert done.exit_code == 2
    assert "no_strangers" in done.output
    _assert_clean(done.output, "output")


def test_a_broken_report_and_an_unfit_object_are_described_without_their_values(migrated_url: str) -> None:
    rows = "".join(f"{PLANTED}{number},x\n" for number in range(200))
    source = Source("", datetime(2026, 1, 1, tzinfo=UTC), "users", 1)
    with connect(migrated_url) as connection:
        with pytest.raises(RejectThresholdError, match="line 2, canvas_id: the value is not a valid bigint") as broken:
            content = f"canvas_user_id,first_name\n{rows}".encode()
            load_csv(Warehouse(connection, "canvas").table(USERS), lambda: io.BytesIO(content), source)
        with pytest.raises(ReportContentError, match="canvas_id: the value is not a valid bigint") as unfit:
            load_rows(Warehouse(connection, "canvas").table(USERS), [{"canvas_id": PLANTED}], source)
    _assert_clean(f"{broken.value} {unfit.value}", "error")
