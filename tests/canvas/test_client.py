"""The client against a simulated Canvas over real HTTP, and its decisions without any."""

from __future__ import annotations

import io
import logging
import re
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from canvas_sync_dagster.canvas.answers import error_of
from canvas_sync_dagster.canvas.archive import open_tables
from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.canvas.download import download
from canvas_sync_dagster.canvas.lifecycle import Attachment
from canvas_sync_dagster.canvas.throttle import CAPACITY, PLENTY, RESERVE, UP_FRONT, Throttle, retry_after
from canvas_sync_dagster.errors import (
    CanvasForbiddenError,
    CanvasNotFoundError,
    CanvasRequestError,
    CanvasSyncError,
    CanvasThrottledError,
    CanvasUnauthorizedError,
    CanvasUnavailableError,
    NotCanvasError,
    ReportContentError,
)
from canvas_sync_dagster.simulator import Bucket, SimulatedCanvas

TOKEN = "7~very-secret"


def answer(status: int, text: str = "", headers: dict[str, str] | None = None) -> httpx.Response:
    request = httpx.Request("GET", f"https://school.test/api/v1/x?access_token={TOKEN}")
    return httpx.Response(status, text=text, headers=headers, request=request)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer(401, '{"errors":[{"message":"Invalid access token."}]}', {"WWW-Authenticate": 'Bearer realm="canvas-lms"'}), CanvasUnauthorizedError),
        (answer(401, '{"status":"unauthorized","errors":[{"message":"user not authorized to perform that action"}]}'), CanvasForbiddenError),
        (answer(403, '{"errors":[{"message":"user not authorized to perform that action"}]}'), CanvasForbiddenError),
        (answer(403, "403 Forbidden (Rate Limit Exceeded)\n", {"X-Rate-Limit-Remaining": "13.67"}), CanvasThrottledError),
        (answer(429, ""), CanvasThrottledError),
        (answer(404, '{"errors":[{"message":"The specified resource does not exist."}]}'), CanvasNotFoundError),
        (answer(400, '{"message":"Terms only belong to root_accounts."}'), CanvasRequestError),
        (answer(400, '{"errors":"Invalid as_user_id"}'), CanvasRequestError),
        (answer(422, "[]"), CanvasRequestError),
        (answer(502, "<html>heavy load</html>", {"Content-Type": "text/html"}), CanvasUnavailableError),
        (answer(500, "oops"), CanvasUnavailableError),
        (answer(302, "", {"Location": "/login"}), NotCanvasError),
        (answer(404, "<!DOCTYPE html><html>", {"Content-Type": "text/html"}), NotCanvasError),
    ],
)  # fmt: skip
def test_errors_tell_apart_what_is_wrong(response: httpx.Response, kind: type[CanvasSyncError]) -> None:
    error = error_of(response)
    assert type(error) is kind
    assert TOKEN not in str(error)
    assert "school.test/api/v1/x" in str(error)


def test_lists_are_walked_through_opaque_pages(canvas: SimulatedCanvas) -> None:
    with Canvas(canvas.base_url, canvas.token) as client:
        client_pages = [("per_page", "2")]
        terms = client.get(client.url("/accounts/self/terms").path.removeprefix("/api/v1"), client_pages)
        assert len(terms["enrollment_terms"]) == 2
        everything = list(
            client.get_list("/accounts/{account_id}/terms", [("workflow_state[]", "all")], envelope="enrollment_terms")
        )
        assert {term["id"] for term in everything} == {1, 90, 116, 117, 118}
        with pytest.raises(NotCanvasError, match="list"):
            list(client.get_list("/accounts/self"))


def scripted(handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> Canvas:
    return Canvas("https://school.test", TOKEN, transport=httpx.MockTransport(handler), **options)


def test_the_token_is_not_sent_to_another_host_by_a_next_link() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=[], headers={"Link": '<https://evil.test/api/v1/x?page=2>; rel="next"'})

    with pytest.raises(NotCanvasError, match=r"evil\.test"):
        list(scripted(handler).get_list("/x"))
    assert [request.url.host for request in seen] == ["school.test"]


