"""Client of Canvas's REST API: one token, one host, one throttle.

Idempotent requests are retried after transient errors. A POST is never retried, because Canvas would execute it twice.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx

from canvas_sync_dagster.canvas.answers import address, error_of, read_json
from canvas_sync_dagster.canvas.network import Deadline
from canvas_sync_dagster.canvas.network import transport as guarded
from canvas_sync_dagster.canvas.paging import next_page
from canvas_sync_dagster.canvas.throttle import Throttle, canvas_date
from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.errors import (
    CanvasCertificateError,
    CanvasError,
    CanvasUnavailableError,
    NotCanvasError,
    TransientError,
)
from canvas_sync_dagster.retries import attempts_at

LOG = logging.getLogger(__name__)
TIMEOUT = httpx.Timeout(connect=10, read=60, write=30, pool=60)
"""Seconds. Canvas answers lists within seconds; a minute without a byte is a dead connection."""
API = "/api/v1"
PAGE_SIZE = 100
"""Largest page of Canvas; it reduces larger values silently."""
MOST_PAGES = 100_000
"""Maximum pages of one walk, which is ten million objects; more indicates a loop."""
LARGEST_ANSWER = 64 * 1024 * 1024
"""Maximum bytes of one response; a page of a hundred objects has at most a few hundred kilobytes."""
ANSWER_SECONDS = 120.0
"""Seconds from a request to the last byte of its response. Canvas gives up after 60; the rest allows for slow networks."""
RETRY_SECONDS = 45.0
"""Seconds for which one request is retried; callers must handle longer outages."""
RETRY_ATTEMPTS = 8
NOTED_WAIT = 10.0
"""Seconds without a complete response after which the log notes the wait; Canvas answers nearly all requests sooner."""
CLOCK_STEP = 5.0
"""Seconds by which a reading of Canvas's clock may be late; a later one means that a clock was adjusted."""

