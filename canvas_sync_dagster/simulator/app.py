"""The routes of the simulated Canvas, with its shapes, statuses and words."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import polars as pl
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from canvas_sync_dagster.simulator import derived, objects
from canvas_sync_dagster.simulator.answers import LOGIN_PAGE, REFUSALS, bad_token, no_token, not_found, throttled
from canvas_sync_dagster.simulator.events import LazySigner
from canvas_sync_dagster.simulator.faults import DOWNLOAD_FAULTS, REQUEST_FAULTS, Faults
from canvas_sync_dagster.simulator.paging import page
from canvas_sync_dagster.simulator.parameters import read_parameters
from canvas_sync_dagster.simulator.report import Report, as_json, attachment, verifier
from canvas_sync_dagster.simulator.reports import ReportQueue, asked_term
from canvas_sync_dagster.simulator.throttle import Bucket
from canvas_sync_dagster.simulator.university import ROOT_ACCOUNT

REQUESTS_KEPT = 10_000
CHUNK = 1 << 18
"""Bytes of a file that are sent at a time."""

CRASHED = {"errors": [{"message": "An error occurred.", "error_code": "internal_server_error"}], "error_report_id": 7}
UNAUTHORIZED = {"status": "unauthorized", "errors": [{"message": "user not authorized to perform that action"}]}
LISTS: dict[str, tuple[Callable[..., Any], str | None]] = {
    "/accounts/{account}/roles": (derived.roles, None),
    "/accounts/{account}/admins": (derived.admins, None),
    "/accounts/{account}/outcome_group_links": (derived.outcome_links, None),
    "/courses/{course}/outcome_results": (derived.outcome_results, "outcome_results"),
    "/users/self/course_nicknames": (derived.nicknames, None),
}
"""Path → what makes the list, and the key it stands under."""
OBJECTS: dict[str, Callable[..., Any]] = {
    "/users/{user}": objects.user,
    "/courses/{course}": objects.course,
    "/sections/{section}": objects.section,
    "/accounts/{of_account}/enrollments/{enrollment}": objects.enrollment,
    "/courses/{course}/assignments/{assignment}": objects.assignment,
    "/courses/{course}/assignments/{assignment}/submissions/{user}": objects.submission,
    "/courses/{course}/assignments/{assignment}/overrides/{override}": objects.assignment_override,
    "/courses/{course}/assignment_groups/{group}": objects.assignment_group,
    "/courses/{course}/modules/{module}": objects.module,
    "/groups/{group}": objects.group,
    "/groups/{group}/users/{user}": objects.membership,
    "/users/{user}/observees/{observee}": objects.observee,
    "/group_categories/{category}": objects.group_category,
    "/outcomes/{outcome}": objects.outcome,
}
"""Path → what makes the object."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that Canvas answered, without its secrets."""

    method: str
    path: str
    status: int
    query: str = ""


Handler = Callable[[Request, int], Awaitable[Response]]


