"""Routes of report files: the API's description, Canvas's download address, and the storage on another host."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from canvas_sync_dagster.simulator.faults import DOWNLOAD_FAULTS
from canvas_sync_dagster.simulator.http_api.error_answers import LOGIN_PAGE, not_found
from canvas_sync_dagster.simulator.http_api.served_state import Routes, ServedState
from canvas_sync_dagster.simulator.report_runs.report_json import attachment, verifier

CHUNK = 1 << 18
"""Bytes of a file that are sent at a time."""
DENIED = "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"


class FileRoutes:
    """Answer requests for report files.

    Args:
        state: What all routes share.
    """

    def __init__(self, state: ServedState) -> None:
        self._state = state
        self._token_numbers = count(1)
        self._tokens: dict[str, tuple[int, bool]] = {}
        """Token of the storage → id of the report, whether the download ends early."""

    def routes(self) -> Routes:
        return {("GET", "/api/v1/files/{number:int}"): self._file}

    def download_route(self) -> Route:
        return Route("/files/{number:int}/download", self._download)

    def storage(self) -> Starlette:
        """Return the application of the file storage."""
        return Starlette(routes=[Route("/storage/{name}", self._storage)])

    async def _file(self, request: Request, account: int) -> Response:
        report = self._state.queue.of_file(request.path_params["number"])
        return JSONResponse(attachment(report, self._state.base_url)) if report else not_found()

    async def _download(self, request: Request) -> Response:
        """Redirect to the storage with a new token if the request has the file's verifier."""
        report = self._state.queue.of_file(request.path_params["number"])
        known = report is not None and request.query_params.get("verifier") == verifier(report)
        fault = self._state.faults.one_of(tuple(DOWNLOAD_FAULTS)) if known else None
        if report is None or not known or fault == "login_page":
            self._state.record(request, 200)
            return HTMLResponse(LOGIN_PAGE)
        token = f"t{next(self._token_numbers)}"
        if fault != "expired_url":
            self._tokens[token] = (report.id, fault == "truncated_download")
        self._state.record(request, 302)
        return RedirectResponse(f"{self._state.storage_url}/storage/{report.file_id}?token={token}&download=1", 302)

    async def _storage(self, request: Request) -> Response:
        self._state.storage_saw_authorization |= "authorization" in request.headers
        number, torn = self._tokens.get(request.query_params.get("token", ""), (0, False))
        report = self._state.queue.reports.get(number)
        if report is None or report.file is None or request.path_params["name"] != str(report.file_id):
            return Response(DENIED, 403, media_type="application/xml")
        size = report.file.stat().st_size
        chunks = _chunks(report.file, size // 2 if torn else size)
        kind = "application/zip" if report.is_zip else "text/csv"
        # An empty file cannot end early.
        return StreamingResponse(chunks, media_type=kind, headers={"Content-Length": str(size)})


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            size -= len(chunk)
            yield chunk
