"""Where the client may connect to, and how long and how large an answer may be, against real sockets."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from canvas_sync_dagster.canvas.client import Canvas, _authorities
from canvas_sync_dagster.canvas.download import download
from canvas_sync_dagster.canvas.lifecycle import Attachment, Status
from canvas_sync_dagster.canvas.network import Deadline, GuardedTransport, Network, is_refused, transport
from canvas_sync_dagster.errors import (
    AddressRefusedError,
    CanvasCertificateError,
    CanvasUnavailableError,
    ReportContentError,
)
from canvas_sync_dagster.printable import LONGEST_QUOTE

INSIDE = [
    "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "169.254.169.254", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
    "100.100.100.200", "fd00:ec2::254", "2002:7f00:1::",
]  # fmt: skip
OUTSIDE = ["192.0.2.7", "10.1.2.3", "2001:db8::1", "8.8.8.8", "fd12::1"]


class Handler(BaseHTTPRequestHandler):
    """Redirects as its path says, or sends without end."""

    def do_GET(self) -> None:
        where = self.path.removeprefix("/to/")
        if where != self.path:
            self.send_response(302)
            self.send_header("Location", where)
            self.end_headers()
            return
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.server.sent[0] += self.wfile.write(b"a,b\n" * 4096)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("0.0.0.0", 0), Handler) as serving:
        serving.seen, serving.sent = [], [0]  # type: ignore[attr-defined]
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture
def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has a loopback address only")
        found = str(probe.getsockname()[0])
    if is_refused(ipaddress.ip_address(found)):
        pytest.skip("this machine has a loopback address only")
    return found


def client(names: Mapping[str, Sequence[str]]) -> Canvas:
    """A client to whom these names resolve."""
    network = Network("canvas.test", Deadline(), lambda host, port: names.get(host, [host]))
    return Canvas("http://canvas.test", "t", retry_seconds=0.01, transport=GuardedTransport(network, _authorities()))


def fetch(canvas: Canvas, url: str, path: Path, size: int | None = None) -> int:
    attachment = Attachment(url, None, size)
    return download(canvas, attachment, lambda: attachment, path / "file", sleep=lambda _: None)


@pytest.mark.parametrize(("addresses", "refused"), [(INSIDE, True), (OUTSIDE, False)])
def test_addresses_of_this_machine_and_its_cloud_are_refused(addresses: list[str], *, refused: bool) -> None:
    assert [is_refused(ipaddress.ip_address(each)) for each in addresses] == [refused] * len(addresses)


def test_a_name_one_of_whose_addresses_is_inside_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    names = {"files.test": ["192.0.2.1", "127.0.0.1"], "canvas.test": ["192.0.2.9"]}
    with socket.create_server(("127.0.0.1", 0)) as listener, client(names) as canvas:
        with pytest.raises(AddressRefusedError, match=r"files\.test resolves to a loopback"):
            fetch(canvas, f"http://files.test:{listener.getsockname()[1]}/x", tmp_path)
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_redirect_to_this_machine_is_refused(server: ThreadingHTTPServer, own_address: str, tmp_path: Path) -> None:
    names = {"files.test": [own_address], "canvas.test": ["192.0.2.9"], "metadata.test": ["169.254.169.254"]}
    port = server.server_address[1]
    with client(names) as canvas:
        for target in (f"http://127.0.0.1:{port}/secret", "http://metadata.test/latest", f"http://[::1]:{port}/x"):
            with pytest.raises(AddressRefusedError):
                fetch(canvas, f"http://files.test:{port}/to/{target}", tmp_path)
    assert server.seen == []  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_storage_on_this_machine_is_allowed_if_canvas_is_there(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with client({"canvas.test": ["127.0.0.1"]}) as canvas, pytest.raises(ReportContentError):
        fetch(canvas, f"http://127.0.0.1:{server.server_address[1]}/x", tmp_path, size=10)
    assert set(server.seen) == {"/x"}  # type: ignore[attr-defined]


def test_a_download_stops_at_the_size_that_canvas_announced(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with (
        client({"canvas.test": ["127.0.0.1"]}) as canvas,
        pytest.raises(ReportContentError, match="larger than the 1000 bytes that Canvas announced"),
    ):
        fetch(canvas, f"http://127.0.0.1:{server.server_address[1]}/x", tmp_path, size=1000)
    assert list(tmp_path.iterdir()) == []
    time.sleep(0.1)
    # Five attempts, each with what buffers of both ends hold.
    assert server.sent[0] < 5 * 16 * 2**20  # type: ignore[attr-defined]


def _dripping(head: bytes) -> Callable[[socket.socket], None]:
    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.sendall(head)
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)

    return drip


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long: "], ids=["body", "head"]
)
def test_an_answer_that_drips_ends_at_the_deadline(head: bytes) -> None:
    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=_dripping(head), args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with (
            Canvas(base, "t", retry_seconds=0.01, answer_seconds=0.4) as canvas,
            pytest.raises(CanvasUnavailableError, match="did not respond in time"),
        ):
            canvas.get("/accounts/self")
    assert time.monotonic() - began < 5


def _self_signed(directory: Path) -> Path:
    """Write a key and a self-signed certificate of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "canvas.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = directory / "server.pem"
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file


def test_a_certificate_that_is_not_trusted_is_reported_at_once_with_the_remedy(
    server: ThreadingHTTPServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_address[1]}"
    with Canvas(url, "t") as canvas:
        with pytest.raises(CanvasCertificateError, match=r"127\.0\.0\.1 is not trusted: self-signed.*SSL_CERT_FILE"):
            canvas.get("/accounts/self")
        with pytest.raises(CanvasCertificateError, match=r"/files/1: the TLS certificate of 127\.0\.0\.1"):
            fetch(canvas, f"{url}/files/1?sig=secret", tmp_path)
        assert canvas.requests == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    _authorities.cache_clear()
    try:
        with Canvas(url, "t") as canvas, pytest.raises(ReportContentError, match="larger than the 10 bytes"):
            fetch(canvas, f"{url}/files/1", tmp_path, size=10)
    finally:
        _authorities.cache_clear()


def test_a_deadline_bounds_reads_of_its_thread_alone() -> None:
    deadline = Deadline()
    with deadline.within(0):
        with pytest.raises(httpcore.ReadTimeout):
            deadline.left(60)
        seen: list[float | None] = []
        other = threading.Thread(target=lambda: seen.append(deadline.left(60)))
        other.start()
        other.join()
    assert seen == [60]
    assert deadline.left(7) == 7


def test_a_proxy_decides_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(transport("canvas.test", Deadline(), _authorities()), GuardedTransport)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert transport("canvas.test", Deadline(), _authorities()) is None


def test_texts_of_a_report_are_one_line_without_control_characters() -> None:
    body = {"id": 1, "status": "er\x1b[2Jror", "parameters": {"extra_text": "a\x1b]0;x\x07\n" + "b" * 10**6}}
    status = Status.parse(body)
    assert status.state == "er\\x1b[2jror"
    assert status.extra_text.startswith("a\\x1b]0;x\\x07 b")
    assert len(status.extra_text) <= LONGEST_QUOTE + 10
