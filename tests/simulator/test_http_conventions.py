"""What all routes of Canvas have in common: paging, rate limit, errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from canvas_sync_dagster.simulator import Bucket, SimulatedCanvas

MISSING = {"errors": [{"message": "The specified resource does not exist."}]}
TERMS = "/accounts/self/terms"


def links(answer: httpx.Response) -> dict[str, str]:
    # Canvas joins links by a comma without a blank.
    parts = [re.fullmatch(r'<([^>]+)>; rel="(\w+)"', part) for part in answer.headers["link"].split(",")]
    return {part.group(2): part.group(1) for part in parts if part}


def test_pages_are_linked_by_opaque_bookmarks(canvas: SimulatedCanvas, api: httpx.Client) -> None:
    answer = api.get(TERMS, params={"per_page": 2, "workflow_state[]": "all"})
    seen = []
    while True:
        seen += [term["id"] for term in answer.json()["enrollment_terms"]]
        found = links(answer)
        assert found.keys() - {"next"} == {"current", "first"}
        if "next" not in found:
            break
        assert found["next"].startswith(f"{canvas.base_url}/api/v1{TERMS}?")
        query = parse_qs(urlsplit(found["next"]).query)
        assert query["page"][0].startswith("bookmark:")
        assert (query["per_page"], query["workflow_state[]"]) == (["2"], ["all"])
        answer = api.get(found["next"])
    assert sorted(seen) == [1, 90, 116, 117, 118]


def test_links_name_the_size_of_the_page_but_never_the_token(canvas: SimulatedCanvas) -> None:
    answer = httpx.get(f"{canvas.base_url}/api/v1{TERMS}", params={"access_token": canvas.token})
    assert answer.status_code == 200
    assert canvas.token not in answer.headers["link"]
    assert "per_page=10" in links(answer)["first"]


def test_a_page_has_ten_rows_by_default_and_a_hundred_at_most(api: httpx.Client) -> None:
    path = "/accounts/self/reports/provisioning_csv"
    for _ in range(101):
        api.post(path)
    assert len(api.get(path).json()) == 10
    answer = api.get(path, params={"per_page": 1000})
    assert len(answer.json()) == 100
    assert "per_page=100" in links(answer)["next"]


def test_a_page_after_the_end_is_empty_and_a_bad_bookmark_is_missing(api: httpx.Client) -> None:
    assert api.get(TERMS, params={"page": 99}).json() == {"enrollment_terms": []}
    answer = api.get(TERMS, params={"page": "bookmark:rubbish"})
    assert (answer.status_code, answer.json()) == (404, MISSING)


def test_every_answer_has_its_cost_and_what_remains(api: httpx.Client) -> None:
    answer = api.get(TERMS)
    assert float(answer.headers["x-request-cost"]) > 0
    assert float(answer.headers["x-rate-limit-remaining"]) <= 600


def test_the_twelfth_simultaneous_request_fills_an_empty_bucket() -> None:
    # 600 units; each request holds 50 while it is answered.
    bucket = Bucket(outflow=0)
    assert [bucket.enter() for _ in range(13)] == [True] * 12 + [False]
    bucket.leave()
    # The advance charge is credited back, the cost stays.
    assert bucket.remaining == 600 - 11 * 50 - bucket.cost
    assert bucket.enter()


def test_the_bucket_leaks_ten_units_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bucket = Bucket(cost=30)
    bucket.enter()
    bucket.leave()
    before = bucket.remaining
    now[0] += 2
    assert bucket.remaining - before == pytest.approx(20)


@contextmanager
def client(canvas: SimulatedCanvas, token: str | None) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=f"{canvas.base_url}/api/v1", headers=headers) as opened:
        yield opened


@pytest.mark.parametrize(
    ("token", "body"),
    [
        (None, {"status": "unauthenticated", "errors": [{"message": "user authorization required"}]}),
        ("wrong", {"errors": [{"message": "Invalid access token."}]}),
    ],
)
def test_a_request_without_a_valid_token_is_refused_with_a_realm(
    canvas: SimulatedCanvas, token: str | None, body: dict[str, object]
) -> None:
    with client(canvas, token) as stranger:
        answer = stranger.get(TERMS)
    assert (answer.status_code, answer.json()) == (401, body)
    assert answer.headers["www-authenticate"] == 'Bearer realm="canvas-lms"'


@pytest.mark.parametrize("path", ["/courses/1", "/accounts/77", "/nowhere", "/users/one", "/accounts/self/terms/7"])
def test_what_is_missing_is_a_404_in_json(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()) == (404, MISSING)


FORBIDDEN = '{"status":"unauthorized","errors":[{"message":"user not authorized to perform that action"}]}'


@pytest.mark.parametrize(
    ("fault", "status", "kind", "body"),
    [
        ("no_permission", 403, "application/json", FORBIDDEN),
        ("unauthorized_object", 401, "application/json", FORBIDDEN),
        ("throttled_403", 403, "text/plain; charset=utf-8", "403 Forbidden (Rate Limit Exceeded)\n"),
        ("throttled_429", 429, "text/plain; charset=utf-8", None),
        ("bad_gateway", 502, "text/html; charset=utf-8", None),
        ("broken_object", 500, "application/json", None),
    ],
)
def test_errors_look_like_canvas_s(
    canvas: SimulatedCanvas, api: httpx.Client, fault: str, status: int, kind: str, body: str | None
) -> None:
    canvas.faults.add(fault)
    answer = api.get("/courses/2003")
    assert (answer.status_code, answer.headers["content-type"]) == (status, kind)
    assert body is None or answer.text == body
    # A throttled request has no cost, and a refusal names no realm unless the token itself is wrong.
    assert "www-authenticate" not in answer.headers
    assert ("x-request-cost" in answer.headers) == ("object" in fault)


def test_a_full_bucket_refuses_over_http() -> None:
    with (
        SimulatedCanvas(bucket=Bucket(high_water=1, outflow=0, cost=1)).serve() as strict,
        client(strict, strict.token) as api,
    ):
        statuses = [api.get("/users/self").status_code for _ in range(2)]
    assert statuses == [200, 403]


def test_a_request_waits_for_the_latency_and_is_counted() -> None:
    with SimulatedCanvas(latency=0.05).serve() as canvas:
        answer = httpx.get(f"{canvas.base_url}/api/v1/users/self", headers={"Authorization": f"Bearer {canvas.token}"})
        assert answer.elapsed.total_seconds() >= 0.05
        assert canvas.request_count == 1