class CanvasApp:
    """Answers requests; the servers are elsewhere.

    Args:
        queue: The reports.
        faults: What goes wrong.
        token: The one token that is accepted.
        bucket: What limits the rate.
    """

    def __init__(self, queue: ReportQueue, faults: Faults, token: str, bucket: Bucket) -> None:
        self.queue, self.faults = queue, faults
        self.signer = LazySigner()
        self.university = queue.university
        self.requests: deque[RecordedRequest] = deque(maxlen=REQUESTS_KEPT)
        self.base_url = self.storage_url = ""
        self.storage_saw_authorization = False
        self.odd_terms: dict[int, dict[str, object]] = {}
        self._token, self._bucket = token, bucket
        self._storage_ids = count(1)
        self._storage_tokens: dict[str, tuple[int, bool]] = {}

    def canvas(self) -> Starlette:
        """Returns the ASGI application of Canvas itself."""
        account = "/api/v1/accounts/{account}"
        reports = f"{account}/reports/{{name}}"
        routes: dict[tuple[str, str], Handler] = {
            ("GET", account): self._account,
            ("GET", f"{account}/sub_accounts"): self._sub_accounts,
            ("GET", f"{account}/terms"): self._terms,
            ("GET", f"{account}/terms/{{term:int}}"): self._term,
            ("GET", f"{account}/reports"): self._available,
            ("GET", reports): self._index,
            ("POST", reports): self._start,
            ("GET", f"{reports}/{{number:int}}"): self._status,
            ("DELETE", f"{reports}/{{number:int}}"): self._delete,
            ("PUT", f"{reports}/{{number:int}}/abort"): self._abort,
            ("GET", "/api/v1/users/self"): self._me,
            **{("GET", f"/api/v1{path}"): self._listing(of) for path, of in LISTS.items()},
            **{("GET", f"/api/v1{path}"): self._object(of) for path, of in OBJECTS.items()},
            ("GET", "/api/v1/files/{number:int}"): self._file,
        }
        guarded = [Route(path, self._guarded(handler), methods=[method]) for (method, path), handler in routes.items()]
        api = Route("/api/{path:path}", self._guarded(self._nothing), methods=["GET", "POST", "PUT", "DELETE"])
        web = [
            Route("/live-events/jwks", self._jwks),
            Route("/files/{number:int}/download", self._download),
            Route("/{path:path}", self._web),
        ]
        return Starlette(routes=[*guarded, api, *web])

    def storage(self) -> Starlette:
        """Returns the ASGI application of the file storage, which stands on another host."""
        return Starlette(routes=[Route("/storage/{name}", self._storage)])

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            response = self._refusal(request)
            if response is None:
                response = await self._admitted(handler, request)
            response.headers["Date"] = format_datetime(self.university.now, usegmt=True)
            self._record(request, response.status_code)
            return response

        return answer

    async def _admitted(self, handler: Handler, request: Request) -> Response:
        if not self._bucket.enter():
            return throttled()
        try:
            account = self._account_id(request.path_params.get("account", "self"))
            response = await handler(request, account) if account is not None else not_found()
        except HTTPException as error:
            # The routes' 404 has more fields than a message.
            body = {"errors": [{"message": error.detail}]}
            response = not_found() if error.status_code == 404 else JSONResponse(body, error.status_code)
        finally:
            self._bucket.leave()
        response.headers["X-Request-Cost"] = str(self._bucket.cost)
        response.headers["X-Rate-Limit-Remaining"] = str(self._bucket.remaining)
        return response

    def _record(self, request: Request, status: int) -> None:
        kept = [(key, value) for key, value in parse_qsl(request.url.query) if key not in {"access_token", "verifier"}]
        self.requests.append(RecordedRequest(request.method, request.url.path, status, urlencode(kept)))

    def _refusal(self, request: Request) -> Response | None:
        in_query = request.query_params.get("access_token", "")
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or in_query
        if not given:
            return no_token()
        if given != self._token:
            return bad_token()
        fault = self.faults.one_of(tuple(REQUEST_FAULTS))
        return REFUSALS[fault]() if fault else None

    def _account_id(self, asked: str) -> int | None:
        """Reads an account as Canvas spells it: `self`, a number, or `sis_account_id:…`."""
        live = self.university.accounts.filter(pl.col("state") != "deleted")
        if asked == "self":
            return ROOT_ACCOUNT
        by_sis = asked.startswith("sis_account_id:")
        key, value = ("sis_id", asked.removeprefix("sis_account_id:")) if by_sis else ("id", asked)
        found = live.filter(pl.col(key).cast(pl.String) == value).get_column("id")
        return int(found[0]) if len(found) else None

    async def _account(self, request: Request, account: int) -> Response:
        return JSONResponse(self._accounts(pl.col("id") == account)[0])

    async def _sub_accounts(self, request: Request, account: int) -> Response:
        deep = request.query_params.get("recursive") in {"true", "1"}
        above = self.university.subtree(account) if deep else [account]
        return self._page(request, self._accounts(pl.col("parent_id").is_in(above) & (pl.col("state") != "deleted")))

    def _accounts(self, where: pl.Expr) -> list[dict[str, Any]]:
        return [
            {
                "id": row["id"],
                "name": row["name"],
                "workflow_state": row["state"],
                "parent_account_id": row["parent_id"],
                "root_account_id": None if row["id"] == ROOT_ACCOUNT else ROOT_ACCOUNT,
                "uuid": f"uuid-of-account-{row['id']}",
                "default_time_zone": "America/Denver",
                **({"sis_account_id": row["sis_id"], "integration_id": None} if row["id"] != ROOT_ACCOUNT else {}),
            }
            for row in self.university.accounts.filter(where).to_dicts()
        ]

    async def _terms(self, request: Request, account: int) -> Response:
        if account != ROOT_ACCOUNT:
            return JSONResponse({"message": "Terms only belong to root_accounts."}, 400)
        asked = [value for key in ("workflow_state[]", "workflow_state") for value in request.query_params.getlist(key)]
        states = asked or ["active"]
        rows = [term for term in self._all_terms() if "all" in states or term["workflow_state"] in states]
        return self._page(request, rows, envelope="enrollment_terms")

    async def _term(self, request: Request, account: int) -> Response:
        found = [term for term in self._all_terms() if term["id"] == request.path_params["term"]]
        return JSONResponse(found[0]) if found and account == ROOT_ACCOUNT else not_found()

    def _all_terms(self) -> list[dict[str, Any]]:
        # PostgreSQL, in which Canvas sorts, puts nulls first when it sorts downwards.
        rows = self.university.terms.sort(
            "start_at", "end_at", "id", descending=[True, True, False], nulls_last=[False, False, True]
        )
        return [
            {
                "id": row["id"],
                "name": row["name"],
                "start_at": row["start_at"].strftime("%Y-%m-%dT%H:%M:%SZ") if row["start_at"] else None,
                "end_at": row["end_at"].strftime("%Y-%m-%dT%H:%M:%SZ") if row["end_at"] else None,
                "workflow_state": row["state"],
                "grading_period_group_id": None,
                "created_at": "2020-01-01T07:00:00Z",
                "sis_term_id": row["sis_id"],
                "sis_import_id": None,
                **self.odd_terms.get(row["id"], {}),
            }
            for row in rows.to_dicts()
        ]

    async def _me(self, request: Request, account: int) -> Response:
        return JSONResponse({"id": 1001, "name": "Sync User"})

    def _listing(self, of: tuple[Callable[..., Any], str | None]) -> Handler:
        find, envelope = of

        async def answer(request: Request, account: int) -> Response:
            numbers = _numbers(request, account)
            return not_found() if numbers is None else self._page(request, find(self.university, *numbers), envelope)

        return answer

    def _object(self, find: Callable[..., Any]) -> Handler:
        async def answer(request: Request, account: int) -> Response:
            if self._account_id(request.path_params.get("of_account", "self")) != ROOT_ACCOUNT:
                return not_found()
            numbers = _numbers(request, account)
            if numbers is not None and self.faults.take("unauthorized_object"):
                return JSONResponse(UNAUTHORIZED, 401)
            if numbers is not None and self.faults.take("broken_object"):
                return JSONResponse(CRASHED, 500)
            found = find(self.university, *numbers) if numbers is not None else None
            return JSONResponse(found) if found is not None else not_found()

        return answer

    async def _available(self, request: Request, account: int) -> Response:
        titles = self.queue.titles
        names = sorted(self.queue.available, key=lambda name: titles[name])
        runs = {name: self.queue.of(name, account)[:1] for name in names}
        parameters = {"enrollment_term_id": {"required": False, "description": "The canvas id of the term"}}
        return JSONResponse(
            [
                {
                    "title": titles[name],
                    "report": name,
                    "parameters": parameters,
                    "last_run": as_json(runs[name][0], self.base_url) if runs[name] else None,
                }
                for name in names
            ]
        )

    async def _index(self, request: Request, account: int) -> Response:
        name = request.path_params["name"]
        if name not in self.queue.available:
            return not_found()
        return self._page(request, [as_json(each, self.base_url) for each in self.queue.of(name, account)])

    async def _start(self, request: Request, account: int) -> Response:
        name = request.path_params["name"]
        parameters = await read_parameters(request)
        if name not in self.queue.available or self.faults.take("unknown_report"):
            return not_found()
        report = self.queue.start(name, parameters, account)
        if report is None:
            return JSONResponse({"error": f"invalid enrollment_term_id '{asked_term(parameters)}'"}, 400)
        if self.faults.take("lost_answer"):
            return HTMLResponse("<html>Gateway Time-out</html>", 504)
        return JSONResponse(as_json(report, self.base_url))

    async def _status(self, request: Request, account: int) -> Response:
        report = self._report(request, account)
        return JSONResponse(as_json(report, self.base_url)) if report else not_found()

    async def _delete(self, request: Request, account: int) -> Response:
        report = self._report(request, account)
        if report is None:
            return not_found()
        self.queue.delete(report)
        return JSONResponse(as_json(report, self.base_url))

    async def _abort(self, request: Request, account: int) -> Response:
        report = self._report(request, account)
        if report is None or not self.queue.abort(report):
            return not_found()
        return JSONResponse(as_json(report, self.base_url))

    def _report(self, request: Request, account: int) -> Report | None:
        return self.queue.look(request.path_params["name"], request.path_params["number"], account)

    async def _file(self, request: Request, account: int) -> Response:
        report = self.queue.of_file(request.path_params["number"])
        return JSONResponse(attachment(report, self.base_url)) if report else not_found()

    async def _nothing(self, request: Request, account: int) -> Response:
        return not_found()

    async def _download(self, request: Request) -> Response:
        """Leads whoever knows the verifier to the storage, with a token that is good for this once."""
        report = self.queue.of_file(request.path_params["number"])
        known = report is not None and request.query_params.get("verifier") == verifier(report)
        fault = self.faults.one_of(tuple(DOWNLOAD_FAULTS)) if known else None
        if report is None or not known or fault == "login_page":
            self._record(request, 200)
            return HTMLResponse(LOGIN_PAGE)
        token = f"t{next(self._storage_ids)}"
        if fault != "expired_url":
            self._storage_tokens[token] = (report.id, fault == "truncated_download")
        self._record(request, 302)
        return RedirectResponse(f"{self.storage_url}/storage/{report.file_id}?token={token}&download=1", 302)

    async def _jwks(self, request: Request) -> Response:
        return JSONResponse(self.signer.get().jwks())

    async def _web(self, request: Request) -> Response:
        """Everything outside the API wants a browser."""
        self._record(request, 200)
        return HTMLResponse(LOGIN_PAGE)

    async def _storage(self, request: Request) -> Response:
        self.storage_saw_authorization |= "authorization" in request.headers
        number, torn = self._storage_tokens.get(request.query_params.get("token", ""), (0, False))
        report = self.queue.reports.get(number)
        if report is None or report.file is None or request.path_params["name"] != str(report.file_id):
            denied = "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
            return Response(denied, 403, media_type="application/xml")
        size = report.file.stat().st_size
        chunks = _chunks(report.file, size // 2 if torn else size)
        kind = "application/zip" if report.is_zip else "text/csv"
        # An empty file cannot end early.
        return StreamingResponse(chunks, media_type=kind, headers={"Content-Length": str(size)})

    def _page(self, request: Request, rows: Sequence[dict[str, Any]], envelope: str | None = None) -> Response:
        chunk, links = page(request, rows, self.base_url)
        return JSONResponse({envelope: chunk} if envelope else chunk, headers={"Link": links})


def _numbers(request: Request, account: int) -> list[int] | None:
    """Reads the ids in a path; Canvas takes digits, and anything else is missing."""
    given = {name: value for name, value in request.path_params.items() if name != "of_account"}
    found = [account if name == "account" else value for name, value in given.items()]
    return [int(each) for each in found] if all(str(each).isdecimal() for each in found) else None


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            size -= len(chunk)
            yield chunk
