"""A mail server and a webhook that keep what they receive, over real sockets."""

from __future__ import annotations

import base64
import contextlib
import datetime
import email
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class WebhookServer:
    """A webhook.

    Attributes:
        url: Its URL, with a secret.
        received: Bodies of the requests.
        status: Status of its answers.
        location: Where its answers redirect to.
        hangs: Whether it sends one byte after the other in place of an answer.
    """

    url: str = ""
    received: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    location: str = ""
    hangs: bool = False


@contextmanager
def webhook_server() -> Iterator[WebhookServer]:
    state, stopped = WebhookServer(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            with contextlib.suppress(OSError):
                while state.hangs and not stopped.is_set():
                    self.wfile.write(b"H")
                    time.sleep(0.02)
                self.send_response(state.status)
                if state.location:
                    self.send_header("Location", state.location)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/services/s3cret"
    try:
        yield state
    finally:
        stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()


def certificate(directory: Path) -> tuple[Path, Path]:
    """Return the files of a self-made certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return files


@dataclass
class MailServer:
    """A mail server that speaks enough SMTP (RFC 5321, 3207 and 4954) for one client.

    Attributes:
        port: Where it listens, on loopback.
        tls: Its certificate; None if it supports no STARTTLS.
        accepts: User and password that AUTH PLAIN accepts, joined by a NUL byte.
        mails: What it received.
        logins: Encrypted logins that it accepted.
        hangs: Whether it answers EHLO byte by byte, for ever.
        refuses: Recipients that it refuses.
    """

    port: int = 0
    tls: ssl.SSLContext | None = None
    accepts: str = ""
    mails: list[EmailMessage] = field(default_factory=list)
    logins: int = 0
    hangs: bool = False
    refuses: set[str] = field(default_factory=set)
    stopped: threading.Event = field(default_factory=threading.Event)

    def talk(self, connection: socket.socket) -> None:
        """Serve one client to its end."""
        lines, encrypted = connection.makefile("rb"), False

        def say(text: str) -> None:
            connection.sendall(f"{text}\r\n".encode())

        say("220 mail.test ESMTP")
        while line := lines.readline().decode():
            verb, _, rest = line.strip().partition(" ")
            match verb.upper():
                case "EHLO":
                    while self.hangs and not self.stopped.is_set():
                        connection.sendall(b"2")
                        time.sleep(0.02)
                    starttls = "250-STARTTLS\r\n" if self.tls and not encrypted else ""
                    say(f"250-mail.test\r\n{starttls}250 AUTH PLAIN")
                case "STARTTLS" if self.tls:
                    say("220 go ahead")
                    lines.close()
                    connection = self.tls.wrap_socket(connection, server_side=True)
                    lines, encrypted = connection.makefile("rb"), True
                case "AUTH":
                    expected = base64.b64encode(f"\0{self.accepts}".encode()).decode()
                    right = rest.partition(" ")[2] == expected
                    self.logins += right and encrypted
                    say("235 ok" if right else "535 no user s3cret")
                case "RCPT":
                    say("550 no such user" if any(each in rest for each in self.refuses) else "250 ok")
                case "DATA":
                    say("354 send")
                    content = b"".join(iter(lines.readline, b".\r\n"))
                    self.mails.append(email.message_from_bytes(content, policy=default))  # type: ignore[arg-type]
                    say("250 queued")
                case "QUIT":
                    say("221 bye")
                    break
                case _:
                    say("250 ok")
        lines.close()
        connection.close()


@contextmanager
def mail_server(files: tuple[Path, Path] | None = None) -> Iterator[MailServer]:
    state = MailServer()
    if files is not None:
        state.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        state.tls.load_cert_chain(*files)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                state.talk(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield state
        state.stopped.set()
        server.shutdown()
        thread.join()
