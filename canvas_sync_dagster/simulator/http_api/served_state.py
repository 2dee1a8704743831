"""What the routes of the simulated Canvas share: its reports, faults, addresses and the requests it answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import polars as pl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from canvas_sync_dagster.simulator.faults import Faults
from canvas_sync_dagster.simulator.http_api.link_header import page
from canvas_sync_dagster.simulator.report_runs.report_queue import ReportQueue
from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT
from canvas_sync_dagster.simulator.university.state import University

REQUESTS_KEPT = 10_000
"""Number of requests that are remembered; a test reads the latest few."""
SECRET_PARAMETERS = {"access_token", "verifier"}

Handler = Callable[[Request, int], Awaitable[Response]]
"""Answers a request to the API; the number is the id of the account in its path, or that of the root account."""
Routes = dict[tuple[str, str], Handler]
"""Method and path → what answers it."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that the simulated Canvas answered, without its secrets.

    Attributes:
        method: `GET`, `POST` and so on.
        path: Path of its URL.
        status: Status of the answer.
        query: Query of its URL without `access_token` and `verifier`.
    """

    method: str
    path: str
    status: int
    query: str = ""


@dataclass
class ServedState:
    """What all routes read and change.

    Attributes:
        queue: The report runs.
        faults: What goes wrong.
        base_url: Address of Canvas; empty while it does not serve.
        storage_url: Address of the file storage, which is another host.
        requests: The latest requests to Canvas.
        answered: Number of all requests to Canvas.
        storage_saw_authorization: Whether a client sent its token to the file storage.
        odd_terms: Term id → fields that its JSON overrides.
        token: The access token.
        token_expires_at: When it expires, as Canvas writes it; None if it does not.
        shows_tokens: Whether this Canvas is new enough to show a token to its user.
    """

    queue: ReportQueue
    faults: Faults
    base_url: str = ""
    storage_url: str = ""
    requests: deque[RecordedRequest] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    answered: int = 0
    storage_saw_authorization: bool = False
    odd_terms: dict[int, dict[str, object]] = field(default_factory=dict)
    token: str = field(default="", repr=False)
    token_expires_at: str | None = None
    shows_tokens: bool = True

    @property
    def university(self) -> University:
        return self.queue.university

    def record(self, request: Request, status: int) -> None:
        """Remember a request, without its secrets."""
        kept = [(key, value) for key, value in parse_qsl(request.url.query) if key not in SECRET_PARAMETERS]
        self.answered += 1
        self.requests.append(RecordedRequest(request.method, request.url.path, status, urlencode(kept)))

    def page(self, request: Request, rows: Sequence[dict[str, Any]], envelope: str | None = None) -> Response:
        """Answer with one page of a list, with its `Link` header."""
        chunk, links = page(request, rows, self.base_url)
        return JSONResponse({envelope: chunk} if envelope else chunk, headers={"Link": links})

    def account_id(self, asked: str) -> int | None:
        """Return the id of an account from Canvas's spellings: `self`, a number, or `sis_account_id:…`."""
        live = self.university.accounts.filter(pl.col("state") != "deleted")
        if asked == "self":
            return ROOT_ACCOUNT
        by_sis = asked.startswith("sis_account_id:")
        key, value = ("sis_id", asked.removeprefix("sis_account_id:")) if by_sis else ("id", asked)
        found = live.filter(pl.col(key).cast(pl.String) == value).get_column("id")
        return int(found[0]) if len(found) else None
