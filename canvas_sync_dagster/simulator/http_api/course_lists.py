"""Lists of the REST API about courses, rubrics and logins, with the fields of Canvas's serializers; None means 404.

Each function takes the university, the query of the request, and the ids in the path.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import polars as pl

from canvas_sync_dagster.simulator.http_api import rest_objects, rest_samples
from canvas_sync_dagster.simulator.report_tables import course_content, coursework
from canvas_sync_dagster.simulator.report_tables import rubrics as rubric_tables
from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery
from canvas_sync_dagster.simulator.university.course_index import index_of, of_course
from canvas_sync_dagster.simulator.university.state import University

Body = dict[str, Any]
EVERYTHING = ReportQuery()
STATES_BY_DEFAULT = ["active", "invited"]
"""States of enrollments that Canvas lists if none is requested."""
ITEMS_OMITTED = 7
"""Of every seventh course, Canvas omits the items of the first module, as if there were too many to be inlined."""


class Query(Protocol):
    """The query of a request."""

    def get(self, key: str) -> str | None: ...
    def getlist(self, key: str) -> list[str]: ...


def courses(u: University, query: Query, account: int) -> list[Body]:
    """Return the courses of an account and of those below it, on request of one term; deleted ones are omitted."""
    term = query.get("enrollment_term_id") or ""
    return rest_samples.courses(u, int(term) if term.isdecimal() else None, u.subtree(account))


def assignment_groups(u: University, query: Query, course: int) -> list[Body] | None:
    narrow = _live(u, course)
    rows = coursework.assignment_groups(narrow, EVERYTHING).to_dicts() if narrow else None
    return (
        None
        if rows is None
        else [
            {
                "id": row["canvas_assignment_group_id"],
                "name": row["name"],
                "position": row["position"],
                "group_weight": row["group_weight"],
                "sis_source_id": None,
                "integration_data": {},
                "rules": dict(_rule(line) for line in row["rules"].splitlines()),
            }
            for row in rows
        ]
    )


def _rule(line: str) -> tuple[str, int]:
    name, _, value = line.partition(":")
    return name, int(value)


def assignments(u: University, query: Query, course: int) -> list[Body] | None:
    """Return the assignments of a course, on request with their overrides."""
    narrow = _live(u, course)
    if narrow is None:
        return None
    rows = coursework.assignments(narrow, EVERYTHING).to_dicts()
    listed = [rest_objects.assignment_body(row) for row in rows if row["workflow_state"] != "deleted"]
    if "overrides" not in query.getlist("include[]"):
        return listed
    overrides = coursework.assignment_overrides(narrow, EVERYTHING).to_dicts()
    return [
        {**body, "overrides": [_override(row) for row in overrides if row["canvas_assignment_id"] == body["id"]]}
        for body in listed
    ]


def _override(row: Mapping[str, Any]) -> Body:
    """Return an override; Canvas has only those dates and the one target that it sets."""
    body = {
        "id": row["canvas_assignment_override_id"],
        "assignment_id": row["canvas_assignment_id"],
        "title": row["title"],
    }
    if row["due_at"] is not None:
        body |= {"due_at": _utc(row["due_at"]), "all_day": row["all_day"], "all_day_date": row["all_day_date"]}
    if row["canvas_section_id"] is not None:
        return body | {"course_section_id": row["canvas_section_id"]}
    return body | {"student_ids": [int(each) for each in row["student_ids"].strip("{}").split(",")]}


def submissions(u: University, query: Query, course: int) -> list[Body] | None:
    """Return the submissions of all students of a course, which only `student_ids[]=all` requests."""
    narrow = _live(u, course)
    if narrow is None or query.getlist("student_ids[]") != ["all"]:
        return None
    rows = coursework.submissions(narrow, EVERYTHING).sort("submission id").to_dicts()
    for name, header in (("submitted_since", "submission date"), ("graded_since", "graded date")):
        if since := query.get(name):
            after = datetime.fromisoformat(since)
            rows = [row for row in rows if row[header] and datetime.fromisoformat(row[header]) > after]
    return [_submission(row) for row in rows]


def _submission(row: Mapping[str, Any]) -> Body:
    body = rest_objects.submission_body(row)
    # Canvas adds the course only with include[]=course.
    del body["course_id"]
    return body | {"grade": body["score"] and str(body["score"]), "attempt": body["submitted_at"] and 1,
                   "submission_type": body["submitted_at"] and "online_text_entry", "late": False, "missing": False}  # fmt: skip


def enrollments(u: University, query: Query, course: int) -> list[Body] | None:
    """Return the enrollments of a course, those of students with grades."""
    narrow = _live(u, course)
    if narrow is None:
        return None
    kinds = query.getlist("type[]")
    listed = rest_samples.enrollments(u, course, query.getlist("state[]") or STATES_BY_DEFAULT)
    scores = {row["canvas_enrollment_id"]: row for row in coursework.scores(narrow, EVERYTHING).to_dicts()}
    return [body | _grades(body, scores) for body in listed if not kinds or body["type"] in kinds]


def _grades(enrollment: Body, scores: Mapping[int, Mapping[str, Any]]) -> Body:
    score = scores.get(enrollment["id"])
    if score is None:
        return {}
    names = ("current_score", "final_score", "unposted_current_score", "unposted_final_score")
    grades = {"html_url": f"/courses/{enrollment['course_id']}/grades", "current_grade": None, "final_grade": None}
    return {"grades": grades | {name: score[name] for name in names}, "override_score": score["override_score"]}


def modules(u: University, query: Query, course: int) -> list[Body] | None:
    """Return the modules of a course, on request with their items, unless those are too many."""
    narrow = _live(u, course)
    if narrow is None:
        return None
    with_items = "items" in query.getlist("include[]")
    listed = [
        row
        for row in course_content.context_modules(narrow, EVERYTHING).to_dicts()
        if row["workflow_state"] != "deleted"
    ]
    return [
        _module(row, course)
        | ({"items": _items(narrow, row["canvas_context_module_id"])}
           if with_items and (place or course % ITEMS_OMITTED) else {})
        for place, row in enumerate(listed)
    ]  # fmt: skip


def _module(row: Mapping[str, Any], course: int) -> Body:
    number = row["canvas_context_module_id"]
    return {
        "id": number,
        "name": row["name"],
        "position": row["position"],
        "unlock_at": row["unlock_at"],
        "require_sequential_progress": False,
        "publish_final_grade": False,
        "prerequisite_module_ids": [],
        "published": row["workflow_state"] == "active",
        "items_count": 1,
        "items_url": f"/api/v1/courses/{course}/modules/{number}/items",
    }


def module_items(u: University, query: Query, course: int, module: int) -> list[Body] | None:
    narrow = _live(u, course)
    return _items(narrow, module) if narrow else None


def _items(narrow: University, module: int) -> list[Body]:
    rows = course_content.context_module_items(narrow, EVERYTHING).filter(pl.col("canvas_context_module_id") == module)
    return [
        {
            "id": row["canvas_context_module_item_id"],
            "module_id": module,
            "position": row["position"],
            "title": "Essay",
            "indent": 0,
            "type": row["canvas_content_type"],
            "content_id": row["canvas_content_id"],
            "published": row["workflow_state"] == "active",
        }
        for row in rows.to_dicts()
    ]


def progresses(u: University, query: Query, course: int) -> list[Body] | None:
    """Return the progress of all students of a course."""
    narrow = _live(u, course)
    rows = course_content.course_progresses(narrow, EVERYTHING).to_dicts() if narrow else None
    return (
        None
        if rows is None
        else [
            {
                "id": row["canvas_user_id"],
                "display_name": f"User {row['canvas_user_id']}",
                "progress": {
                    "requirement_count": row["requirement_count"],
                    "requirement_completed_count": row["requirement_completed_count"],
                    "next_requirement_url": None,
                    "completed_at": _utc(row["completion_date"]),
                },
            }
            for row in rows
        ]
    )


def content_migrations(u: University, query: Query, course: int) -> list[Body] | None:
    narrow = _live(u, course)
    rows = course_content.content_migrations(narrow, EVERYTHING).to_dicts() if narrow else None
    return (
        None
        if rows is None
        else [
            {
                "id": row["canvas_content_migration_id"],
                "user_id": 1002,
                # Canvas's API has its own words for the states.
                "workflow_state": "completed",
                "started_at": _utc(row["started_at"]),
                "finished_at": _utc(row["finished_at"]),
                "migration_type": row["migration_type"],
                "migration_issues_count": 0,
                "settings": {"source_course_id": row["canvas_source_course_id"]},
            }
            for row in rows
        ]
    )


def rubrics(u: University, query: Query, course: int) -> list[Body] | None:
    narrow = _live(u, course)
    rows = rubric_tables.rubrics(narrow, EVERYTHING).to_dicts() if narrow else None
    return None if rows is None else [_rubric(row) for row in rows]


def rubric(u: University, query: Query, course: int, number: int) -> Body | None:
    """Return one rubric, on request with its uses and assessments."""
    narrow = _live(u, course)
    rows = rubric_tables.rubrics(narrow, EVERYTHING).to_dicts() if narrow else []
    found = [row for row in rows if row["canvas_rubric_id"] == number]
    if narrow is None or not found:
        return None
    body, included = _rubric(found[0]), query.getlist("include[]")
    if "associations" in included:
        uses = rubric_tables.rubric_associations(narrow, EVERYTHING).to_dicts()
        body["associations"] = [_association(row) for row in uses if row["canvas_rubric_id"] == number]
    if "assessments" in included:
        made = rubric_tables.rubric_assessments(narrow, EVERYTHING).to_dicts()
        body["assessments"] = [
            _assessment(row, full=query.get("style") == "full") for row in made if row["canvas_rubric_id"] == number
        ]
    return body


def _rubric(row: Mapping[str, Any]) -> Body:
    names = (
        "title",
        "points_possible",
        "reusable",
        "public",
        "read_only",
        "free_form_criterion_comments",
        "hide_score_total",
    )
    return {
        "id": row["canvas_rubric_id"],
        "context_id": row["canvas_context_id"],
        "context_type": row["canvas_context_type"],
        **{name: row[name] for name in names},
        "data": [{"id": "_1", "description": "Clarity, mostly", "points": 5.0, "ratings": []}],
    }


def _association(row: Mapping[str, Any]) -> Body:
    names = ("use_for_grading", "summary_data", "purpose", "hide_score_total", "hide_points", "hide_outcome_results")
    ids = {"id": "canvas_rubric_association_id", "rubric_id": "canvas_rubric_id", "association_id": "canvas_association_id",
           "association_type": "canvas_association_type"}  # fmt: skip
    return {name: row[header] for name, header in ids.items()} | {name: row[name] for name in names}


def _assessment(row: Mapping[str, Any], *, full: bool) -> Body:
    ids = {"id": "canvas_rubric_assessment_id", "rubric_id": "canvas_rubric_id", "rubric_association_id": "canvas_rubric_association_id",
           "artifact_id": "canvas_artifact_id", "artifact_type": "canvas_artifact_type", "assessor_id": "canvas_assessor_id"}  # fmt: skip
    body = {name: row[header] for name, header in ids.items()}
    body |= {name: row[name] for name in ("score", "artifact_attempt", "assessment_type")}
    return body | ({"data": [{"criterion_id": "_1", "points": 2.5, "comments": "fine"}]} if full else {})


def nothing(u: University, query: Query, account: int) -> list[Body]:
    """Return an empty list: the accounts of the simulated university have neither rubrics nor content migrations."""
    return []


def logins(u: University, query: Query, user: int) -> list[Body] | None:
    """Return the logins of a user that are not deleted."""
    index = index_of(u)
    if user not in index.users:
        return None
    return [
        {
            "id": row["id"],
            "user_id": row["user_id"],
            "account_id": 1,
            "unique_id": row["unique_id"],
            "sis_user_id": row["sis_id"],
            "authentication_provider_id": None,
            "workflow_state": row["state"],
        }
        for row in index.rows("logins", user).to_dicts()
        if row["state"] != "deleted"
    ]


def grading_period_sets(u: University, query: Query, account: int) -> list[Body]:
    """Return the sets of the root account with their active periods; this serializer writes ids as text."""
    periods = coursework.grading_periods(u, EVERYTHING).to_dicts()
    return [
        {
            "id": str(row["canvas_grading_period_group_id"]),
            "title": row["title"],
            "weighted": row["weighted"],
            "display_totals_for_all_grading_periods": row["display_totals_for_all_grading_periods"],
            "account_id": "1",
            "course_id": None,
            "grading_periods": [
                _period(each)
                for each in periods
                if each["canvas_grading_period_group_id"] == row["canvas_grading_period_group_id"]
                and each["workflow_state"] == "active"
            ],
            "created_at": "2020-01-01T07:00:00Z",
        }
        for row in coursework.grading_period_groups(u, EVERYTHING).to_dicts()
    ]


def _period(row: Mapping[str, Any]) -> Body:
    return {
        "id": str(row["canvas_grading_period_id"]),
        "grading_period_group_id": str(row["canvas_grading_period_group_id"]),
        "title": row["title"],
        "weight": row["weight"],
        **{name: _utc(row[name]) for name in ("start_date", "end_date", "close_date")},
        "is_closed": False,
    }


def _live(u: University, course: int) -> University | None:
    """Return a course with its contents; None if it is deleted or does not exist."""
    narrow = of_course(u, course)
    return narrow if narrow.courses.height and narrow.courses.get_column("state")[0] != "deleted" else None


def _utc(value: str | None) -> str | None:
    return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if value else None
