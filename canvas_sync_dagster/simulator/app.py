"""The routes of the simulated Canvas, with its shapes, statuses and words."""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import polars as pl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from canvas_sync_dagster.simulator.faults import Faults
from canvas_sync_dagster.simulator.reports import REPORTS, BadTermError, Report, ReportQueue, as_json, attachment

LOGIN_PAGE = "<!DOCTYPE html><html><title>Log In to Canvas</title><form id=login_form></form></html>"
LARGEST_BODY = 1 << 20
HIGH_WATER, OUTFLOW, UP_FRONT = 600.0, 10.0, 50.0


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that was made, without its secrets."""

    method: str
    path: str
    status: int


class Bucket:
    """Canvas's leaky bucket of one token."""

    def __init__(self, outflow: float = OUTFLOW) -> None:
        self._outflow, self._count, self._at, self._lock = outflow, 0.0, time.monotonic(), threading.Lock()

    def add(self, cost: float) -> float:
        """Adds a cost and returns what remains."""
        with self._lock:
            now = time.monotonic()
            self._count = max(0.0, self._count - self._outflow * (now - self._at)) + cost
            self._at = now
            return HIGH_WATER - self._count


class CanvasApp:
    """Answers requests; the servers are elsewhere.

    Args:
        queue: The reports.
        faults: What goes wrong.
        token: The one token that is accepted.
    """

    def __init__(self, queue: ReportQueue, faults: Faults, token: str) -> None:
        self.queue, self.faults = queue, faults
        self.university = queue.university
        self.requests: deque[RecordedRequest] = deque(maxlen=10_000)
        self.base_url = self.storage_url = ""
        self.storage_saw_authorization = False
        self._token = token
        self._bucket = Bucket()

    def canvas(self) -> Starlette:
        """Returns the ASGI application of Canvas itself."""
        account = "/api/v1/accounts/{account}"
        reports = f"{account}/reports/{{name}}"
        routes = {
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
            ("GET", "/api/v1/files/{number:int}"): self._file,
        }
        guarded = [Route(path, self._guarded(handler), methods=[method]) for (method, path), handler in routes.items()]
        web = [Route("/files/{number:int}/download", self._download), Route("/{path:path}", self._web)]
        return Starlette(routes=[*guarded, *web])

    def storage(self) -> Starlette:
        """Returns the ASGI application of the file storage, which stands on another host."""
        return Starlette(routes=[Route("/storage/{number:int}", self._storage)])

    def _guarded(self, handler: Callable[[Request, dict[str, str]], Response]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            response = self._refusal(request)
            if response is None:
                cost = self._bucket.add(0.5)
                response = handler(request, await _form(request))
                response.headers["X-Request-Cost"] = "0.5"
                response.headers["X-Rate-Limit-Remaining"] = str(cost)
            response.headers["Date"] = format_datetime(self.university.now, usegmt=True)
            self.requests.append(RecordedRequest(request.method, request.url.path, response.status_code))
            return response

        return answer

    def _refusal(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        take = self.faults.take
        if not given:
            body = {"status": "unauthenticated", "errors": [{"message": "user authorization required"}]}
            return JSONResponse(body, 401, {"WWW-Authenticate": 'Bearer realm="canvas-lms"'})
        if given != self._token or take("token_expired"):
            body = {"errors": [{"message": "Invalid access token."}]}
            return JSONResponse(body, 401, {"WWW-Authenticate": 'Bearer realm="canvas-lms"'})
        if take("no_permission"):
            return JSONResponse(
                {"status": "unauthorized", "errors": [{"message": "user not authorized to perform that action"}]}, 403
            )
        if take("throttled_403") or self._bucket.add(0) <= 0:
            return PlainTextResponse("403 Forbidden (Rate Limit Exceeded)\n", 403)
        if take("throttled_429"):
            return PlainTextResponse("Too Many Requests", 429, {"Retry-After": "1"})
        if take("bad_gateway"):
            return HTMLResponse("<html>This website is under heavy load</html>", 502)
        if take("maintenance_page"):
            return HTMLResponse("<html>Canvas is down for maintenance</html>")
        if take("dropped_connection"):
            return _torn(b'{"id": 1')
        account = request.path_params.get("account", "self")
        return None if account in {"self", "1", "sis_account_id:root"} else not_found()

    def _account(self, request: Request, form: Mapping[str, str]) -> Response:
        return JSONResponse(self._accounts(pl.col("id") == 1)[0])

    def _sub_accounts(self, request: Request, form: Mapping[str, str]) -> Response:
        deep = request.query_params.get("recursive") == "true"
        live = pl.col("parent_id").is_not_null() & (pl.col("state") != "deleted")
        return self._page(request, self._accounts(live if deep else live & (pl.col("parent_id") == 1)))

    def _accounts(self, where: pl.Expr) -> list[dict[str, Any]]:
        return [
            {
                "id": row["id"],
                "name": row["name"],
                "workflow_state": row["state"],
                "parent_account_id": row["parent_id"],
                "root_account_id": None if row["id"] == 1 else 1,
                "uuid": f"uuid-of-account-{row['id']}",
                "default_time_zone": "America/Denver",
                **({"sis_account_id": row["sis_id"], "integration_id": None} if row["id"] != 1 else {}),
            }
            for row in self.university.accounts.filter(where).to_dicts()
        ]

    def _terms(self, request: Request, form: Mapping[str, str]) -> Response:
        states = request.query_params.getlist("workflow_state[]") or ["active"]
        rows = [term for term in self._all_terms() if "all" in states or term["workflow_state"] in states]
        return self._page(request, rows, envelope="enrollment_terms")

    def _term(self, request: Request, form: Mapping[str, str]) -> Response:
        found = [term for term in self._all_terms() if term["id"] == request.path_params["term"]]
        return JSONResponse(found[0]) if found else not_found()

    def _all_terms(self) -> list[dict[str, Any]]:
        return [
            {
                "id": row["id"],
                "name": row["name"],
                "start_at": row["start_at"].strftime("%Y-%m-%dT%H:%M:%SZ") if row["start_at"] else None,
                "end_at": row["end_at"].strftime("%Y-%m-%dT%H:%M:%SZ") if row["end_at"] else None,
                "workflow_state": row["state"],
                "grading_period_group_id": None,
                "sis_term_id": row["sis_id"],
                "sis_import_id": None,
            }
            for row in self.university.terms.sort(
                "start_at", "id", descending=[True, False], nulls_last=True
            ).to_dicts()
        ]

    def _me(self, request: Request, form: Mapping[str, str]) -> Response:
        return JSONResponse({"id": 1001, "name": "Sync User"})

    def _available(self, request: Request, form: Mapping[str, str]) -> Response:
        names = sorted(self.queue.available, key=lambda name: REPORTS[name])
        runs = {name: self.queue.of(name)[:1] for name in names}
        return JSONResponse(
            [
                {
                    "title": REPORTS[name],
                    "report": name,
                    "parameters": {
                        "enrollment_term_id": {"required": False, "description": "The canvas id of the term"}
                    },
                    "last_run": as_json(runs[name][0], self.base_url) if runs[name] else None,
                }
                for name in names
            ]
        )

    def _index(self, request: Request, form: Mapping[str, str]) -> Response:
        return self._page(
            request, [as_json(each, self.base_url) for each in self.queue.of(request.path_params["name"])]
        )

    def _start(self, request: Request, form: Mapping[str, str]) -> Response:
        name = request.path_params["name"]
        if name not in self.queue.available or self.faults.take("unknown_report"):
            return not_found()
        lost = self.faults.take("lost_answer")
        try:
            report = self.queue.start(name, dict(form))
        except BadTermError as error:
            return JSONResponse({"error": f"invalid enrollment_term_id '{error}'"}, 400)
        return (
            HTMLResponse("<html>Gateway Time-out</html>", 504) if lost else JSONResponse(as_json(report, self.base_url))
        )

    def _status(self, request: Request, form: Mapping[str, str]) -> Response:
        report = self._report(request)
        return JSONResponse(as_json(report, self.base_url)) if report else not_found()

    def _delete(self, request: Request, form: Mapping[str, str]) -> Response:
        report = self._report(request)
        if report is None:
            return not_found()
        report.state = "deleted"
        return JSONResponse(as_json(report, self.base_url))

    def _abort(self, request: Request, form: Mapping[str, str]) -> Response:
        report = self._report(request)
        if report is None or not self.queue.abort(report):
            return not_found()
        return JSONResponse(as_json(report, self.base_url))

    def _report(self, request: Request) -> Report | None:
        return self.queue.look(request.path_params["name"], request.path_params["number"])

    def _file(self, request: Request, form: Mapping[str, str]) -> Response:
        report = self.queue.reports.get(request.path_params["number"])
        return JSONResponse(attachment(report, self.base_url)) if report and report.file else not_found()

    async def _download(self, request: Request) -> Response:
        number = request.path_params["number"]
        if request.query_params.get("verifier") != f"v{number}" or self.faults.take("login_page"):
            return HTMLResponse(LOGIN_PAGE)
        return RedirectResponse(f"{self.storage_url}/storage/{number}?token=t{number}&download=1", 302)

    async def _web(self, request: Request) -> Response:
        """Everything outside the API wants a browser."""
        return HTMLResponse(LOGIN_PAGE)

    async def _storage(self, request: Request) -> Response:
        self.storage_saw_authorization |= "authorization" in request.headers
        report = self.queue.reports.get(request.path_params["number"])
        if (
            report is None
            or report.file is None
            or request.query_params.get("token") != f"t{report.id}"
            or self.faults.take("expired_url")
        ):
            return Response(
                "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", 403, media_type="application/xml"
            )
        content = report.file.read_bytes()
        if self.faults.take("truncated_download"):
            return _torn(content[: len(content) // 2], len(content))
        return Response(content, media_type="application/octet-stream")

    def _page(self, request: Request, rows: Sequence[dict[str, Any]], envelope: str | None = None) -> Response:
        """Cuts a page; its neighbours are told as bookmarks, whose shape is nobody's business."""
        size = max(1, min(100, int(request.query_params.get("per_page", "10") or 10)))
        page = _bookmarked(request.query_params.get("page", "first"))
        if page is None:
            return not_found()
        chunk = list(rows[page * size : (page + 1) * size])
        last = math.ceil(len(rows) / size) - 1
        links = {"current": page, "next": page + 1 if page < last else None, "first": 0}
        header = ",".join(
            f'<{self._link(request, number)}>; rel="{rel}"' for rel, number in links.items() if number is not None
        )
        return JSONResponse({envelope: chunk} if envelope else chunk, headers={"Link": header})

    def _link(self, request: Request, page: int) -> str:
        kept = [(key, value) for key, value in parse_qsl(request.url.query) if key not in {"page", "access_token"}]
        mark = "bookmark:" + base64.urlsafe_b64encode(json.dumps([page]).encode()).decode()
        return f"{self.base_url}{request.url.path}?{urlencode([*kept, ('page', mark)])}"


def not_found() -> Response:
    """Answers as Canvas does for what is missing or hidden."""
    return JSONResponse({"errors": [{"message": "The specified resource does not exist."}]}, 404)


def _bookmarked(page: str) -> int | None:
    if page == "first":
        return 0
    if page.isdigit():
        return int(page) - 1
    try:
        return int(json.loads(base64.urlsafe_b64decode(page.removeprefix("bookmark:")))[0])
    except (ValueError, TypeError, IndexError, KeyError):
        return None


def _torn(start: bytes, length: int = 1000) -> Response:
    """Promises more than it sends; the server then breaks the connection."""

    async def body() -> Any:
        yield start

    return StreamingResponse(body(), headers={"Content-Length": str(max(length, len(start) + 1))})


async def _form(request: Request) -> dict[str, str]:
    """Reads `parameters[x]` from a form, a multipart form or JSON."""
    body = await request.body()
    if len(body) > LARGEST_BODY or not body:
        return {}
    if "json" in request.headers.get("content-type", ""):
        given = json.loads(body).get("parameters", {})
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    pairs = parse_qsl(body.decode())
    return {
        name.removeprefix("parameters[").removesuffix("]"): value
        for name, value in pairs
        if name.startswith("parameters[")
    }
