"""Single objects as Canvas's REST API shows them; None means 404."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from canvas_sync_dagster.simulator.report_tables import course_content, coursework, groups, provisioning
from canvas_sync_dagster.simulator.report_tables.provisioning import ROLES
from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery
from canvas_sync_dagster.simulator.university.course_index import of_course
from canvas_sync_dagster.simulator.university.learning_outcomes import outcomes
from canvas_sync_dagster.simulator.university.state import University

Body = dict[str, Any]
Table = Callable[[University, ReportQuery], pl.DataFrame]

COURSE_STATES = {"active": "available", "concluded": "completed"}
TIMES = {
    "start_at",
    "end_at",
    "due_at",
    "submitted_at",
    "graded_at",
    "unlock_at",
    "lock_at",
    "cached_due_date",
    "all_day_date",
}


def user(u: University, number: int) -> Body | None:
    """Return a user who has a login; of several logins, one with a SIS id comes first."""
    narrow = copy.copy(u)
    narrow.users = u.users.filter(pl.col("id") == number)
    narrow.logins = u.logins.filter((pl.col("user_id") == number) & (pl.col("state") != "deleted"))
    rows = provisioning.users(narrow, ReportQuery()).to_dicts()
    if not rows:
        return None
    row = next((each for each in rows if each["user_id"] is not None), rows[-1])
    return {
        "id": number,
        "name": row["full_name"],
        "sortable_name": row["sortable_name"],
        "short_name": row["short_name"],
        "sis_user_id": row["user_id"],
        "login_id": row["login_id"],
        "email": row["email"],
        "created_at": "2020-01-01T07:00:00Z",
    }


def course(u: University, number: int) -> Body | None:
    found = _row(provisioning.courses, of_course(u, number), canvas_course_id=number)
    return None if found is None or found["status"] == "deleted" else course_body(found)


def course_body(found: Mapping[str, Any]) -> Body:
    """Return a course as Canvas shows it, from its row in the report."""
    names = {
        "id": "canvas_course_id",
        "sis_course_id": "course_id",
        "course_code": "short_name",
        "name": "long_name",
        "account_id": "canvas_account_id",
        "enrollment_term_id": "canvas_term_id",
        "start_at": "start_date",
        "end_at": "end_date",
        "workflow_state": "status",
    }
    body = _body(found, names) | {"grading_standard_id": None}
    return body | {"workflow_state": COURSE_STATES.get(str(found["status"]), found["status"])}


def section(u: University, number: int) -> Body | None:
    """Return a section, even one of a deleted course."""
    found = u.sections.filter(pl.col("id") == number).to_dicts()
    if not found or found[0]["state"] == "deleted":
        return None
    return section_body(found[0])


def section_body(row: Mapping[str, Any]) -> Body:
    """Return a section as Canvas shows it, from its row in Canvas's table."""
    return {
        "id": row["id"],
        "course_id": row["course_id"],
        "name": row["name"],
        "start_at": None,
        "end_at": None,
        "nonxlist_course_id": row["nonxlist_course_id"],
        "sis_section_id": row["sis_id"],
    }


def enrollment(u: University, number: int) -> Body | None:
    """Return an enrollment in any state; it counts as deleted if its section or course is."""
    found = u.enrollments.filter(pl.col("id") == number).to_dicts()
    if not found:
        return None
    return enrollment_body(u, found[0])


