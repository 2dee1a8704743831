"""Routes of the REST API for accounts, terms, lists and single objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from canvas_sync_dagster.simulator.http_api import course_lists, rest_lists, rest_objects, rest_samples
from canvas_sync_dagster.simulator.http_api.error_answers import crashed, not_found, unauthorized_object
from canvas_sync_dagster.simulator.http_api.served_state import Handler, Routes, ServedState
from canvas_sync_dagster.simulator.university.course_index import of_course
from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT

MOST_STUDENTS = 100
"""Students whose submissions Canvas lists in one request; for more it answers 400."""
ACCOUNT_PATH = "/api/v1/accounts/{account}"
LISTS: dict[str, tuple[Callable[..., Any], str | None]] = {
    "/accounts/{account}/roles": (rest_lists.roles, None),
    "/accounts/{account}/admins": (rest_lists.admins, None),
    "/accounts/{account}/outcome_group_links": (rest_lists.outcome_links, None),
    "/courses/{course}/outcome_results": (rest_lists.outcome_results, "outcome_results"),
    "/users/self/course_nicknames": (rest_lists.nicknames, None),
    "/courses/{course}/sections": (rest_samples.sections, None),
    "/groups/{group}/memberships": (rest_samples.memberships, None),
}
"""Path → what makes the list, and the key of the JSON object that holds it; None for a bare list."""
QUERIES: dict[str, tuple[Callable[..., Any], str | None]] = {
    "/accounts/{account}/courses": (course_lists.courses, None),
    "/accounts/{account}/grading_period_sets": (course_lists.grading_period_sets, "grading_period_sets"),
    "/accounts/{account}/content_migrations": (course_lists.nothing, None),
    "/accounts/{account}/rubrics": (course_lists.nothing, None),
    "/users/{user}/logins": (course_lists.logins, None),
    "/courses/{course}/assignment_groups": (course_lists.assignment_groups, None),
    "/courses/{course}/assignments": (course_lists.assignments, None),
    "/courses/{course}/enrollments": (course_lists.enrollments, None),
    "/courses/{course}/modules": (course_lists.modules, None),
    "/courses/{course}/modules/{module}/items": (course_lists.module_items, None),
    "/courses/{course}/bulk_user_progress": (course_lists.progresses, None),
    "/courses/{course}/content_migrations": (course_lists.content_migrations, None),
    "/courses/{course}/rubrics": (course_lists.rubrics, None),
    "/courses/{course}/rubrics/{rubric}": (course_lists.rubric, None),
}
"""Path → what makes the list, or the one object, from the query of the request."""
OBJECTS: dict[str, Callable[..., Any]] = {
    "/users/{user}": rest_objects.user,
    "/courses/{course}": rest_objects.course,
    "/sections/{section}": rest_objects.section,
    "/accounts/{of_account}/enrollments/{enrollment}": rest_objects.enrollment,
    "/courses/{course}/assignments/{assignment}": rest_objects.assignment,
    "/courses/{course}/assignments/{assignment}/submissions/{user}": rest_objects.submission,
    "/courses/{course}/assignments/{assignment}/overrides/{override}": rest_objects.assignment_override,
    "/courses/{course}/assignment_groups/{group}": rest_objects.assignment_group,
    "/courses/{course}/modules/{module}": rest_objects.module,
    "/groups/{group}": rest_objects.group,
    "/groups/{group}/users/{user}": rest_objects.membership,
    "/users/{user}/observees/{observee}": rest_objects.observee,
    "/group_categories/{category}": rest_objects.group_category,
    "/outcomes/{outcome}": rest_objects.outcome,
}
"""Path → what makes the object."""


class RestRoutes:
    """Answer requests for accounts, terms, lists and single objects.

    Args:
        state: What all routes share.
    """

    def __init__(self, state: ServedState) -> None:
        self._state = state

    def routes(self) -> Routes:
        return {
            ("GET", ACCOUNT_PATH): self._account,
            ("GET", f"{ACCOUNT_PATH}/sub_accounts"): self._sub_accounts,
            ("GET", f"{ACCOUNT_PATH}/terms"): self._terms,
            ("GET", f"{ACCOUNT_PATH}/terms/{{term:int}}"): self._term,
            ("GET", f"{ACCOUNT_PATH}/users"): self._users,
            ("GET", "/api/v1/users/self"): self._me,
            ("GET", "/api/v1/users/self/tokens/{hint}"): self._token,
            ("GET", "/api/v1/courses/{course:int}/students/submissions"): self._submissions,
            **{("GET", f"/api/v1{path}"): self._list(find, key) for path, (find, key) in LISTS.items()},
            **{("GET", f"/api/v1{path}"): self._queried(find, key) for path, (find, key) in QUERIES.items()},
            **{("GET", f"/api/v1{path}"): self._object(find) for path, find in OBJECTS.items()},
        }

    async def _account(self, request: Request, account: int) -> Response:
        return JSONResponse(rest_lists.accounts(self._state.university, pl.col("id") == account)[0])

    async def _sub_accounts(self, request: Request, account: int) -> Response:
        university = self._state.university
        deep = request.query_params.get("recursive") in {"true", "1"}
        above = university.subtree(account) if deep else [account]
        below = pl.col("parent_id").is_in(above) & (pl.col("state") != "deleted")
        return self._state.page(request, rest_lists.accounts(university, below))

    async def _terms(self, request: Request, account: int) -> Response:
        if account != ROOT_ACCOUNT:
            return JSONResponse({"message": "Terms only belong to root_accounts."}, 400)
        asked = [value for key in ("workflow_state[]", "workflow_state") for value in request.query_params.getlist(key)]
        states = asked or ["active"]
        rows = [term for term in self._all_terms() if "all" in states or term["workflow_state"] in states]
        return self._state.page(request, rows, envelope="enrollment_terms")

    async def _term(self, request: Request, account: int) -> Response:
        found = [term for term in self._all_terms() if term["id"] == request.path_params["term"]]
        return JSONResponse(found[0]) if found and account == ROOT_ACCOUNT else not_found()

    def _all_terms(self) -> list[dict[str, Any]]:
        return [term | self._state.odd_terms.get(term["id"], {}) for term in rest_lists.terms(self._state.university)]

    async def _users(self, request: Request, account: int) -> Response:
        return self._state.page(request, rest_samples.users(self._state.university))

    async def _submissions(self, request: Request, account: int) -> Response:
        """Return the list of all students, or as Canvas's `for_students` for a token that may see all grades."""
        if request.query_params.getlist("student_ids[]") == ["all"]:
            return await self._queried(course_lists.submissions, None)(request, account)
        course, university = request.path_params["course"], self._state.university
        people = {int(each) for each in request.query_params.getlist("student_ids[]")}
        tasks = {int(each) for each in request.query_params.getlist("assignment_ids[]")}
        narrow = of_course(university, course)
        if people - set(narrow.enrollments.filter(pl.col("state") != "deleted").get_column("user_id")):
            return unauthorized_object()
        if len(people) > MOST_STUDENTS:
            return JSONResponse({"error": "too many students"}, 400)
        if tasks - set(narrow.assignments.get_column("id")):
            return JSONResponse({"error": "invalid assignment ids requested"}, 403)
        return self._state.page(request, rest_objects.submissions(university, course, tasks, people))

    async def _me(self, request: Request, account: int) -> Response:
        return JSONResponse({"id": 1001, "name": "Sync User"})

    async def _token(self, request: Request, account: int) -> Response:
        """Answer as Canvas's TokensController: by the first five characters of the token."""
        state = self._state
        hint = state.token.rpartition("~")[2][:5]
        if not state.shows_tokens or request.path_params["hint"] != hint:
            return not_found()
        return JSONResponse(
            {
                "id": 31,
                "created_at": "2026-01-05T08:00:00Z",
                "expires_at": state.token_expires_at,
                "workflow_state": "active",
                "purpose": "canvas_sync",
                "user_id": 1001,
                "visible_token": f"{hint}...",
                "app_name": "User-Generated",
            }
        )

    def _list(self, find: Callable[..., Any], envelope: str | None) -> Handler:
        async def answer(request: Request, account: int) -> Response:
            ids = _ids(request, account)
            if ids is None:
                return not_found()
            return self._state.page(request, find(self._state.university, *ids), envelope)

        return answer

    def _queried(self, find: Callable[..., Any], envelope: str | None) -> Handler:
        async def answer(request: Request, account: int) -> Response:
            ids = _ids(request, account)
            found = find(self._state.university, request.query_params, *ids) if ids is not None else None
            if found is None:
                return not_found()
            return JSONResponse(found) if isinstance(found, dict) else self._state.page(request, found, envelope)

        return answer

    def _object(self, find: Callable[..., Any]) -> Handler:
        async def answer(request: Request, account: int) -> Response:
            if self._state.account_id(request.path_params.get("of_account", "self")) != ROOT_ACCOUNT:
                return not_found()
            ids = _ids(request, account)
            if ids is not None and self._state.faults.take("unauthorized_object"):
                return unauthorized_object()
            if ids is not None and self._state.faults.take("broken_object"):
                return crashed()
            found = find(self._state.university, *ids) if ids is not None else None
            return JSONResponse(found) if found is not None else not_found()

        return answer


def _ids(request: Request, account: int) -> list[int] | None:
    """Return the ids in a path; None, for which Canvas answers 404, if one is not digits."""
    given = {name: value for name, value in request.path_params.items() if name != "of_account"}
    found = [account if name == "account" else value for name, value in given.items()]
    return [int(each) for each in found] if all(str(each).isdecimal() for each in found) else None
