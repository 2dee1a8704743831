"""The client of Canvas's REST API: one token, one host, one throttle.

Idempotent requests are retried while the trouble may pass; a POST never is, for Canvas would do it twice.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx
import stamina

from canvas_sync_dagster.canvas.answers import address, error_of, read_json
from canvas_sync_dagster.canvas.network import Deadline
from canvas_sync_dagster.canvas.network import transport as guarded
from canvas_sync_dagster.canvas.paging import next_page
from canvas_sync_dagster.canvas.throttle import Throttle, canvas_date
from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.errors import CanvasUnavailableError, NotCanvasError, TransientError

TIMEOUT = httpx.Timeout(connect=10, read=60, write=30, pool=60)
"""Seconds. Canvas answers lists within seconds; a minute without a byte is a dead connection."""
API = "/api/v1"
PAGE_SIZE = 100
"""Canvas's largest page; more is clamped without a word."""
MOST_PAGES = 100_000
"""Pages of one walk: ten million objects. More is a loop."""
LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer of the API; a page of a hundred objects has at most a few hundred kilobytes."""
ANSWER_SECONDS = 120.0
"""Seconds from a request to the last byte of its answer. Canvas itself gives up after 60; the rest is for a slow line."""
RETRY_SECONDS = 45.0
"""How long one request is tried again; a longer outage is for whoever called to wait out."""
RETRY_ATTEMPTS = 8
CLOCK_STEP = 5.0
"""Seconds by which a reading of Canvas's clock may be late; one that is later still means that a clock was set."""

