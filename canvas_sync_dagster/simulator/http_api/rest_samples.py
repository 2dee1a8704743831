"""Lists of users, courses, sections, enrollments and memberships, as Canvas's REST API shows them."""

from __future__ import annotations

from typing import Any

import polars as pl

from canvas_sync_dagster.simulator.http_api import rest_objects
from canvas_sync_dagster.simulator.report_tables import groups, provisioning
from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery
from canvas_sync_dagster.simulator.university.course_index import of_course
from canvas_sync_dagster.simulator.university.state import University

Body = dict[str, Any]
CREATED = "2026-08-15T07:00:00Z"
"""`created_at` of objects whose creation the university does not record."""


def users(u: University) -> list[Body]:
    """Return the users of the account with a login, and those without one, which no report lists."""
    rows = provisioning.users(u, ReportQuery(deleted=False)).to_dicts()
    logins = {row["canvas_user_id"]: row for row in rows}
    # A login with a SIS id represents its user.
    logins |= {row["canvas_user_id"]: row for row in reversed(rows) if row["user_id"] is not None}
    return [
        {
            "id": row["id"],
            "name": f"{row['first_name']} {row['last_name']}".strip(),
            "created_at": CREATED,
            "sis_user_id": logins.get(row["id"], {}).get("user_id"),
            "login_id": logins.get(row["id"], {}).get("login_id"),
        }
        for row in u.users.sort("id").to_dicts()
    ]


def courses(u: University, term: int | None, subtree: list[int]) -> list[Body]:
    """Return the courses of an account and its sub-accounts that are not deleted."""
    rows = u.courses.filter((pl.col("state") != "deleted") & pl.col("account_id").is_in(subtree))
    rows = rows if term is None else rows.filter(pl.col("term_id") == term)
    found = provisioning.courses(_with_courses(u, rows), ReportQuery()).to_dicts()
    return [rest_objects.course_body(row) | {"created_at": CREATED} for row in found]


def sections(u: University, course: int) -> list[Body]:
    """Return the sections that are in a course now."""
    rows = u.sections.filter((pl.col("course_id") == course) & (pl.col("state") != "deleted")).sort("id")
    found = (rest_objects.section_body(row) for row in rows.to_dicts())
    return [body | {"created_at": CREATED} for body in found]


def enrollments(u: University, course: int, states: list[str]) -> list[Body]:
    """Return the enrollments of a course in some states, each with its user."""
    narrow = of_course(u, course)
    ids = narrow.enrollments.filter(pl.col("state").is_in(states)).sort("id").to_dicts()
    live = u.logins.filter((pl.col("state") != "deleted") & pl.col("user_id").is_in([row["user_id"] for row in ids]))
    logins = dict(live.select("user_id", "unique_id").rows())
    narrow.logins = live
    found = []
    for row in ids:
        body = rest_objects.enrollment_body(narrow, row)
        if body["enrollment_state"] != "deleted":
            user = {"id": row["user_id"], "login_id": logins.get(row["user_id"])}
            found.append(body | {"created_at": CREATED, "user": user})
    return found


def memberships(u: University, group: int) -> list[Body]:
    rows = groups.memberships(u).filter(pl.col("group_id") == group).to_dicts()
    return [rest_objects.membership_body(row) | {"created_at": CREATED} for row in rows]


def _with_courses(u: University, rows: pl.DataFrame) -> University:
    narrow = of_course(u, 0)
    narrow.courses = rows
    return narrow
