"""Read by mypy in test_callbacks.py, never run: it must report exactly the lines that end with `# refused`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from canvas_sync_dagster import CanvasSync, DownloadedReport, InsertionContext, LiveEvent, ReportContext

sync = CanvasSync.from_environment()
users = sync.mapping("users")


@sync.report("x_csv", deps=["courses"], per_term=True)
def report(report: DownloadedReport, context: ReportContext) -> dict[str, int]:
    return {}


@sync.report("x_csv")  # refused
def report_without_context(report: DownloadedReport) -> None: ...


@sync.insert(after="courses")
def step(context: InsertionContext) -> None: ...


@sync.insert(after="courses")  # refused
def step_without_context() -> None: ...


@sync.row_by_row("users")
def rows(row: Mapping[str, str], connection: Any) -> bool:
    return True


@sync.row_by_row("users")  # refused
def rows_without_row() -> None: ...


sync.row_by_row("courses", lambda row: print(row["name"]))
sync.row_by_row("courses", lambda row, connection, third: None)  # refused


@sync.subscribe()
def every_event(event: LiveEvent) -> None: ...


@sync.subscribe("user_created")  # refused
def without_event() -> None: ...


@sync.live_event_handler("user_created")  # refused
def handler_of_two(event: LiveEvent, second: Any) -> None: ...


@sync.process_live_event("users")
def process(event: LiveEvent, super_: Callable[[LiveEvent], None]) -> None:
    super_(event)


@sync.process_live_event("users")  # refused
def process_without_super(event: LiveEvent) -> None: ...


@sync.before_live_event  # refused
def before() -> None: ...


@sync.after_live_event  # refused
def after() -> None: ...


@sync.accepts_event
def accepts(event: Any, inbox: Any) -> bool:
    return True


@sync.accepts_event  # refused
def accepts_without_inbox(event: Any) -> bool:
    return True


@sync.on_failure
def failed(error: Exception, *, tenant: str, job_log: dict[str, Any] | None, run: dg.DagsterRun) -> None: ...


@sync.on_failure
def failed_of_any_keyword(error: Exception, **more: object) -> None: ...


@sync.on_failure
def failed_with_a_default(error: Exception, *, run: dg.DagsterRun, session: object = None) -> None: ...


@sync.on_failure  # refused
def failed_without_error() -> None: ...


@sync.on_failure  # refused
def failed_of_two(error: Exception, second: Any) -> None: ...


@sync.on_failure  # refused
def failed_with_a_mistyped_keyword(error: Exception, *, tennant: str) -> None: ...


@sync.on_sync(status="success")
def finished(batch: Mapping[str, Any], *, tenant: str) -> None: ...


@sync.on_sync()  # refused
def finished_without_batch() -> None: ...


@sync.on_sync("complete")  # refused
def finished_of_two(batch: Mapping[str, Any], second: Any) -> None: ...


sync.on_sync("sucess")  # refused
sync.insert(at="finish")  # refused
sync.client(lambda tenant, account: tenant.slug)
sync.client(lambda tenant: "token")  # refused
sync.term_scope(lambda term: term.name.startswith("Fall"))
sync.term_scope(lambda: True)  # refused
sync.api("users", fetch=lambda canvas, row: canvas.get(f"/api/v1/users/{row['canvas_id']}"))
sync.api("users", fields={"a": "b", "c": lambda user, row: row["c"], "d": lambda user: user["d"]})
sync.api("users", mark_deleted=lambda row: {"workflow_state": "gone"}, apply=lambda user, values, row: {**values})
sync.api("users", fetch=lambda row: row)  # refused
sync.api("users", fields={"name": lambda: 1})  # refused
sync.api("users", mark_deleted=lambda: {"workflow_state": "gone"})  # refused
sync.api("users", apply=lambda user: None)  # refused
users.link_column("tags", "tags", transform=lambda value, row: value.split("|"))
users.link_column("tags", transform=lambda value: value.split("|"))
users.link_column("tags", transform=lambda: 1)  # refused
users.alter_rows(lambda row: None if row["login_id"] == "test" else row)
users.alter_rows(lambda: None)  # refused
