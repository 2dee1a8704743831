"""Names and bodies of live events, per table.

Ids are global or local as in the real bodies, which differs from one kind of event to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from canvas_sync_dagster.simulator.report_tables import course_content, coursework, groups
from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery
from canvas_sync_dagster.simulator.university.learning_outcomes import outcomes
from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT, SHARD
from canvas_sync_dagster.simulator.university.state import University

SHARD_NUMBER = 7
"""Shard of this Canvas; its ids are local in REST and reports, and global in most events."""

Body = dict[str, Any]
Report = Callable[[University, ReportQuery], pl.DataFrame]


def global_id(number: int | None) -> str | None:
    """Return an id as events have it: global, as text; ids of other shards are global already."""
    if number is None:
        return None
    return str(number if number >= SHARD else SHARD_NUMBER * SHARD + number)


def _local(number: int | None) -> str | None:
    return None if number is None else str(number)


def _course(row: Body) -> Body:
    return {"course_id": global_id(row["id"]), "account_id": global_id(row["account_id"]), "name": row["name"],
            "workflow_state": row["state"], "uuid": f"uuid-{row['id']}"}  # fmt: skip


def _section(row: Body) -> Body:
    return {"course_section_id": _local(row["id"]), "course_id": _local(row["course_id"]), "name": row["name"],
            "nonxlist_course_id": _local(row["nonxlist_course_id"]), "sis_source_id": row["sis_id"],
            "workflow_state": row["state"], "start_at": None, "end_at": None}  # fmt: skip


def _enrollment(row: Body) -> Body:
    return {"enrollment_id": global_id(row["id"]), "user_id": global_id(row["user_id"]), "type": row["type"],
            "course_section_id": global_id(row["section_id"]), "course_id": global_id(row["course_id"]),
            "workflow_state": row["state"], "limit_privileges_to_course_section": False}  # fmt: skip


def _user(row: Body) -> Body:
    name = f"{row['first_name']} {row['last_name']}".strip()
    return {
        "user_id": global_id(row["id"]),
        "name": name,
        "short_name": row["first_name"],
        "workflow_state": "registered",
    }


def _assignment(row: Body) -> Body:
    return {"assignment_id": global_id(row["id"]), "context_id": global_id(row["course_id"]), "context_type": "Course",
            "title": row["title"], "description": row["description"], "points_possible": row["points"],
            "workflow_state": row["state"]}  # fmt: skip


def _account(row: Body) -> Body:
    return {"account_id": row["id"], "name": row["name"], "parent_account_id": row["parent_id"],
            "root_account_id": ROOT_ACCOUNT, "workflow_state": row["state"]}  # fmt: skip


def _assignment_group(row: Body) -> Body:
    return {"assignment_group_id": _local(row["canvas_assignment_group_id"]), "context_id": _local(row["course_id"]),
            "context_type": "Course", "group_weight": row["group_weight"], "name": row["name"],
            "position": row["position"], "rules": row["rules"], "workflow_state": row["workflow_state"]}  # fmt: skip


def _override(row: Body) -> Body:
    # Numbers and not text, as in recorded events.
    kind = "CourseSection" if row["canvas_section_id"] else "Group" if row["canvas_group_id"] else "ADHOC"
    return {"assignment_override_id": row["canvas_assignment_override_id"], "assignment_id": row["canvas_assignment_id"],
            "course_section_id": row["canvas_section_id"], "group_id": row["canvas_group_id"], "type": kind,
            "due_at": row["due_at"], "all_day": row["all_day"], "workflow_state": row["workflow_state"]}  # fmt: skip


def _submission(row: Body) -> Body:
    return {"submission_id": global_id(row["submission id"]), "assignment_id": global_id(row["assignment id"]),
            "user_id": global_id(row["canvas user id"]), "score": row["score"], "workflow_state": row["workflow state"],
            "submitted_at": row["submission date"], "graded_at": row["graded date"]}  # fmt: skip


def _module(row: Body) -> Body:
    return {"module_id": _local(row["canvas_context_module_id"]), "context_id": _local(row["course_id"]),
            "context_type": "Course", "name": row["name"], "position": row["position"],
            "workflow_state": row["workflow_state"]}  # fmt: skip


def _module_item(row: Body) -> Body:
    return {"module_item_id": _local(row["canvas_context_module_item_id"]), "position": row["position"],
            "module_id": _local(row["canvas_context_module_id"]), "workflow_state": row["workflow_state"]}  # fmt: skip


def _group(row: Body) -> Body:
    return {"group_id": global_id(row["canvas_group_id"]), "group_name": row["name"], "context_type": row["context_type"],
            "group_category_id": global_id(row["canvas_group_category_id"]), "context_id": global_id(row["context_id"]),
            "max_membership": row["max_membership"], "workflow_state": row["status"]}  # fmt: skip


def _group_category(row: Body) -> Body:
    return {"group_category_id": global_id(row["canvas_group_category_id"]), "group_category_name": row["name"],
            "context_id": _local(row["context_id"]), "context_type": row["context_type"],
            "group_limit": row["group_limit"]}  # fmt: skip


def _membership(row: Body) -> Body:
    return {"group_membership_id": global_id(row["id"]), "group_id": global_id(row["group_id"]),
            "user_id": global_id(row["user_id"]), "workflow_state": row["state"]}  # fmt: skip


def _outcome(row: Body) -> Body:
    return {"learning_outcome_id": _local(row["id"]), "context_id": _local(row["context_id"]),
            "context_type": row["context_type"], "title": row["title"], "display_name": row["display_name"],
            "vendor_guid": row["vendor_guid"], "calculation_method": row["calculation_method"],
            "calculation_int": row["calculation_int"], "workflow_state": "active"}  # fmt: skip


def _with_course(u: University) -> pl.DataFrame:
    homes = u.sections.select(section_id="id", course_id="course_id")
    return u.enrollments.join(homes, on="section_id", how="left", maintain_order="left")


def _outcomes(u: University) -> pl.DataFrame:
    return pl.DataFrame([row for account in u.accounts.get_column("id") for row in outcomes(account)])


@dataclass(frozen=True, slots=True)
class EventTable:
    """The events of one table's rows.

    Attributes:
        event: Their name without `_created` or `_updated`.
        body: Row → body of its event.
        rows: The rows.
        key: Column that identifies a row.
        course: Column with the course where the event happens, if the event names one.
    """

    event: str
    body: Callable[[Body], Body]
    rows: Callable[[University], pl.DataFrame]
    key: str = "id"
    course: str | None = None


def _report(table: Report) -> Callable[[University], pl.DataFrame]:
    return lambda u: table(u, ReportQuery())


def _report_in_courses(table: Report, course: str) -> Callable[[University], pl.DataFrame]:
    return lambda u: table(u, ReportQuery()).with_columns(course_id=course)


STORED_TABLES = {
    "accounts": EventTable("account", _account, lambda u: u.accounts),
    "users": EventTable("user", _user, lambda u: u.users),
    "courses": EventTable("course", _course, lambda u: u.courses, course="id"),
    "sections": EventTable("course_section", _section, lambda u: u.sections, course="course_id"),
    "enrollments": EventTable("enrollment", _enrollment, _with_course, course="course_id"),
    "assignments": EventTable("assignment", _assignment, lambda u: u.assignments, course="course_id"),
}
"""Tables of a university → their events."""
DERIVED_TABLES = {
    "assignment_groups": EventTable(
        "assignment_group",
        _assignment_group,
        _report_in_courses(coursework.assignment_groups, "canvas_course_id"),
        "canvas_assignment_group_id",
        "course_id",
    ),
    "assignment_overrides": EventTable(
        "assignment_override",
        _override,
        _report_in_courses(coursework.assignment_overrides, "canvas_course_id"),
        "canvas_assignment_override_id",
        "course_id",
    ),
    # Graded by a tool or a job, they name no course.
    "submissions": EventTable("submission", _submission, _report(coursework.submissions), "submission id"),
    "context_modules": EventTable(
        "module",
        _module,
        _report_in_courses(course_content.context_modules, "canvas_context_id"),
        "canvas_context_module_id",
        "course_id",
    ),
    "context_module_items": EventTable(
        "module_item", _module_item, _report(course_content.context_module_items), "canvas_context_module_item_id"
    ),
    "group_categories": EventTable(
        "group_category", _group_category, _report(groups.group_categories), "canvas_group_category_id"
    ),
    "groups": EventTable("group", _group, _report(groups.groups), "canvas_group_id"),
    "group_memberships": EventTable("group_membership", _membership, groups.memberships),
    "learning_outcomes": EventTable("learning_outcome", _outcome, _outcomes),
}
"""Tables that follow from those → their events."""
EVENT_TABLES = STORED_TABLES | DERIVED_TABLES