Parameters = Mapping[str, str] | Sequence[tuple[str, str]]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Canvas:
    """A connection to one Canvas with one token. Threads may share it.

    Args:
        base_url: `https://school.instructure.com`.
        token: Access token; it appears in no repr and no message.
        account_id: The account whose reports are run, for paths with `{account_id}`. What only a root account answers
            has `{root_account_id}` in its path, which is asked of Canvas once.
        retry_seconds: How long one idempotent request is tried again.
        answer_seconds: How long one answer may take, to its last byte.
        transport: Another transport of httpx.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        account_id: str = "self",
        retry_seconds: float = RETRY_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = httpx.URL(base_url.rstrip("/"))
        self.account_id = account_id
        self._token = token
        self._retry_seconds, self._answer_seconds = retry_seconds, answer_seconds
        self._throttle = Throttle()
        self._epoch: float | None = None
        self._root: str | None = None
        self._lock = threading.Lock()
        self._deadline, verify = Deadline(), _authorities()
        # No Authorization among the client's own headers: downloads go to other hosts through the same client.
        self.http = httpx.Client(
            timeout=TIMEOUT,
            transport=transport or guarded(self.base_url.host, self._deadline, verify),
            follow_redirects=False,
            headers={"User-Agent": "canvas_sync_dagster"},
            verify=verify,
        )

    def __repr__(self) -> str:
        return f"Canvas({str(self.base_url)!r}, account_id={self.account_id!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self.http.close()

    def now(self) -> datetime:
        """Returns the moment on Canvas's clock."""
        return self.moment(time.monotonic())

    def moment(self, at: float) -> datetime:
        """Return a moment of `time.monotonic()` on Canvas's clock, never a later one.

        Until Canvas has answered once, and while its clock is ahead of ours by more than a slack, it is our own clock;
        so ask afterwards when something began.
        """
        ours = datetime.now(UTC) - timedelta(seconds=time.monotonic() - at)
        with self._lock:
            epoch = self._epoch
        if epoch is None or epoch + at > horizon(ours).timestamp():
            return ours
        return datetime.fromtimestamp(epoch + at, UTC)

    @property
    def ahead(self) -> timedelta | None:
        """How far Canvas's clock is ahead of ours, negative if it is behind; None until Canvas has answered once."""
        with self._lock:
            epoch = self._epoch
        if epoch is None:
            return None
        return timedelta(seconds=epoch + time.monotonic() - datetime.now(UTC).timestamp())

    def get(self, path: str, parameters: Parameters = ()) -> Any:
        """Returns the JSON below `/api/v1`.

        Raises:
            CanvasError: Canvas did not give it.
        """
        pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
        return read_json(self.request("GET", self.url(path).copy_merge_params([*pairs])))

    def get_list(
        self, path: str, parameters: Parameters = (), *, envelope: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Walks a list through all its pages.

        Args:
            path: Below `/api/v1`.
            parameters: Of the first page; the next pages' addresses are Canvas's own.
            envelope: Key of the list, where it is not the whole answer.

        Raises:
            CanvasError: A page could not be had; what came before is not the whole.
        """
        pairs = list(parameters.items()) if isinstance(parameters, Mapping) else list(parameters)
        url: httpx.URL | None = self.url(path).copy_merge_params([*pairs, ("per_page", str(PAGE_SIZE))])
        seen: set[str] = set()
        while url is not None:
            if str(url) in seen or len(seen) >= MOST_PAGES:
                raise NotCanvasError(f"{address(url)}: the pages of this list lead round in a circle.")
            seen.add(str(url))
            response = self.request("GET", url)
            yield from _objects(read_json(response), envelope, url)
            url = next_page(response, self.base_url)

    def post(self, path: str, form: Parameters = ()) -> Any:
        """Posts a form once and returns the JSON; it is never repeated.

        Args:
            path: Below `/api/v1`.
            form: Fields of the form. A field that occurs several times, such as `ids[]`, needs pairs.

        Raises:
            CanvasError: Canvas refused, or its answer was lost: then it may have done it all the same.
        """
        pairs = list(form.items()) if isinstance(form, Mapping) else list(form)
        body = {"content": urlencode(pairs), "headers": FORM} if pairs else {}
        return read_json(self.request("POST", self.url(path), **body))

    def put(self, path: str) -> Any:
        """Puts nothing, which triggers an action, and returns the JSON."""
        return read_json(self.request("PUT", self.url(path)))

    def delete(self, path: str) -> Any:
        """Deletes and returns the JSON."""
        return read_json(self.request("DELETE", self.url(path)))

    @property
    def root_account_id(self) -> str:
        """The root account above the tenant's account: `self` if that is the tenant's.

        Raises:
            CanvasError: Canvas does not give the account.
        """
        # `self` is the root account of the host. Two threads that ask at once get the same answer.
        if self._root is None and self.account_id != "self":
            account = self.get("/accounts/{account_id}")
            above = account.get("root_account_id") if isinstance(account, dict) else None
            self._root = str(above) if above else self.account_id
        return self._root or "self"

    def url(self, path: str) -> httpx.URL:
        """Returns the address of a path below `/api/v1`; it may begin with that, and may end with a query."""
        if "{root_account_id}" in path:
            path = path.replace("{root_account_id}", self.root_account_id)
        filled, _, query = path.replace("{account_id}", self.account_id).partition("?")
        below = f"/{filled.lstrip('/')}".removeprefix(f"{API}/").lstrip("/")
        whole = f"{self.base_url.path.rstrip('/')}{API}/{below}"
        return self.base_url.copy_with(path=whole, query=query.encode() or None)

    def request(self, method: str, url: httpx.URL, **arguments: Any) -> httpx.Response:
        """Sends one request, with the token, within the throttle; idempotent ones are tried again.

        Raises:
            CanvasUnavailableError: Canvas cannot be reached.
            CanvasThrottledError: It refused for want of units until the end.
        """
        attempts = 1 if method == "POST" else RETRY_ATTEMPTS
        for attempt in stamina.retry_context(
            on=TransientError,
            attempts=attempts,
            timeout=self._retry_seconds,
            wait_initial=0.2,
            wait_max=10,
            wait_jitter=0.5,
        ):
            with attempt:
                response = self._send(method, url, **arguments)
                error = error_of(response)
                if isinstance(error, TransientError):
                    raise error
        return response

    def _send(self, method: str, url: httpx.URL, **arguments: Any) -> httpx.Response:
        request = self.http.build_request(method, url, **{key: value for key, value in arguments.items() if value})
        request.headers["Authorization"] = f"Bearer {self._token}"
        request.headers["Accept"] = "application/json"
        response: httpx.Response | None = None
        self._throttle.acquire()
        try:
            with (
                self._deadline.within(self._answer_seconds),
                contextlib.closing(self.http.send(request, stream=True)) as streamed,
            ):
                response = _read_bounded(streamed, time.monotonic() + self._answer_seconds)
        except httpx.HTTPError as error:
            raise unreachable(method, url, error) from None
        finally:
            self._throttle.release(response)
        self._note_clock(response)
        return response

    def _note_clock(self, response: httpx.Response) -> None:
        """Learns Canvas's clock: its answers tell whole seconds, and late, so that the latest reading is the truest."""
        if (date := canvas_date(response)) is not None and date.tzinfo is not None:
            epoch = date.timestamp() - time.monotonic()
            with self._lock:
                if self._epoch is None or not self._epoch - CLOCK_STEP < epoch <= self._epoch:
                    self._epoch = epoch


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Reads the certificates that servers must be signed by, once: it takes 25 ms, and every op has a client."""
    return httpx.create_ssl_context()


def unreachable(method: str, url: httpx.URL, error: httpx.HTTPError) -> CanvasUnavailableError:
    """Says that a request got no answer."""
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else f"cannot be reached ({error})"
    return CanvasUnavailableError(
        f"{method} {address(url)}: {url.host} {what}. Check CANVAS_SYNC_BASE_URL and the network; else try later.",
        method=method,
        url=address(url),
    )


def _read_bounded(streamed: httpx.Response, until: float) -> httpx.Response:
    """Read an answer into memory, unless it is larger than any answer of the API, or takes too long in all."""
    chunks, size = [], 0
    for chunk in streamed.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if time.monotonic() > until:
            # Behind a proxy, where the socket knows no deadline.
            raise httpx.ReadTimeout("the whole answer took too long", request=streamed.request)
        if size > LARGEST_ANSWER:
            raise NotCanvasError(f"{address(streamed.request.url)} answers with more than {LARGEST_ANSWER >> 20} MB.")
    headers = [(name, value) for name, value in streamed.headers.multi_items() if name != "content-encoding"]
    return httpx.Response(streamed.status_code, headers=headers, content=b"".join(chunks), request=streamed.request)


def _objects(body: Any, envelope: str | None, url: httpx.URL) -> list[dict[str, Any]]:
    found = body.get(envelope) if envelope and isinstance(body, dict) else body
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NotCanvasError(f"{address(url)} does not answer with a list of objects.")
    return found
