"""The ASGI application of the simulated Canvas: who may ask, at what rate, and which routes answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import format_datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from canvas_sync_dagster.simulator.event_feed.signer import LazySigner
from canvas_sync_dagster.simulator.http_api.error_answers import (
    LOGIN_PAGE,
    REFUSALS,
    bad_token,
    no_token,
    not_found,
    throttled,
)
from canvas_sync_dagster.simulator.http_api.file_routes import FileRoutes
from canvas_sync_dagster.simulator.http_api.report_routes import ReportRoutes
from canvas_sync_dagster.simulator.http_api.rest_routes import RestRoutes
from canvas_sync_dagster.simulator.http_api.served_state import Handler, ServedState
from canvas_sync_dagster.simulator.rate_limit import Bucket


class CanvasApplication:
    """Build the applications of Canvas and of its file storage.

    Args:
        state: What all routes share.
        token: The one token that is accepted.
        bucket: What limits the rate of requests.
        signer: Its public keys are served at `/live-events/jwks`.
        latency: Seconds that a request to the API waits before it is answered.
    """

    def __init__(
        self, state: ServedState, token: str, bucket: Bucket, signer: LazySigner, *, latency: float = 0.0
    ) -> None:
        self._state, self._token, self._bucket, self._signer = state, token, bucket, signer
        self._latency = latency
        self._files = FileRoutes(state)

    def canvas(self) -> Starlette:
        """Return the application of Canvas itself."""
        handlers = ReportRoutes(self._state).routes() | RestRoutes(self._state).routes() | self._files.routes()
        guarded = [
            Route(path, self._guarded(handler), methods=[method]) for (method, path), handler in handlers.items()
        ]
        unknown = Route("/api/{path:path}", self._guarded(_unknown), methods=["GET", "POST", "PUT", "DELETE"])
        web = [
            Route("/live-events/jwks", self._jwks),
            self._files.download_route(),
            Route("/{path:path}", self._login_page),
        ]
        return Starlette(routes=[*guarded, unknown, *web])

    def storage(self) -> Starlette:
        """Return the application of the file storage, which is another host."""
        return self._files.storage()

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if self._latency:
                await asyncio.sleep(self._latency)
            response = self._refusal(request)
            if response is None:
                response = await self._admitted(handler, request)
            response.headers["Date"] = format_datetime(self._state.university.now, usegmt=True)
            self._state.record(request, response.status_code)
            return response

        return answer

    async def _admitted(self, handler: Handler, request: Request) -> Response:
        if not self._bucket.enter():
            return throttled()
        try:
            account = self._state.account_id(request.path_params.get("account", "self"))
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

    def _refusal(self, request: Request) -> Response | None:
        in_query = request.query_params.get("access_token", "")
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or in_query
        if not given:
            return no_token()
        if given != self._token:
            return bad_token()
        fault = self._state.faults.of_request(request.url.path)
        return REFUSALS[fault]() if fault else None

    async def _jwks(self, request: Request) -> Response:
        return JSONResponse(self._signer.get().jwks())

    async def _login_page(self, request: Request) -> Response:
        """Answer as Canvas's web pages, which redirect a client without a session to the login page."""
        self._state.record(request, 200)
        return HTMLResponse(LOGIN_PAGE)


async def _unknown(request: Request, account: int) -> Response:
    return not_found()