def enrollment_body(u: University, row: Mapping[str, Any]) -> Body:
    """Return an enrollment as Canvas shows it, from its row in Canvas's table."""
    home = u.sections.filter(pl.col("id") == row["section_id"]).row(0, named=True)
    where = u.courses.filter(pl.col("id") == home["course_id"]).row(0, named=True)
    gone = "deleted" in (row["state"], home["state"], where["state"])
    sis = (
        u.logins.filter((pl.col("user_id") == row["user_id"]) & (pl.col("state") != "deleted"))
        .get_column("sis_id")
        .drop_nulls()
    )
    return {
        "id": row["id"],
        "user_id": row["user_id"],
        "course_id": where["id"],
        "course_section_id": home["id"],
        "sis_course_id": where["sis_id"],
        "sis_user_id": sis[0] if len(sis) else None,
        "associated_user_id": row["associated_user_id"],
        "type": row["type"],
        "role": row["type"],
        "role_id": ROLES[row["type"]][1],
        "enrollment_state": "deleted" if gone else row["state"],
        "updated_at": row["updated_at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def assignment(u: University, of: int, number: int) -> Body | None:
    found = _row(coursework.assignments, of_course(u, of), canvas_assignment_id=number)
    return found and assignment_body(found)


def assignment_body(row: Mapping[str, Any]) -> Body:
    """Return the body of an assignment.

    Args:
        row: Row of the report of assignments.
    """
    names = {
        "id": "canvas_assignment_id",
        "course_id": "canvas_context_id",
        "name": "title",
        "assignment_group_id": "canvas_assignment_group_id",
        **{
            name: name
            for name in (
                "description",
                "due_at",
                "unlock_at",
                "lock_at",
                "points_possible",
                "grading_type",
                "workflow_state",
            )
        },
    }
    return _body(row, names) | {"submission_types": row["submission_types"].split(",")}


def submission(u: University, of: int, task: int, person: int) -> Body | None:
    found = _row(coursework.submissions, of_course(u, of), **{"assignment id": task, "canvas user id": person})
    return found and submission_body(found)


def submission_body(row: Mapping[str, Any]) -> Body:
    """Return the body of a submission.

    Args:
        row: Row of the report of submissions.
    """
    names = {
        "id": "submission id",
        "course_id": "canvas course id",
        "assignment_id": "assignment id",
        "user_id": "canvas user id",
        "submitted_at": "submission date",
        "graded_at": "graded date",
        "cached_due_date": "due at",
        "score": "score",
        "excused": "excused",
        "workflow_state": "workflow state",
    }
    return _body(row, names)


def submissions(u: University, of: int, tasks: Collection[int], people: Collection[int]) -> list[Body]:
    """Return the submissions of students to assignments, by their id."""
    rows = coursework.submissions(of_course(u, of), ReportQuery()).to_dicts()
    chosen = [each for each in rows if int(each["canvas user id"]) in people and int(each["assignment id"]) in tasks]
    bodies = [submission_body(each) for each in sorted(chosen, key=lambda each: int(each["submission id"]))]
    # Canvas's list has no course: it is in the path.
    return [{name: value for name, value in body.items() if name != "course_id"} for body in bodies]


def assignment_group(u: University, of: int, number: int) -> Body | None:
    names = {"id": "canvas_assignment_group_id", "name": "name", "position": "position", "group_weight": "group_weight"}
    found = _row(coursework.assignment_groups, of_course(u, of), canvas_assignment_group_id=number)
    return found and _body(found, names)


def assignment_override(u: University, of: int, task: int, number: int) -> Body | None:
    names = {
        "id": "canvas_assignment_override_id",
        "assignment_id": "canvas_assignment_id",
        "course_id": "canvas_course_id",
        "course_section_id": "canvas_section_id",
        **{name: name for name in ("due_at", "all_day", "all_day_date", "unlock_at", "lock_at", "title")},
    }
    narrow = of_course(u, of)
    found = _row(
        coursework.assignment_overrides, narrow, canvas_assignment_override_id=number, canvas_assignment_id=task
    )
    if found is None:
        return None
    students = [int(each) for each in (found["student_ids"] or "{}").strip("{}").split(",") if each]
    return _body(found, names) | ({"student_ids": students} if students else {})


def module(u: University, of: int, number: int) -> Body | None:
    found = _row(course_content.context_modules, of_course(u, of), canvas_context_module_id=number)
    if found is None or found["workflow_state"] == "deleted":
        return None
    return _body(
        found, {"id": "canvas_context_module_id", "name": "name", "position": "position", "unlock_at": "unlock_at"}
    )


def group(u: University, number: int) -> Body | None:
    names = {
        "id": "canvas_group_id",
        "sis_group_id": "group_id",
        "group_category_id": "canvas_group_category_id",
        "course_id": "canvas_course_id",
        **{name: name for name in ("name", "context_type", "max_membership")},
    }
    found = _row(groups.groups, u, canvas_group_id=number)
    return found and _body(found, names)


def group_category(u: University, number: int) -> Body | None:
    names = {
        "id": "canvas_group_category_id",
        **{name: name for name in ("name", "context_type", "role", "self_signup", "group_limit", "auto_leader")},
    }
    found = _row(groups.group_categories, u, canvas_group_category_id=number)
    return found and _body(found, names)


def outcome(u: University, number: int) -> Body | None:
    found = [each for each in outcomes(number // 10) if each["id"] == number]
    return found[0] if found else None


def _row(table: Table, u: University, **key: int) -> Body | None:
    frame = table(u, ReportQuery())
    rows = frame.filter(pl.all_horizontal(pl.col(name) == value for name, value in key.items())).to_dicts()
    return rows[0] if rows else None


def _body(row: Mapping[str, Any], names: Mapping[str, str]) -> Body:
    return {name: _utc(row[header]) if name in TIMES else row[header] for name, header in names.items()}


def _utc(value: str | None) -> str | None:
    return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if value else None


def membership(u: University, of: int, person: int) -> Body | None:
    rows = groups.memberships(u).filter((pl.col("group_id") == of) & (pl.col("user_id") == person)).to_dicts()
    return membership_body(rows[0]) if rows else None


def membership_body(row: Mapping[str, Any]) -> Body:
    """Return a membership as Canvas shows it."""
    names = {"id": "id", "group_id": "group_id", "user_id": "user_id", "workflow_state": "state"}
    return {name: row[column] for name, column in names.items()} | {"moderator": False}


def observee(u: University, observer: int, person: int) -> Body | None:
    found = _row(groups.user_observers, u, canvas_observer_id=observer, canvas_student_id=person)
    return found and user(u, person)
