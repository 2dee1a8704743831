"""The names that users rely on, each used as the contract writes it, on a simulated Canvas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from canvas_sync_dagster.testing import LocationUnderTest, code_location

DEFINITIONS = """
from canvas_sync_dagster import CanvasSync

sync = CanvasSync.from_environment()

told = []

users = sync.mapping("users", reset=True)
users.link_column({"canvas_user_id": "canvas_id", "login_id": "login_id", "status": "workflow_state"})
users.link_column("column_in_report", "column_in_database", type="datetime")
users.link_column("omit_from_final_grade", type="boolean")
users.link_column("tags", "tags", transform=lambda value, row: value.split("|"))
users.link_column("full_name", "name")
users.link_column("sortable_name")
users.unlink_column("sortable_name")
users.alter_rows(lambda row: None if row["login_id"] == "test" else row)


@sync.report("my_really_cool_report_csv", params={"param1": True}, deps=["courses"], per_term=True)
def my_cool_processor(report, context):
    frames = list(report.frames())
    told.append(("report", report.scope, report.path.exists(), report.started_at.tzinfo is not None))
    return {"rows": sum(map(len, frames)), "asked": report.parameters["param1"]}


sync.simple_table(
    report="some_report_csv", model="course_audits", params={"deep": False}, key=["canvas_id"],
    columns={"course id": "canvas_id", "score": {"name": "score", "type": "float"}},
)


@sync.insert(after="courses")
def after_courses(context):
    told.append(("after", context.scope))


@sync.insert(before="users")
def before_users(context):
    told.append(("before", context.scope))


@sync.insert(with_="users")
def with_users(context): ...


@sync.subscribe("user_created", "course_updated")
def on_event(event):
    told.append(("subscriber", event.name))


@sync.subscribe()
def on_every_event(event):
    told.append(("every", event.name))


for place in ("first", "second"):
    sync.subscribe("course_updated")(lambda event, place=place: told.append((place, event.name)))


@sync.live_event_handler("user_updated")
def handle(event):
    told.append(("handler", event.name))


@sync.process_live_event("courses")
def courses_live(event, super_):
    told.append(("model", event.model))
    super_(event)


@sync.on_failure
def failed(error, *, tenant, job_log, run): ...


@sync.on_sync(status="success")
def finished(batch): ...


sync.api(
    "users",
    fetch=lambda canvas, row: canvas.get(f"/api/v1/users/{row['canvas_id']}"),
    fields={"name": lambda user: user["name"].upper()},
    mark_deleted={"workflow_state": "gone"},
)
sync.row_by_row("courses", lambda row: told.append(("row", row["canvas_course_id"])))
sync.config.only_log_errors_on("live_events")

defs = sync.definitions()
"""


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocationUnderTest]:
    monkeypatch.setenv("CANVAS_SYNC_MODELS", "users,terms,courses")
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    with code_location(tmp_path / "definitions.py") as found:
        yield found


def test_every_line_of_the_contract_does_what_it_says(location: LocationUnderTest) -> None:
    import definitions  # type: ignore[import-not-found]

    canvas, told = location.canvas, definitions.told
    canvas.add_report("my_really_cool_report_csv", lambda asked: f"term,x\n{asked['enrollment_term_id']},1\n")
    canvas.add_report("some_report_csv", "course id,score\n2001,7.5\n2002,\n")
    root = location.run()
    assert root["course_audits"]["inserted"] == 2
    assert location.rows("select canvas_id, score from canvas.course_audits order by 1")[1] == (2002, None)
    assert told == [("before", "")]
    term = location.run(term=118)
    assert term["my_cool_processor"]["rows"] == 1
    assert term["my_cool_processor"]["asked"] == "true"
    assert ("report", "118", True, True) in told
    assert told.count(("after", "118")) == 1
    assert sum(kind == "row" for kind, *_ in told) == term["courses"]["rows_in_report"] > 0
    assert location.rows("select name is null, tags is null from canvas.users limit 1") == [(False, True)]


def test_single_objects_and_events_go_where_the_contract_says(location: LocationUnderTest) -> None:
    import definitions

    from canvas_sync_dagster.sync.object_requests import Verdict, ask

    location.run("terms", "users")
    definitions.told.clear()
    canvas, settings = location.canvas, location.project.settings
    users, courses = canvas.save_again("users", 1), canvas.save_again("courses", 1)
    assert location.deliver(*users, *courses) == {"applied": 2}
    assert sorted(definitions.told) == [
        ("every", "course_updated"),
        ("first", "course_updated"),
        ("handler", "user_updated"),
        ("model", "courses"),
        # A lambda of the same name is another function.
        ("second", "course_updated"),
        ("subscriber", "course_updated"),
    ]
    assert location.rows("select count(*) from canvas.canvas_sync_job_logs where job_class = 'live_events'") == [(0,)]
    with location.project.session(settings.tenant()) as session:
        (answer, gone) = ask(session, session.by_name["users"], [{"canvas_id": 1002}, {"canvas_id": 7}])
    assert str(answer.content["name"]).isupper()
    assert gone.verdict is Verdict.GONE