Parameters = Mapping[str, str] | Sequence[tuple[str, str]]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Canvas:
    """A connection to one Canvas with one token. Threads may share it.

    Args:
        base_url: `https://school.instructure.com`.
        token: Access token; it never appears in `repr` or messages.
        account_id: Account whose reports are run; it replaces `{account_id}` in paths. `{root_account_id}` is replaced by
            the root account above it, which Canvas is asked for once.
        retry_seconds: Seconds for which one idempotent request is retried.
        answer_seconds: Seconds that one response may take, to its last byte.
        transport: httpx transport to use instead of the default.
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
        self._requests = 0
        self._deadline, verify = Deadline(), _authorities()
        # The client's default headers lack Authorization, because downloads go to other hosts through the same client.
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
        """Close the connections."""
        self.http.close()

    def now(self) -> datetime:
        """Return the current time by Canvas's clock."""
        return self.moment(time.monotonic())

    def moment(self, at: float) -> datetime:
        """Return a reading of `time.monotonic()` as time by Canvas's clock, never too late.

        Until Canvas has responded once, and while its clock is ahead of this host's by more than `SLACK`, this host's
        clock is used. Therefore convert the start of a request after its response.

        Args:
            at: Reading of `time.monotonic()`, in seconds.
        """
        ours = datetime.now(UTC) - timedelta(seconds=time.monotonic() - at)
        with self._lock:
            epoch = self._epoch
        if epoch is None or epoch + at > horizon(ours).timestamp():
            return ours
        return datetime.fromtimestamp(epoch + at, UTC)

    @property
    def requests(self) -> int:
        """Number of requests that were sent, including those that were tried again."""
        with self._lock:
            return self._requests

    @property
    def ahead(self) -> timedelta | None:
        """Lead of Canvas's clock over this host's, negative if it is behind; None until Canvas has responded once."""
        with self._lock:
            epoch = self._epoch
        if epoch is None:
            return None
        return timedelta(seconds=epoch + time.monotonic() - datetime.now(UTC).timestamp())

    def get(self, path: str, parameters: Parameters = ()) -> Any:
        """Return the JSON at a path.

        Args:
            path: Path below `/api/v1`.
            parameters: Query parameters.

        Raises:
            CanvasError: The request failed.
        """
        pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
        return read_json(self.request("GET", self.url(path).copy_merge_params([*pairs])))

    def get_list(
        self, path: str, parameters: Parameters = (), *, envelope: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the objects of all pages of a list.

        Args:
            path: Path below `/api/v1`.
            parameters: Query parameters of the first page; Canvas returns the URLs of the next pages.
            envelope: Key of the list in the response; None if the response is the list.

        Raises:
            CanvasError: A page could not be read; the objects before it are incomplete.
        """
        pairs = list(parameters.items()) if isinstance(parameters, Mapping) else list(parameters)
        url: httpx.URL | None = self.url(path).copy_merge_params([*pairs, ("per_page", str(PAGE_SIZE))])
        seen: set[str] = set()
        while url is not None:
            if str(url) in seen or len(seen) >= MOST_PAGES:
                raise NotCanvasError(f"{address(url)}: pagination loop detected.")
            seen.add(str(url))
            response = self.request("GET", url)
            yield from _objects(read_json(response), envelope, url)
            url = next_page(response, self.base_url)

    def post(self, path: str, form: Parameters = ()) -> Any:
        """Post a form and return the JSON; the request is never retried.

        Args:
            path: Path below `/api/v1`.
            form: Fields of the form; use pairs if a field occurs several times, such as `ids[]`.

        Raises:
            CanvasError: Canvas rejected the request, or its response was lost; Canvas may then have executed it.
        """
        pairs = list(form.items()) if isinstance(form, Mapping) else list(form)
        body = {"content": urlencode(pairs), "headers": FORM} if pairs else {}
        return read_json(self.request("POST", self.url(path), **body))

    def put(self, path: str) -> Any:
        """Send a PUT without a body, which triggers an action, and return the JSON."""
        return read_json(self.request("PUT", self.url(path)))

    def delete(self, path: str) -> Any:
        """Send a DELETE and return the JSON."""
        return read_json(self.request("DELETE", self.url(path)))

    @property
    def root_account_id(self) -> str:
        """Id of the root account above the tenant's account; `self` if the tenant's account is `self`.

        Raises:
            CanvasError: The account could not be read.
        """
        # `self` is the root account of the host. Two threads that read it at the same time get the same result.
        if self._root is None and self.account_id != "self":
            account = self.get("/accounts/{account_id}")
            above = account.get("root_account_id") if isinstance(account, dict) else None
            self._root = str(above) if above else self.account_id
        return self._root or "self"

    def url(self, path: str) -> httpx.URL:
        """Return the URL of a path, with or without `/api/v1` in front, and with an optional query."""
        if "{root_account_id}" in path:
            path = path.replace("{root_account_id}", self.root_account_id)
        filled, _, query = path.replace("{account_id}", self.account_id).partition("?")
        below = f"/{filled.lstrip('/')}".removeprefix(f"{API}/").lstrip("/")
        whole = f"{self.base_url.path.rstrip('/')}{API}/{below}"
        return self.base_url.copy_with(path=whole, query=query.encode() or None)

    def request(self, method: str, url: httpx.URL, **arguments: Any) -> httpx.Response:
        """Send one request with the token, within the throttle, and return the response; retry unless it is a POST.

        Args:
            method: HTTP method.
            url: Absolute URL at the host of the base URL.
            arguments: Arguments of `httpx.Client.build_request`.

        Raises:
            CanvasUnavailableError: Canvas cannot be reached.
            CanvasCertificateError: The TLS certificate of the server is not trusted.
            CanvasThrottledError: Canvas refused the last try because the rate limit was exhausted.
        """
        attempts = 1 if method == "POST" else RETRY_ATTEMPTS
        for attempt in attempts_at(
            "Canvas", TransientError, attempts=attempts, seconds=self._retry_seconds, longest_wait=10, jitter=0.5
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
        with self._lock:
            self._requests += 1
        self._throttle.acquire()
        try:
            with (
                _noted_wait(method, url, self._answer_seconds),
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
        """Record Canvas's clock. `Date` has whole seconds and arrives late, so the largest reading is the most accurate."""
        if (date := canvas_date(response)) is not None and date.tzinfo is not None:
            epoch = date.timestamp() - time.monotonic()
            with self._lock:
                if self._epoch is None or not self._epoch - CLOCK_STEP < epoch <= self._epoch:
                    self._epoch = epoch


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Load the trusted certificates once: loading takes 25 ms, and every op creates a client."""
    return httpx.create_ssl_context()


@contextlib.contextmanager
def _noted_wait(method: str, url: httpx.URL, answer_seconds: float) -> Iterator[None]:
    """Log once that the `with` block is still waiting for a response, and until when."""
    until = datetime.now(UTC) + timedelta(seconds=answer_seconds)

    def note() -> None:
        LOG.warning(
            "%s %s: no complete response after %.0f seconds. Waiting until %s UTC at most, or until no byte has arrived for "
            "%.0f seconds",
            method,
            address(url),
            NOTED_WAIT,
            f"{until:%H:%M:%S}",
            TIMEOUT.read,
        )

    timer = threading.Timer(NOTED_WAIT, note)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def refused_certificate(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return the refusal of a certificate that an error of httpx wraps; None if it has another cause."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause


def certificate_error(method: str, url: httpx.URL, refusal: ssl.SSLCertVerificationError) -> CanvasCertificateError:
    """Return the error for a server whose TLS certificate is not trusted."""
    return CanvasCertificateError(
        f"{method} {address(url)}: the TLS certificate of {url.host} is not trusted: "
        f"{refusal.verify_message.rstrip('.')}. If a private authority or a TLS proxy of your network signed it, set the "
        "environment variable SSL_CERT_FILE to a PEM file with the certificates of the authorities that you trust. Otherwise "
        "the server needs a valid certificate.",
        method=method,
        url=address(url),
    )


def unreachable(method: str, url: httpx.URL, error: httpx.HTTPError) -> CanvasError:
    """Return the error for a request without a response."""
    if refusal := refused_certificate(error):
        return certificate_error(method, url, refusal)
    what = "did not respond in time" if isinstance(error, httpx.TimeoutException) else f"cannot be reached ({error})"
    return CanvasUnavailableError(
        f"{method} {address(url)}: {url.host} {what}. Check CANVAS_SYNC_BASE_URL and the network, or try again later.",
        method=method,
        url=address(url),
    )


def _read_bounded(streamed: httpx.Response, until: float) -> httpx.Response:
    """Read a response into memory; raise if it is too large or takes too long in all."""
    chunks, size = [], 0
    for chunk in streamed.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if time.monotonic() > until:
            # Behind a proxy, where the socket has no deadline.
            raise httpx.ReadTimeout("the whole response took too long", request=streamed.request)
        if size > LARGEST_ANSWER:
            raise NotCanvasError(f"{address(streamed.request.url)} returned more than {LARGEST_ANSWER >> 20} MB.")
    headers = [(name, value) for name, value in streamed.headers.multi_items() if name != "content-encoding"]
    return httpx.Response(streamed.status_code, headers=headers, content=b"".join(chunks), request=streamed.request)


def _objects(body: Any, envelope: str | None, url: httpx.URL) -> list[dict[str, Any]]:
    found = body.get(envelope) if envelope and isinstance(body, dict) else body
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NotCanvasError(f"{address(url)} did not return a list of objects.")
    return found
