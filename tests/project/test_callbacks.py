"""A function that cannot be called as it will be is refused: by mypy, and when it is registered."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.errors import SettingError

TYPED = Path(__file__).with_name("typed_callbacks.py")
ROOT = Path(__file__).parent.parent.parent


def test_mypy_refuses_functions_of_other_arguments_and_no_others() -> None:
    # In the repository, whose cache spares mypy a minute.
    command = [sys.executable, "-m", "mypy", "--strict", str(TYPED)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    refused = {int(line) for line in re.findall(rf"{TYPED.name}:(\d+): error", checked.stdout)}
    lines = TYPED.read_text(encoding="utf-8").splitlines()
    assert refused == {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}, checked.stdout


@pytest.fixture
def sync() -> CanvasSync:
    return CanvasSync(tenants=[{"base_url": "https://school.example.edu", "token": "7~x"}])


async def asynchronous(event: Any) -> None: ...


@pytest.mark.parametrize(
    ("register", "where", "arguments"),
    [
        (lambda sync: sync.report("x_csv")(lambda report: None), "report x_csv", "report, context"),
        (lambda sync: sync.insert(after="users")(lambda: None), "insert", "context"),
        (lambda sync: sync.row_by_row("users", lambda: None), "row_by_row", "row[, connection]"),
        (lambda sync: sync.row_by_row("users", lambda a, b, c: None), "row_by_row", "row[, connection]"),
        (lambda sync: sync.row_by_row("users")(lambda: None), "row_by_row", "row[, connection]"),
        (lambda sync: sync.api("users", fetch=lambda row: row), "api of users: fetch", "canvas, row"),
        (lambda sync: sync.api("users", fields={"name": lambda: 1}), "fields['name']", "object[, row]"),
        (lambda sync: sync.api("users", fields={"name": 7}), "fields['name']", "object[, row]"),
        (lambda sync: sync.api("users", mark_deleted=lambda: {}), "mark_deleted", "row"),
        (lambda sync: sync.api("users", apply=lambda body: None), "apply", "object, columns, row"),
        (lambda sync: sync.subscribe("user_created")(lambda: None), "subscribe", "event"),
        (lambda sync: sync.subscribe()(asynchronous), "subscribe: asynchronous is async", "event"),
        (lambda sync: sync.live_event_handler("user_created")(lambda a, b: None), "live_event_handler", "event"),
        (lambda sync: sync.process_live_event("users")(lambda event: None), "process_live_event", "event, super_"),
        (lambda sync: sync.before_live_event(lambda: None), "before_live_event", "event"),
        (lambda sync: sync.after_live_event(lambda: None), "after_live_event", "event"),
        (lambda sync: sync.accepts_event(lambda event: True), "accepts_event", "event, inbox"),
        (lambda sync: sync.on_failure(lambda: None), "on_failure", "error, *[, tenant][, job_log][, run][, session]"),
        (lambda sync: sync.on_failure(lambda error, second: None), "on_failure", "error, *[, tenant]"),
        (lambda sync: sync.on_failure(lambda error, *, tennant: None), "on_failure", "error, *[, tenant]"),
        (lambda sync: sync.on_sync()(lambda: None), "on_sync", "batch, *[, tenant][, session]"),
        (lambda sync: sync.on_sync()(lambda batch, *, run: None), "on_sync", "batch, *[, tenant][, session]"),
        (lambda sync: sync.client(lambda tenant: "token"), "client", "tenant, account_id"),
        (lambda sync: sync.term_scope(lambda: True), "term_scope", "term"),
        (lambda sync: sync.term_scope("active"), "term_scope is 'active'", "term"),
        (lambda sync: sync.mapping("users").link_column("a", transform=lambda: 1), "transform of a", "value[, record]"),
        (lambda sync: sync.mapping("users").alter_rows(lambda: None), "alter_rows", "row"),
    ],
)
def test_a_function_of_other_arguments_is_refused_when_it_is_registered(
    sync: CanvasSync, register: Any, where: str, arguments: str
) -> None:
    with pytest.raises(SettingError) as refused:
        register(sync)
    assert where in str(refused.value)
    assert f"a function of ({arguments}" in str(refused.value)


@pytest.mark.parametrize(
    "register",
    [
        lambda sync: sync.on_failure(lambda error, **more: None),
        lambda sync: sync.on_failure(lambda error, tenant: None),
        lambda sync: sync.on_failure(lambda error, *, run, session=None: None),
        lambda sync: sync.on_sync("complete")(lambda batch, *, session: None),
        lambda sync: sync.subscribe()(lambda event, place="a default": None),
        lambda sync: sync.subscribe()(print),
        lambda sync: sync.row_by_row("users", lambda row, connection: None),
        lambda sync: sync.api("users", fields={"name": str, "email": lambda user, row: row["email"]}),
    ],
)
def test_a_function_that_accepts_the_arguments_is_registered(sync: CanvasSync, register: Any) -> None:
    register(sync)
    assert sync.project().extensions


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda sync: sync.mapping("users").link_column(7), "link_column is 7.*header"),
        (lambda sync: sync.mapping("users").link_column({"a": 7}), "users: a is 7.*column"),
        (lambda sync: sync.mapping("users").link_column({"a": "b"}, "c"), "given twice"),
        (lambda sync: sync.mapping("users").link_column("a", type="dateime"), "dateime.*datetime"),
        (lambda sync: sync.mapping("users").link_column("a", type=str), "unknown type"),
        (lambda sync: sync.mapping("users").link_column("a", "row_hash"), "the sync itself sets the column row_hash"),
        (lambda sync: sync.mapping("users").unlink_column("emial"), "emial.*unknown column.*email"),
        (lambda sync: sync.mapping("users").unlink_column(7), "unlink_column is 7"),
        (lambda sync: sync.mapping("users").conflict_target("canvas_idd"), "canvas_idd"),
        (lambda sync: sync.mapping("users").conflict_target(), "no column"),
        (lambda sync: sync.mapping("users").params(courses=True), "the parameter courses itself"),
        (lambda sync: sync.mapping("accounts").params(a=1), "read over REST"),
        (lambda sync: sync.report(7)(print), "report is 7"),
        (lambda sync: sync.report("x_csv", after=7), "after is 7.*name"),
        (lambda sync: sync.insert(after=["users", 7]), "after is 7.*name"),
        (lambda sync: sync.simple_table(report="r", model="m", key="a", columns={7: "a"}), "columns is 7.*header"),
        (lambda sync: sync.simple_table(report="r", model="m", key="a", columns={"a": 7}), "m: a is 7.*column"),
        (lambda sync: sync.simple_table(report=7, model="m", key="a", columns={"a": "a"}), "report is 7"),
        (lambda sync: sync.config.only_log_errors_on(7), "only_log_errors_on is 7"),
    ],
)
def test_a_typing_error_is_refused_where_it_is_written(sync: CanvasSync, wrong: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        wrong(sync)


def test_each_call_of_mapping_continues_the_mapping_of_the_model(sync: CanvasSync) -> None:
    sync.mapping("users", reset=True)
    sync.mapping("users").link_column({"canvas_user_id": "canvas_id", "x": "y"})
    sync.mapping("users").unlink_column("x")
    (users,) = [model for model in sync.project().models if model.name == "users"]
    assert [column.name for column in users.report_columns()] == ["canvas_id"]


def test_a_project_is_data_that_later_registrations_do_not_change(sync: CanvasSync) -> None:
    before = sync.project()
    sync.mapping("users").link_column("pronouns")
    sync.insert(after="users", name="mine")(print)
    sync.on_sync()(print)
    assert "mine" not in before.chain.names
    assert before.extensions.on_sync == ()
    assert before.models != sync.project().models
    sync.definitions()
    assert sync.project() is sync.project()
    with pytest.raises(SettingError, match="after definitions"):
        sync.config.only_log_errors_on("rest:")


def test_what_comes_before_is_called_the_same_everywhere(sync: CanvasSync) -> None:
    sync.insert(after="users", name="first")(print)
    sync.report("x_csv", after="first", deps=["users"], name="second")(print)
    sync.simple_table(report="y_csv", model="third", key="a", columns={"a": "a"}, after=["first", "second"])
    chain = sync.project().chain
    assert [chain.before(name) for name in ("first", "second", "third")] == [
        ("users",),
        ("first", "users"),
        ("first", "second"),
    ]