def test_a_pagination_loop_ends() -> None:
    link = {"Link": '<https://school.test/api/v1/x?page=a>; rel="next"'}
    client = scripted(lambda _: httpx.Response(200, json=[{}], headers=link))
    with pytest.raises(NotCanvasError, match="pagination loop"):
        list(client.get_list("/x"))


def test_a_next_link_that_is_not_a_url_is_one_clear_error() -> None:
    client = scripted(lambda _: httpx.Response(200, json=[], headers={"Link": '<http://[::1>; rel="next"'}))
    with pytest.raises(NotCanvasError, match="not a URL"):
        list(client.get_list("/x"))


def test_json_without_end_to_its_depth_is_not_of_canvas() -> None:
    client = scripted(lambda _: httpx.Response(200, text="[" * 100_000 + "]" * 100_000))
    with pytest.raises(NotCanvasError, match="not JSON"):
        client.get("/x")


def test_a_redirect_is_not_followed_with_the_token() -> None:
    with pytest.raises(NotCanvasError, match="CANVAS_SYNC_BASE_URL"):
        scripted(lambda _: httpx.Response(302, headers={"Location": "https://evil.test/"})).get("/x")


def test_idempotent_requests_are_tried_again_and_a_post_is_not() -> None:
    methods: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        methods.append(request.method)
        return httpx.Response(502 if len(methods) < 3 else 200, json={})

    client = scripted(handler, retry_seconds=5)
    assert client.get("/x") == {}
    assert methods == ["GET"] * 3
    methods.clear()
    with pytest.raises(CanvasUnavailableError):
        client.post("/x", {"a": "b"})
    assert methods == ["POST"]


