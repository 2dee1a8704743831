"""The receiver among bad senders, slow databases and other applications; it always answers, and in time."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.live_events import committer, receiver
from canvas_sync_dagster.live_events.event import read_event, redacted
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.live_events.serve import receiver as receiver_of
from canvas_sync_dagster.live_events.uvicorn_server import served
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.tenants import BrokenTenant
from tests.fix_canvas import tenant_of
from tests.live_events.test_kill import free_port
from tests.live_events.test_receiver import post, renamed, serving, settings_of, stored

ROOT = Path(__file__).parents[2]


@pytest.fixture
def base(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> Iterator[str]:
    with serving(settings_of(canvas, database_url, tmp_path)) as url:
        yield url


def port_of(base: str) -> int:
    return int(base.rpartition(":")[2])


def test_a_token_is_read_whatever_content_type_it_has(canvas: SimulatedCanvas, base: str, database_url: str) -> None:
    for n, kind in enumerate(("application/x-www-form-urlencoded", "application/jwt", "text/plain", "")):
        token = canvas.signer.sign(renamed(canvas, name=f"n{n}"))
        assert post(base, f"{token}\n", **{"content-type": kind}) == 200
    assert len(stored(database_url)) == 4


def test_a_key_that_a_token_brings_along_is_not_used(canvas: SimulatedCanvas, base: str, database_url: str) -> None:
    assert post(base, canvas.signer.sign(renamed(canvas))) == 200
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    brought = {
        "jwk": RSAAlgorithm.to_jwk(own.public_key(), as_dict=True),
        "jku": "http://127.0.0.1:9/",
        "x5u": "http://127.0.0.1:9/",
    }
    # An unknown key is 503 while the key set may not be fetched again.
    for kid, status in ((canvas.signer._keys[1][0], 401), ("of-my-own", 503)):
        token = jwt.encode(renamed(canvas, name="evil"), own, algorithm="RS256", headers={**brought, "kid": kid})
        assert post(base, token) == status
    assert len(stored(database_url)) == 1


def test_a_body_that_does_not_come_is_not_waited_for(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "DEADLINE", 0.3)
    with socket.create_connection(("127.0.0.1", port_of(base)), timeout=5) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf".encode())
        assert b" 408 " in connection.recv(1000).partition(b"\r\n")[0]


def test_a_sender_that_goes_away_leaves_nothing(canvas: SimulatedCanvas, base: str, database_url: str) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port_of(base)), timeout=5) as connection:
            connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf".encode())
    assert post(base, canvas.signer.sign(renamed(canvas))) == 200
    assert len(stored(database_url)) == 1


def test_a_database_that_is_too_slow_is_503_and_comes_back(
    canvas: SimulatedCanvas, base: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "COMMIT_SECONDS", 0.5)
    assert post(base, canvas.signer.sign(renamed(canvas))) == 200
    with psycopg.connect(database_url) as connection:
        connection.execute("lock table canvas.canvas_sync_live_events in access exclusive mode")
        start = time.monotonic()
        assert post(base, canvas.signer.sign(renamed(canvas, name="y"))) == 503
        assert time.monotonic() - start < 3
    assert post(base, canvas.signer.sign(renamed(canvas, name="y"))) == 200
    assert len(stored(database_url)) == 2


def test_an_idle_connection_that_the_database_closed_costs_no_event(
    canvas: SimulatedCanvas, base: str, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set idle_session_timeout = '200ms'")
    answers = []
    for n in range(4):
        answers.append(post(base, canvas.signer.sign(renamed(canvas, name=f"n{n}"))))
        time.sleep(0.4)
    assert answers == [200] * 4
    assert len(stored(database_url)) == 4


def test_nothing_that_is_nested_deeply_is_an_error_of_the_receiver(base: str, caplog: pytest.LogCaptureFixture) -> None:
    key = b"x" * 16
    while len(key) < 64_000:
        key = b"@EnC\0\x20" + len(key).to_bytes(2, "little") + key
    payload = base64.b64encode(b"@EnC\0\x20" + len(key).to_bytes(2, "little") + key).decode()
    assert httpx.post(base + PATH, json={"payload": payload}).status_code == 401
    for depth in (500, 980, 5_000, 50_000):
        header = b'{"alg": "RS256", "kid": %s}' % (b"[" * depth + b"]" * depth)
        assert post(base, base64.urlsafe_b64encode(header).rstrip(b"=") + b".e30.e30") in {401, 422}
        assert post(base, b'{"payload": %s}' % (b"[" * depth + b"]" * depth)) in {401, 422}
    assert caplog.text == ""


def test_deeply_nested_json_of_an_unsigned_sender_is_422(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(settings_of(canvas, database_url, tmp_path, unsigned_events=True)) as base:
        for depth in (600, 960, 985, 5_000, 100_000):
            body = b'{"metadata": {"event_name": "x"}, "body": {"a": %s}}' % (b"[" * depth + b"]" * depth)
            assert post(base, body) == 422
    assert caplog.text == ""
    assert stored(database_url) == []


def test_org_tells_nothing_of_the_tenants_before_a_signature_is_verified(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    away = tenant_of(canvas, "postgresql://nobody@127.0.0.1:9/none").model_copy(update={"slug": "away"})
    settings = settings_of(canvas, database_url, tmp_path)
    wrong = BrokenTenant("wrong", SettingError("tenants.wrong.schedule", "wrong value", allowed="a cron expression"))
    whole = settings.model_copy(update={"tenants": (*settings.tenants, away), "broken": (wrong,)})
    token = canvas.signer.sign(renamed(canvas))
    bodies = ["{}", "", "a.b.c", json.dumps(renamed(canvas)), token[:-8] + "AAAAAAAA"]
    with serving(whole) as base:
        for body in bodies:
            answers = {
                (answer.status_code, answer.content, tuple(answer.headers))
                for org in ("canvas", "away", "wrong", "nothing", "")
                for answer in [httpx.post(f"{base}{PATH}?org={org}", content=body)]
            }
            assert len(answers) <= 1
        codes = [httpx.post(f"{base}{PATH}?org={org}", content=body).status_code for org in ("canvas", "nothing")]
        assert codes == [401, 401]


def test_metrics_are_prometheus_text_and_tell_of_the_inbox(canvas: SimulatedCanvas, base: str) -> None:
    assert post(base, canvas.signer.sign(renamed(canvas))) == 200
    text = httpx.get(base + "/metrics").text
    sample = re.compile(r"(# (HELP|TYPE) \w+ .+|\w+(\{\w+=\"\w*\"(,\w+=\"\w*\")*\})? [0-9.e+-]+)")
    assert [line for line in text.splitlines() if not sample.fullmatch(line)] == []
    told = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert told['canvas_sync_live_events_waiting{tenant="canvas"}'] == "1.0"
    assert told['canvas_sync_live_events_database_up{tenant="canvas"}'] == "1.0"
    assert float(told['canvas_sync_live_events_oldest_seconds{tenant="canvas"}']) >= 0
    health = httpx.get(base + "/health").json()
    assert health["keys"]["server"] == "ok"
    assert health["canvas"]["oldest_seconds"] >= 0
    assert httpx.head(base + "/health").status_code == 200
    assert httpx.get(base + PATH).headers["allow"] == "POST"


def test_it_can_be_mounted_in_another_application(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> None:
    app = receiver_of(settings_of(canvas, database_url, tmp_path), BUILT_IN)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await app.close()

    with served(Starlette(routes=[Mount("/hooks", app)], lifespan=lifespan)) as base:
        assert post(f"{base}/hooks", canvas.signer.sign(renamed(canvas))) == 200
        assert httpx.get(f"{base}/hooks/health").status_code == 200
        assert httpx.get(f"{base}/hooks/nothing").status_code == 404
    assert len(stored(database_url)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "https://x.test/?access_token=7~secret&x=1",
        "https://x.test/?y=1&amp;ACCESS_TOKEN=7~secret&amp;x=1",
        "https%3A%2F%2Fx.test%2F%3Faccess_token%3D7%7Esecret%26x%3D1",
        "https%253A%252F%252Fx.test%253Faccess_token%253D7%257Esecret%2526x=1",
        '{"nested": "{\\"access_token\\": \\"7~secret\\", \\"x\\": 1}", "x=1": 0}',
        "https://x.test/files/1?verifier=secret&x=1",
        "Bearer 21070~secretsecretsecretsecretsecret, x=1",
    ],
)
def test_no_token_is_kept_however_it_is_spelled(canvas: SimulatedCanvas, text: str) -> None:
    each = renamed(canvas, note=text)
    each["metadata"]["referrer"] = text
    kept = read_event(each, canvas.now).text
    assert "secret" not in kept
    assert "redacted" in kept
    assert re.search(r'x(=|%3D|\\": )1', redacted(text))


def test_it_ends_soon_though_it_drains_from_a_canvas_that_hangs(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canvas_sync_dagster.live_events.serve.TURN", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = settings_of(
            canvas,
            database_url,
            tmp_path,
            base_url=f"http://127.0.0.1:{mute.getsockname()[1]}",
            token=SecretStr("x"),
            root_account_uuid="uuid-of-account-1",
        )
        with serving(settings, drains=True) as base:
            assert post(base, canvas.signer.sign(renamed(canvas))) == 200
            time.sleep(0.2)
            start = time.monotonic()
        assert time.monotonic() - start < 5
    assert stored(database_url) == [("course_updated", "pending")]


def deliveries(probes: int) -> dict[str, float]:
    """Return status → deliveries that `/metrics` reports for all processes."""
    text = httpx.get(f"http://127.0.0.1:{probes}/metrics").text
    (family,) = [each for each in text_string_to_metric_families(text) if each.name == "canvas_sync_live_events"]
    return {each.labels["status"]: each.value for each in family.samples if each.name.endswith("_total")}


def test_several_processes_serve_a_location_of_ones_own_and_count_together(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from canvas_sync_dagster import CanvasSync\n"
        "sync = CanvasSync.from_environment()\n"
        "@sync.accepts_event\n"
        "def accepted(event, inbox):\n"
        "    return event.body.get('name') != 'refused'\n"
    )
    port, probes = free_port(), free_port()
    environment = {
        **os.environ,
        "CANVAS_SYNC_HOME": str(tmp_path),
        "CANVAS_SYNC_BASE_URL": canvas.base_url,
        "CANVAS_SYNC_TOKEN": canvas.token,
        "CANVAS_SYNC_DATABASE_URL": database_url,
        "DATASERVICES_JWK_URL": canvas.jwk_url,
        "CANVAS_SYNC_UNSIGNED_EVENTS": "true",
        "CANVAS_SYNC_HEALTH_PORT": str(probes),
    }
    command = ["-m", "canvas_sync_dagster.cli", "live-events", "--port", str(port), "--workers", "2", "-f", str(own)]
    with (
        (tmp_path / "told").open("w") as told,
        subprocess.Popen([sys.executable, *command], env=environment, cwd=ROOT, stderr=told) as process,
    ):
        try:
            base = f"http://127.0.0.1:{port}"
            assert eventually(lambda: post(base, canvas.signer.sign(renamed(canvas))) == 200)
            assert post(base, canvas.signer.sign(renamed(canvas, name="refused"))) == 401
            answers = [httpx.get(f"http://127.0.0.1:{each}/health").status_code for each in (port, probes)]
            assert answers == [404, 200]
            token = canvas.signer.sign(renamed(canvas))
            assert {post(base, token) for _ in range(30)} == {200}
            # Whichever process answers, it reports what all have counted.
            assert [deliveries(probes) for _ in range(12)] == [{"200": 31, "401": 1}] * 12
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert len(stored(database_url)) == 1
    assert "unsigned live events are accepted" in (tmp_path / "told").read_text()


def eventually(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if done():
                return True
        time.sleep(0.1)
    return False
