"""Routes of the account reports API: list, start, status, delete, abort."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from canvas_sync_dagster.simulator.http_api.error_answers import not_found
from canvas_sync_dagster.simulator.http_api.report_parameters import read_parameters
from canvas_sync_dagster.simulator.http_api.served_state import Routes, ServedState
from canvas_sync_dagster.simulator.report_runs.report_content import asked_term
from canvas_sync_dagster.simulator.report_runs.report_json import as_json
from canvas_sync_dagster.simulator.report_runs.report_run import ReportRun

REPORTS_PATH = "/api/v1/accounts/{account}/reports"


class ReportRoutes:
    """Answer requests for reports.

    Args:
        state: What all routes share.
    """

    def __init__(self, state: ServedState) -> None:
        self._state, self._queue = state, state.queue

    def routes(self) -> Routes:
        one_name = f"{REPORTS_PATH}/{{name}}"
        return {
            ("GET", REPORTS_PATH): self._available,
            ("GET", one_name): self._index,
            ("POST", one_name): self._start,
            ("GET", f"{one_name}/{{number:int}}"): self._status,
            ("DELETE", f"{one_name}/{{number:int}}"): self._delete,
            ("PUT", f"{one_name}/{{number:int}}/abort"): self._abort,
        }

    async def _available(self, request: Request, account: int) -> Response:
        titles = self._queue.titles
        names = sorted(self._queue.available, key=lambda name: titles[name])
        runs = {name: self._queue.of(name, account)[:1] for name in names}
        parameters = {"enrollment_term_id": {"required": False, "description": "The canvas id of the term"}}
        return JSONResponse(
            [
                {
                    "title": titles[name],
                    "report": name,
                    "parameters": parameters,
                    "last_run": self._json(runs[name][0]) if runs[name] else None,
                }
                for name in names
            ]
        )

    async def _index(self, request: Request, account: int) -> Response:
        name = request.path_params["name"]
        if name not in self._queue.available:
            return not_found()
        return self._state.page(request, [self._json(run) for run in self._queue.of(name, account)])

    async def _start(self, request: Request, account: int) -> Response:
        name = request.path_params["name"]
        parameters = await read_parameters(request)
        if name not in self._queue.available or self._state.faults.take("unknown_report"):
            return not_found()
        report = self._queue.start(name, parameters, account)
        if report is None:
            return JSONResponse({"error": f"invalid enrollment_term_id '{asked_term(parameters)}'"}, 400)
        if self._state.faults.take("lost_answer"):
            return HTMLResponse("<html>Gateway Time-out</html>", 504)
        return JSONResponse(self._json(report))

    async def _status(self, request: Request, account: int) -> Response:
        report = self._report(request, account)
        return JSONResponse(self._json(report)) if report else not_found()

    async def _delete(self, request: Request, account: int) -> Response:
        report = self._report(request, account)
        if report is None:
            return not_found()
        self._queue.delete(report)
        return JSONResponse(self._json(report))

    async def _abort(self, request: Request, account: int) -> Response:
        report = self._report(request, account)
        if report is None or not self._queue.abort(report):
            return not_found()
        return JSONResponse(self._json(report))

    def _report(self, request: Request, account: int) -> ReportRun | None:
        return self._queue.look(request.path_params["name"], request.path_params["number"], account)

    def _json(self, report: ReportRun) -> dict[str, object]:
        return as_json(report, self._state.base_url)
