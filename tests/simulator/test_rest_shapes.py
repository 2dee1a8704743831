"""Objects and lists of the REST API: only documented keys, with documented types."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from canvas_sync_dagster.simulator import SimulatedCanvas

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
TEXT, NUMBER, INTEGER, FLAG, MOMENT = str, (int, float), int, bool, TIME
DOCUMENTED: dict[str, dict[str, Any]] = {
    "/users/1002": {"id": INTEGER, "name": TEXT, "sortable_name": TEXT, "short_name": TEXT, "sis_user_id": TEXT,
                    "login_id": TEXT, "email": TEXT, "created_at": MOMENT},
    "/courses/2003": {"id": INTEGER, "sis_course_id": TEXT, "course_code": TEXT, "name": TEXT, "account_id": INTEGER,
                      "enrollment_term_id": INTEGER, "start_at": MOMENT, "end_at": MOMENT, "workflow_state": TEXT,
                      "grading_standard_id": INTEGER},
    "/sections/4006": {"id": INTEGER, "course_id": INTEGER, "name": TEXT, "start_at": MOMENT, "end_at": MOMENT,
                       "nonxlist_course_id": INTEGER, "sis_section_id": TEXT},
    "/accounts/self/enrollments/4000002": {
        "id": INTEGER, "user_id": INTEGER, "course_id": INTEGER, "course_section_id": INTEGER, "sis_course_id": TEXT,
        "sis_user_id": TEXT, "associated_user_id": INTEGER, "type": TEXT, "role": TEXT, "role_id": INTEGER,
        "enrollment_state": TEXT, "updated_at": MOMENT},
    "/courses/2003/assignments/32048": {
        "id": INTEGER, "course_id": INTEGER, "name": TEXT, "assignment_group_id": INTEGER, "description": TEXT,
        "due_at": MOMENT, "unlock_at": MOMENT, "lock_at": MOMENT, "points_possible": NUMBER, "grading_type": TEXT,
        "workflow_state": TEXT, "submission_types": list},
    "/courses/2003/assignment_groups/302003": {"id": INTEGER, "name": TEXT, "position": INTEGER, "group_weight": NUMBER},
    "/courses/2003/modules/16024": {"id": INTEGER, "name": TEXT, "position": INTEGER, "unlock_at": MOMENT},
    "/courses/2004/assignments/32064/submissions/{student}": {
        "id": INTEGER, "course_id": INTEGER, "assignment_id": INTEGER, "user_id": INTEGER, "submitted_at": MOMENT,
        "graded_at": MOMENT, "cached_due_date": MOMENT, "score": NUMBER, "excused": FLAG, "workflow_state": TEXT},
    "/groups/8016": {"id": INTEGER, "sis_group_id": TEXT, "group_category_id": INTEGER, "course_id": INTEGER,
                     "name": TEXT, "context_type": TEXT, "max_membership": INTEGER},
    "/group_categories/62004": {"id": INTEGER, "name": TEXT, "context_type": TEXT, "role": TEXT, "self_signup": TEXT,
                                "group_limit": INTEGER, "auto_leader": TEXT},
    "/outcomes/10": {"id": INTEGER, "context_id": INTEGER, "context_type": TEXT, "title": TEXT, "display_name": TEXT,
                     "description": TEXT, "vendor_guid": TEXT, "points_possible": NUMBER, "mastery_points": NUMBER,
                     "calculation_method": TEXT, "calculation_int": INTEGER},
    "/accounts/2": {"id": INTEGER, "name": TEXT, "workflow_state": TEXT, "parent_account_id": INTEGER,
                    "root_account_id": INTEGER, "uuid": TEXT, "default_time_zone": TEXT, "sis_account_id": TEXT,
                    "integration_id": TEXT},
    "/accounts/self/terms/118": {"id": INTEGER, "name": TEXT, "start_at": MOMENT, "end_at": MOMENT,
                                 "workflow_state": TEXT, "grading_period_group_id": INTEGER, "created_at": MOMENT,
                                 "sis_term_id": TEXT, "sis_import_id": INTEGER},
}  # fmt: skip
"""Path → documented keys that the simulator has: type of a value that is not null, or form of a time."""
LISTS = {
    "/accounts/self/roles": {"id", "role", "label", "base_role_type", "workflow_state", "permissions", "account"},
    "/accounts/self/admins": {"id", "role", "role_id", "user", "workflow_state"},
    "/accounts/self/outcome_group_links": {"url", "outcome"},
    "/users/self/course_nicknames": {"course_id", "name", "nickname"},
    "/users/1002/logins": {
        "id",
        "user_id",
        "account_id",
        "unique_id",
        "sis_user_id",
        "authentication_provider_id",
        "workflow_state",
    },
    "/courses/2003/assignment_groups": {
        "id",
        "name",
        "position",
        "group_weight",
        "sis_source_id",
        "integration_data",
        "rules",
    },
    "/courses/2003/modules?include[]=items": {
        "id",
        "name",
        "position",
        "unlock_at",
        "require_sequential_progress",
        "publish_final_grade",
        "prerequisite_module_ids",
        "published",
        "items_count",
        "items_url",
        "items",
    },
    "/courses/2003/bulk_user_progress": {"id", "display_name", "progress"},
    "/courses/2010/content_migrations": {
        "id",
        "user_id",
        "workflow_state",
        "started_at",
        "finished_at",
        "migration_type",
        "migration_issues_count",
        "settings",
    },
    "/courses/2010/rubrics": {
        "id",
        "title",
        "context_id",
        "context_type",
        "points_possible",
        "reusable",
        "public",
        "read_only",
        "free_form_criterion_comments",
        "hide_score_total",
        "data",
    },
}


@pytest.mark.parametrize("path", DOCUMENTED)
def test_an_object_has_the_documented_keys_and_types(canvas: SimulatedCanvas, api: httpx.Client, path: str) -> None:
    if "{student}" in path:
        submissions = canvas.university.submissions()
        of = next(row for row in submissions.to_dicts() if row["score"] is not None)
        path = f"/courses/{of['course_id']}/assignments/{of['assignment_id']}/submissions/{{student}}"
        answer = api.get(path.format(student=of["user_id"]))
        want = DOCUMENTED["/courses/2004/assignments/32064/submissions/{student}"]
    else:
        answer, want = api.get(path), DOCUMENTED[path]
    assert answer.status_code == 200, path
    body = answer.json()
    assert set(body) == set(want)
    for key, value in body.items():
        kind = want[key]
        if value is not None:
            assert TIME.fullmatch(value) if kind is MOMENT else isinstance(value, kind), (key, value)


@pytest.mark.parametrize("path", LISTS)
def test_a_list_has_the_documented_keys(api: httpx.Client, path: str) -> None:
    rows = api.get(path).json()
    assert rows
    assert all(set(row) == LISTS[path] for row in rows)


def test_terms_are_in_an_envelope_and_only_active_ones_by_default(api: httpx.Client) -> None:
    assert {term["id"] for term in api.get("/accounts/self/terms").json()["enrollment_terms"]} == {1, 116, 117, 118}
    everything = api.get("/accounts/1/terms", params={"workflow_state[]": "all"}).json()["enrollment_terms"]
    # Downwards by start, nulls first.
    assert [term["id"] for term in everything] == [1, 90, 118, 117, 116]


def test_a_sub_account_has_no_terms(api: httpx.Client) -> None:
    answer = api.get("/accounts/2/terms")
    assert (answer.status_code, answer.json()) == (400, {"message": "Terms only belong to root_accounts."})


def test_the_root_account_has_no_sis_fields(api: httpx.Client) -> None:
    root = api.get("/accounts/self").json()
    assert (root["id"], root["parent_account_id"], root["root_account_id"]) == (1, None, None)
    assert "sis_account_id" not in root


def test_accounts_are_named_by_id_self_or_sis_id(api: httpx.Client) -> None:
    assert api.get("/accounts/sis_account_id:arts").json() == api.get("/accounts/2").json()
    assert api.get("/accounts/6").status_code == 404
    below = {each["id"] for each in api.get("/accounts/self/sub_accounts").json()}
    assert below < {each["id"] for each in api.get("/accounts/self/sub_accounts?recursive=true").json()}


def test_a_course_has_the_state_names_of_the_api(canvas: SimulatedCanvas, api: httpx.Client) -> None:
    states = {row["id"]: row["state"] for row in canvas.university.courses.to_dicts()}
    shown = {number: api.get(f"/courses/{number}").json().get("workflow_state") for number in states}
    names = {"claimed": "unpublished", "deleted": None}
    assert shown == {number: names.get(state, state) for number, state in states.items()}
