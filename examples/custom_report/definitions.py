"""A custom report, a declared table, a step between the models, and a subscription to live events."""

from pathlib import Path

import polars as pl

from canvas_sync_dagster import CanvasSync

sync = CanvasSync.from_file(Path(__file__).with_name("canvas_sync.yaml"))

sync.simple_table(
    report="rubrics_csv",
    model="rubric_titles",
    key="canvas_id",
    columns={"canvas_rubric_id": "canvas_id", "title": "title", "points_possible": {"name": "points", "type": "float"}},
)


@sync.report("proserv_assignment_export_csv", after="courses", per_term=True)
def assignments_per_course(report, context):
    """Store the number of assignments of each course, for each term."""
    counts = pl.concat(report.frames()).group_by("canvas_context_id").len("assignments")
    context.connection.execute(
        "create table if not exists canvas.assignments_per_course "
        "(term_id bigint, course_id bigint, assignments int, primary key (term_id, course_id))"
    )
    context.connection.execute("delete from canvas.assignments_per_course where term_id = %s", [report.scope])
    with context.connection.cursor() as cursor:
        cursor.executemany(
            "insert into canvas.assignments_per_course values (%s, %s, %s)",
            [(report.scope, course, number) for course, number in counts.iter_rows()],
        )
    return {"courses": counts.height}


@sync.insert(after="users")
def flag_users_without_email(context):
    """Record the users without an email address, after the users are loaded."""
    with context.session.transaction("flagging users without email") as connection:
        connection.execute("create table if not exists canvas.unreachable_users (canvas_id bigint primary key)")
        connection.execute("truncate canvas.unreachable_users")
        connection.execute(
            "insert into canvas.unreachable_users select canvas_id from canvas.users where email is null"
        )


@sync.subscribe("course_created")
def welcome(event):
    print("a new course:", event.row.get("name"))


defs = sync.definitions()
