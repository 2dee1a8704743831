"""The receiver over real HTTP: what it accepts is committed, and what nobody signed rightly is not stored."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from pydantic import SecretStr

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.errors import CanvasSyncError, ProvenanceError, SettingError
from canvas_sync_dagster.live_events.asgi import LARGEST_BODY
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.live_events.serve import receiver
from canvas_sync_dagster.live_events.symmetric import SecretKey, decrypt
from canvas_sync_dagster.live_events.uvicorn_server import served
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas, deliver, event, global_id
from canvas_sync_dagster.tenants import BrokenTenant
from tests.fix_canvas import tenant_of
from tests.fix_postgres import fresh

KEY, INITIAL = bytes(range(32)), bytes(range(16, 32))
VECTORS = Path(__file__).parents[3] / "shared" / "samples" / "symmetric_encryption_vectors.json"


@contextlib.contextmanager
def serving(settings: Settings, **options: Any) -> Iterator[str]:
    with served(receiver(settings, BUILT_IN, **options)) as url:
        yield url


def settings_of(canvas: SimulatedCanvas, url: str, home: Path, **tenant: object) -> Settings:
    return Settings(
        home=home, tenants=(tenant_of(canvas, url, **tenant),), jwk_url=canvas.jwk_url, event_key=KEY, event_iv=INITIAL
    )


@pytest.fixture
def base(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> Iterator[str]:
    with serving(settings_of(canvas, database_url, tmp_path)) as url:
        yield url


def stored(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select event_name, state from canvas.canvas_sync_live_events order by id").fetchall()
    return [(str(name), str(state)) for name, state in rows]


def renamed(canvas: SimulatedCanvas, **body: object) -> dict[str, Any]:
    return event("course_updated", {"course_id": global_id(2003), "name": "x", **body}, canvas.now)


def post(base: str, content: str | bytes, **headers: str) -> int:
    return httpx.post(base + PATH, content=content, headers=headers, timeout=20).status_code


def test_signed_events_are_committed_once(canvas: SimulatedCanvas, base: str, database_url: str) -> None:
    token = canvas.signer.sign(renamed(canvas))
    assert [post(base, token), post(base, f'"{token}"'), post(base, json.dumps(token))] == [200, 200, 200]
    assert stored(database_url) == [("course_updated", "pending")]


def test_a_rotated_key_is_found_and_an_unknown_one_refused(
    canvas: SimulatedCanvas, base: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert post(base, canvas.signer.sign(renamed(canvas))) == 200
    canvas.signer.rotate()
    assert post(base, canvas.signer.sign(renamed(canvas, name="y"))) == 200
    canvas.signer.rotate()
    canvas.signer.rotate()
    late = canvas.signer.sign(renamed(canvas, name="z"))
    assert post(base, late) == 503
    monkeypatch.setattr("canvas_sync_dagster.live_events.keys.COOL_DOWN", 0)
    assert post(base, late) == 200
    forged = jwt.encode(renamed(canvas), canvas.signer._keys[1][1], algorithm="RS256", headers={"kid": "unpublished"})
    assert post(base, forged) == 401
    assert len(stored(database_url)) == 3


class TestRefusals:
    """Each is refused with its status, and nothing is stored; one receiver sees them all."""

    @pytest.fixture(scope="class")
    @classmethod
    def canvas(cls) -> Iterator[SimulatedCanvas]:
        with SimulatedCanvas().serve() as serving:
            yield serving

    @pytest.fixture(scope="class")
    @classmethod
    def database_url(cls, postgres: EmbeddedPostgres, migrated: str) -> Iterator[str]:
        with fresh(postgres, migrated) as url:
            yield url

    @pytest.fixture(scope="class")
    @classmethod
    def base(
        cls, canvas: SimulatedCanvas, database_url: str, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[str]:
        with serving(settings_of(canvas, database_url, tmp_path_factory.mktemp("receiver"))) as url:
            yield url

    @pytest.fixture(autouse=True)
    def _nothing_is_stored(self, base: str, database_url: str) -> Iterator[None]:
        yield
        assert stored(database_url) == []

    def test_no_signature(self, canvas: SimulatedCanvas, base: str) -> None:
        assert post(base, json.dumps(renamed(canvas))) == 401

    def test_the_algorithm_none(self, canvas: SimulatedCanvas, base: str) -> None:
        token = jwt.encode(renamed(canvas), cast(Any, None), algorithm="none", headers={"kid": "2026-01"})
        assert post(base, token) in {401, 422}

    def test_the_public_key_as_a_secret(self, canvas: SimulatedCanvas, base: str) -> None:
        kid, key = canvas.signer._keys[1]
        pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        parts = [
            base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=")
            for each in ({"alg": "HS256", "kid": kid}, renamed(canvas))
        ]
        mac = hmac.new(pem, b".".join(parts), hashlib.sha256).digest()
        assert post(base, b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")])) == 401

    def test_a_changed_body(self, canvas: SimulatedCanvas, base: str) -> None:
        header, _, signature = canvas.signer.sign(renamed(canvas)).split(".")
        other = base64.urlsafe_b64encode(json.dumps(renamed(canvas, name="evil")).encode()).rstrip(b"=").decode()
        assert post(base, f"{header}.{other}.{signature}") == 401

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "https://evil.test"},
            {"exp": 1},
            {"nbf": 9999999999},
            {"iat": 9999999999},
            {"iat": 1},
            {"exp": "soon"},
        ],
    )
    def test_wrong_claims(self, canvas: SimulatedCanvas, base: str, claims: dict[str, object]) -> None:
        assert post(base, canvas.signer.sign(renamed(canvas), **claims)) == 401

    def test_another_schools_event(self, canvas: SimulatedCanvas, base: str) -> None:
        each = renamed(canvas)
        each["metadata"]["root_account_uuid"] = "somebody-else"
        assert post(base, canvas.signer.sign(each)) == 401

    def test_an_unknown_tenant(self, canvas: SimulatedCanvas, base: str) -> None:
        token = canvas.signer.sign(renamed(canvas))
        assert httpx.post(f"{base}{PATH}?org=nobody", content=token).status_code == 401

    def test_an_unknown_key(self, canvas: SimulatedCanvas, base: str) -> None:
        kid, key = canvas.signer._keys[1]
        token = jwt.encode(renamed(canvas), key, algorithm="RS256", headers={"kid": "no"})
        # 503 while the key set may not be fetched again: the key may have been published since.
        assert post(base, token) in {401, 503}
        assert post(base, token) == 503
        assert kid

    @pytest.mark.parametrize("content", ["", "{", "null", "[]", "a.b", "a.b.c", '"', '""', "{}\x00", "\xff\xfe"])
    def test_rubbish(self, base: str, content: str) -> None:
        assert post(base, content.encode("latin-1")) in {401, 422}

    def test_no_event(self, canvas: SimulatedCanvas, base: str) -> None:
        assert post(base, canvas.signer.sign({"hello": "world"})) == 422
        assert post(base, canvas.signer.sign({"metadata": {"event_name": "x y"}, "body": {}})) == 422

    def test_too_large(self, base: str) -> None:
        assert post(base, b"x" * (LARGEST_BODY + 1)) == 413

    def test_too_large_without_saying_so(self, base: str) -> None:
        chunks = (b"x" * 65536 for _ in range(40))
        with contextlib.suppress(httpx.HTTPError):
            assert httpx.post(base + PATH, content=chunks, timeout=20).status_code == 413

    def test_a_truncated_token(self, canvas: SimulatedCanvas, base: str) -> None:
        token = canvas.signer.sign(renamed(canvas))
        assert post(base, token[: len(token) // 2]) in {401, 422}
        assert post(base, token[:-20]) in {401, 422}

    def test_other_paths_and_methods(self, base: str) -> None:
        assert httpx.get(base + PATH).status_code == 405
        assert httpx.get(base + "/").status_code == 404


def encrypted(payload: dict[str, Any]) -> str:
    padder = PKCS7(128).padder()
    padded = padder.update(json.dumps(payload).encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(KEY), modes.CBC(INITIAL)).encryptor()
    return base64.b64encode(b"@EnC\x01\x00" + encryptor.update(padded) + encryptor.finalize()).decode()


def test_encrypted_events_are_committed(canvas: SimulatedCanvas, base: str, database_url: str) -> None:
    payload = encrypted(renamed(canvas))
    assert httpx.post(base + PATH, data={"payload": payload}).status_code == 200
    assert httpx.post(base + PATH, json={"payload": encrypted(renamed(canvas, name="y"))}).status_code == 200
    assert httpx.post(base + PATH, json={"payload": payload[:-8]}).status_code == 401
    assert httpx.post(base + PATH, json={"payload": base64.b64encode(os.urandom(64)).decode()}).status_code == 401
    assert len(stored(database_url)) == 2


@pytest.mark.skipif(not VECTORS.exists(), reason="needs the vectors that the real library made")
def test_what_the_real_library_encrypted_is_decrypted() -> None:
    for vector in json.loads(VECTORS.read_text())["vectors"]:
        initial = bytes.fromhex(vector["iv_hex"]) if vector.get("iv_hex") else None
        key = SecretKey(bytes.fromhex(vector["key_hex"]), initial, vector["version"])
        assert decrypt(vector["encrypted"], [key]).hex() == vector["plaintext_hex"], vector["name"]
        with pytest.raises(ProvenanceError):
            decrypt(vector["encrypted"][:-8], [key])


def test_tokens_in_addresses_are_not_stored(canvas: SimulatedCanvas, base: str, database_url: str) -> None:
    each = renamed(canvas)
    each["metadata"]["url"] = "https://x.test/api/v1/courses?access_token=7~secret&amp;x=1"
    assert post(base, canvas.signer.sign(each)) == 200
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select payload::text from canvas.canvas_sync_live_events").fetchone()
    assert row is not None
    assert "secret" not in row[0]
    assert "x=1" in row[0]


def test_text_that_no_database_takes_is_cleaned(canvas: SimulatedCanvas, base: str, database_url: str) -> None:
    assert post(base, canvas.signer.sign(renamed(canvas, name="a\0b\ud800c"))) == 200
    assert len(stored(database_url)) == 1


def test_unsigned_events_are_believed_only_where_the_settings_say_so(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    with serving(settings_of(canvas, database_url, tmp_path, unsigned_events=True)) as base:
        assert post(base, json.dumps(renamed(canvas))) == 200


def test_health_and_metrics_tell_what_waits(canvas: SimulatedCanvas, base: str) -> None:
    assert post(base, canvas.signer.sign(renamed(canvas))) == 200
    health = httpx.get(base + "/health").json()
    assert health["status"] == "ok"
    assert health["canvas"]["waiting"] == 1
    assert 'canvas_sync_live_events_total{status="200",tenant="canvas"} 1.0' in httpx.get(base + "/metrics").text


def test_a_database_that_goes_away_is_503_and_comes_back(canvas: SimulatedCanvas, base: str, database_url: str) -> None:
    assert post(base, canvas.signer.sign(renamed(canvas))) == 200
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    admin = database_url.replace(f"/{name}", "/postgres", 1)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"alter database {name} allow_connections false")
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        assert post(base, canvas.signer.sign(renamed(canvas, name="y"))) == 503
        assert httpx.get(base + "/health").status_code == 503
        connection.execute(f"alter database {name} allow_connections true")
    assert post(base, canvas.signer.sign(renamed(canvas, name="y"))) == 200
    assert len(stored(database_url)) == 2


def test_events_that_come_all_at_once_to_a_cold_receiver_are_all_accepted(
    canvas: SimulatedCanvas, base: str, database_url: str
) -> None:
    tokens = [canvas.signer.sign(renamed(canvas, name=f"n{n}")) for n in range(40)]
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda token: post(base, token), tokens)) == {200}
    assert len(stored(database_url)) == 40


def test_while_the_key_server_or_canvas_is_away_events_are_sent_back(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    token = canvas.signer.sign(renamed(canvas))
    settings = settings_of(canvas, database_url, tmp_path)
    with serving(settings.model_copy(update={"jwk_url": "http://127.0.0.1:9/jwks"})) as base:
        assert post(base, token) == 503
    mute = settings.tenants[0].model_copy(update={"token": SecretStr("expired")})
    with serving(settings.model_copy(update={"tenants": (mute,)})) as base:
        assert post(base, token) == 503
    with serving(settings) as base:
        assert post(base, token) == 200


def test_an_event_that_no_database_takes_does_not_keep_its_neighbours_out(
    canvas: SimulatedCanvas, base: str, database_url: str
) -> None:
    tokens = [
        canvas.signer.sign(renamed(canvas, name="fine")),
        canvas.signer.sign(renamed(canvas, name="\ud800")),
        canvas.signer.sign(renamed(canvas, number=float("1e400"))),
        canvas.signer.sign(renamed(canvas, name="fine, too")),
    ]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda token: post(base, token), tokens))
    assert [answers[0], answers[3]] == [200, 200]
    assert set(answers) <= {200, 422}


def test_a_tenant_whose_database_is_away_keeps_nobody_else_from_receiving(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    away = tenant_of(canvas, "postgresql://nobody@127.0.0.1:9/none").model_copy(update={"slug": "away"})
    settings = settings_of(canvas, database_url, tmp_path)
    both = settings.model_copy(update={"tenants": (*settings.tenants, away)})
    token = canvas.signer.sign(renamed(canvas))
    with serving(both) as base:
        answers = [httpx.post(f"{base}{PATH}?org={org}", content=token, timeout=20) for org in ("canvas", "away")]
    assert [answer.status_code for answer in answers] == [200, 503]
    only = settings.model_copy(update={"tenants": (away,)})
    with pytest.raises(CanvasSyncError, match=r"127\.0\.0\.1"):
        receiver(only, BUILT_IN)


def test_events_of_a_tenant_with_a_wrong_setting_are_asked_to_come_again(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    broken = BrokenTenant(
        "wrong", SettingError("canvas_sync.yaml: tenants.wrong.schedule", "no cron", allowed="a cron")
    )
    settings = settings_of(canvas, database_url, tmp_path).model_copy(update={"broken": (broken,)})
    token = canvas.signer.sign(renamed(canvas))
    with serving(settings) as base:
        answers = [httpx.post(f"{base}{PATH}?org={org}", content=token) for org in ("wrong", "nobody", "canvas")]
    assert [answer.status_code for answer in answers] == [503, 401, 200]


def test_a_receiver_that_drains_applies_events_at_once(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    settings = settings_of(canvas, database_url, tmp_path, token=SecretStr(canvas.token))
    with serving(settings, drains=True) as base:
        assert deliver(base + PATH, canvas.signer, [renamed(canvas)]) == [200]
        deadline = time.monotonic() + 10
        while stored(database_url) != [("course_updated", "applied")]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from canvas.courses").fetchone() == (1,)