def test_each_retry_is_logged_as_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    left = [502, 200]
    client = scripted(lambda _: httpx.Response(left.pop(0), json={}), retry_seconds=5)
    assert client.get("/x", {"secret": TOKEN}) == {}
    (line,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert re.match(r"Canvas: attempt 1 of 8 failed, the next one follows in 0\.\d seconds: GET .*/x", line)
    assert TOKEN not in caplog.text


def test_a_long_wait_for_a_response_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("canvas_sync_dagster.canvas.client.NOTED_WAIT", 0.0)
    noted = threading.Event()

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "no complete response" in record.getMessage():
                noted.set()

    handler = Noting()
    logging.getLogger("canvas_sync_dagster.canvas.client").addHandler(handler)

    def hanging(_: httpx.Request) -> httpx.Response:
        assert noted.wait(30)
        return httpx.Response(200, json={})

    try:
        assert scripted(hanging).get("/x") == {}
    finally:
        logging.getLogger("canvas_sync_dagster.canvas.client").removeHandler(handler)
    (line,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert re.search(
        r"^GET .*/x: .* until \d\d:\d\d:\d\d UTC at most, or until no byte has arrived for 60 seconds$", line
    )


def test_an_unreachable_host_is_one_error_that_names_it() -> None:
    with (
        Canvas("http://127.0.0.1:9", TOKEN, retry_seconds=0.1) as client,
        pytest.raises(CanvasUnavailableError, match=r"127\.0\.0\.1"),
    ):
        client.get("/users/self")


def test_the_token_is_in_no_repr_and_no_log(canvas: SimulatedCanvas, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Canvas(canvas.base_url, canvas.token) as client:
        client.get("/users/self")
        assert canvas.token not in repr(client) + repr(client.http) + repr(client.http.headers)
    assert caplog.text
    assert canvas.token not in caplog.text


def test_an_answer_beyond_all_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("canvas_sync_dagster.canvas.client.LARGEST_ANSWER", 1000)
    with pytest.raises(NotCanvasError, match="MB"):
        scripted(lambda _: httpx.Response(200, json=["x" * 2000])).get("/x")


class TestThrottle:
    def make(self) -> tuple[Throttle, list[float]]:
        waits: list[float] = []
        time = [0.0]

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            time[0] += seconds

        return Throttle(lambda: time[0], sleep), waits

    def respond(self, throttle: Throttle, remaining: float, times: int = 1) -> None:
        for _ in range(times):
            throttle.acquire()
            throttle.release(answer(200, "{}", {"X-Rate-Limit-Remaining": str(remaining)}))

    def test_requests_since_the_last_report_leave_a_reserve(self) -> None:
        throttle, waits = self.make()
        self.respond(throttle, CAPACITY, times=12)
        self.respond(throttle, 300)
        for _ in range(int((300 - RESERVE) / UP_FRONT)):
            throttle.acquire()
        assert waits == []
        throttle.acquire()
        assert sum(waits) == pytest.approx(5)

    def test_requests_that_a_report_contains_are_not_charged_twice(self) -> None:
        throttle, waits = self.make()
        self.respond(throttle, CAPACITY, times=12)
        for _ in range(4):
            throttle.acquire()
        # Canvas reports 600 less the charges of the three requests that are still in flight.
        throttle.release(answer(200, "{}", {"X-Rate-Limit-Remaining": "450"}))
        for _ in range(int((450 - RESERVE) / UP_FRONT)):
            throttle.acquire()
        assert waits == []

    def test_the_window_grows_while_plenty_is_left_and_halves_when_little_is(self) -> None:
        throttle, _ = self.make()
        assert throttle.window == 1
        self.respond(throttle, PLENTY, times=3)
        assert throttle.window == 4
        self.respond(throttle, PLENTY - 1, times=3)
        assert throttle.window == 4
        self.respond(throttle, RESERVE - 1)
        assert throttle.window == 2
        self.respond(throttle, CAPACITY, times=2)
        assert 2 < throttle.window < 3.1, "after a decrease it grows by one per round trip"
        throttle.acquire()
        throttle.release(answer(429, ""))
        assert throttle.window < 2

    def test_several_clients_share_the_bucket_of_a_token_without_a_refusal(self) -> None:
        bucket, until = Bucket(cost=0.4), time.monotonic() + 2
        served, refused = Counter[int](), Counter[int]()

        def request(client: int, throttle: Throttle) -> None:
            while time.monotonic() < until:
                throttle.acquire()
                if not bucket.enter():
                    refused[client] += 1
                    throttle.release(answer(403, "403 Forbidden (Rate Limit Exceeded)\n"))
                    continue
                time.sleep(0.05)
                bucket.leave()
                throttle.release(answer(200, "{}", {"X-Rate-Limit-Remaining": str(bucket.remaining)}))
                served[client] += 1

        clients = [Throttle() for _ in range(4)]
        with ThreadPoolExecutor(32) as threads:
            for number in range(32):
                threads.submit(request, number % 4, clients[number % 4])
        assert not refused
        assert len(served) == 4
        assert min(served.values()) > 0.1 * max(served.values())

    def test_a_single_caller_is_never_held_up_while_units_are_left(self) -> None:
        throttle, waits = self.make()
        for _ in range(100):
            throttle.acquire()
            throttle.release(answer(200, "{}", {"X-Rate-Limit-Remaining": "60"}))
        assert waits == []

    def test_an_empty_bucket_is_waited_for(self) -> None:
        throttle, waits = self.make()
        throttle.acquire()
        throttle.release(answer(200, "{}", {"X-Rate-Limit-Remaining": "-100"}))
        throttle.acquire()
        assert sum(waits) == pytest.approx(15)

    def test_retry_after_is_honoured_as_seconds_and_as_a_date(self) -> None:
        throttle, waits = self.make()
        throttle.acquire()
        throttle.release(answer(429, "", {"Retry-After": "7"}))
        throttle.acquire()
        assert sum(waits) == pytest.approx(7)
        dated = {"Retry-After": "Thu, 01 Jan 2026 00:00:30 GMT", "Date": "Thu, 01 Jan 2026 00:00:10 GMT"}
        assert retry_after(answer(429, "", dated)) == 20
        assert retry_after(answer(429, "", {"Retry-After": "soon"})) is None
        assert retry_after(answer(429, "", {"Retry-After": "99999999"})) == 300


class TestDownload:
    def fetch(
        self, handler: Callable[[httpx.Request], httpx.Response], tmp_path: Path, size: int | None = None
    ) -> bytes:
        attachment = Attachment("https://school.test/files/1?verifier=v", 1, size)
        download(scripted(handler), attachment, lambda: attachment, tmp_path / "file", sleep=lambda _: None)
        return (tmp_path / "file").read_bytes()

    def test_redirects_are_followed_without_the_token(self, tmp_path: Path) -> None:
        seen: list[httpx.Request] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            if request.url.host == "school.test":
                return httpx.Response(302, headers={"Location": "https://storage.test/x"})
            return httpx.Response(200, content=b"a,b\n")

        assert self.fetch(handler, tmp_path, 4) == b"a,b\n"
        assert all("authorization" not in request.headers for request in seen)

    @pytest.mark.parametrize(
        "response",
        [
            httpx.Response(200, html="<!DOCTYPE html><html>Log in</html>"),
            httpx.Response(200, content=b"<html>"),
            httpx.Response(403, content=b"<Error/>"),
            httpx.Response(200, content=b"short"),
        ],
    )
    def test_what_is_not_the_file_is_refused_and_leaves_nothing(self, tmp_path: Path, response: httpx.Response) -> None:
        with pytest.raises(ReportContentError):
            self.fetch(lambda _: response, tmp_path, 10)
        assert list(tmp_path.iterdir()) == []

    def test_unavailable_storage_is_a_transient_error(self, tmp_path: Path) -> None:
        with pytest.raises(CanvasUnavailableError, match="storage"):
            self.fetch(lambda _: httpx.Response(503), tmp_path)


class TestArchive:
    def zipped(self, path: Path, **files: bytes) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    def test_names_are_compared_and_never_used_as_paths(self, tmp_path: Path) -> None:
        path = self.zipped(
            tmp_path / "x", **{"../../etc/Courses.csv": b"c", "dir\\sections.csv": b"s", "other.csv": b"o"}
        )
        tables = open_tables(path, ["courses", "sections"], where="w")
        assert {name: opener().read() for name, opener in tables.items()} == {"courses": b"c", "sections": b"s"}
        assert tables["courses"]().read() == b"c"
        assert [each.name for each in tmp_path.iterdir()] == ["x"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "ZIP with"),
            (b"PK\x03\x04rubbish", "damaged"),
            (b"<!doctype html>", "web page"),
            (b"a,b\n1,2\n", "single CSV"),
        ],
    )
    def test_what_is_no_archive_is_refused(self, tmp_path: Path, content: bytes, says: str) -> None:
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ReportContentError, match=says):
            open_tables(tmp_path / "x", ["courses", "sections"], where="w")

    def test_a_missing_and_a_doubled_table_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ReportContentError, match="lacks sections"):
            open_tables(self.zipped(tmp_path / "x", **{"courses.csv": b""}), ["courses", "sections"], where="w")
        with pytest.raises(ReportContentError, match="twice"):
            open_tables(
                self.zipped(tmp_path / "y", **{"a/courses.csv": b"", "b/courses.csv": b""}), ["courses", "x"], where="w"
            )

    def test_a_damaged_entry_is_noticed_while_reading(self, tmp_path: Path) -> None:
        path = self.zipped(tmp_path / "x", **{"courses.csv": bytes(range(256)) * 4000, "sections.csv": b""})
        content = bytearray(path.read_bytes())
        content[200] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(ReportContentError, match="damaged"):
            open_tables(path, ["courses", "sections"], where="w")["courses"]().read()

    def test_a_bomb_does_not_go_off(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("canvas_sync_dagster.canvas.archive.SMALL", 1000)
        path = self.zipped(tmp_path / "x", **{"courses.csv": b"\0" * 50_000_000})
        with (
            pytest.raises(ReportContentError, match="size limit"),
            open_tables(path, ["courses"], where="w")["courses"]() as file,
        ):
            while file.read(1 << 20):
                pass

    def test_declared_sizes_are_not_believed(self, tmp_path: Path) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("courses.csv", b"x" * 1000)
        content = packed.getvalue().replace((1000).to_bytes(4, "little"), (500).to_bytes(4, "little"))
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ReportContentError):
            open_tables(tmp_path / "x", ["courses"], where="w")["courses"]().read()
