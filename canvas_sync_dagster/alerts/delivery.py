"""Sends a message to a webhook or by mail, within a bounded time. No secret is in the text of an error."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol
from urllib.parse import urlsplit

import httpx

from canvas_sync_dagster.alert_settings import AlertSettings, EmailAlerts
from canvas_sync_dagster.alerts.messages import Message, mail, slack_payload, teams_payload
from canvas_sync_dagster.canvas.network import Deadline, transport
from canvas_sync_dagster.errors import AlertNotDeliveredError, CanvasSyncError

SECONDS = 10.0
"""Maximum time of one delivery, in seconds. Slack and mail servers accept a message within one or two."""
MEDIA_TYPE = {"Content-Type": "application/json"}
PAYLOADS = {"slack": slack_payload, "teams": teams_payload}


class Target(Protocol):
    """Where messages are sent to. Equal targets of several tenants get one message."""

    @property
    def channel(self) -> str:
        """Return `webhook` or `email`."""

    @property
    def identity(self) -> str:
        """Return a text that is different for each target; it contains secrets."""

    def deliver(self, message: Message) -> None:
        """Send a message; raises `AlertNotDeliveredError`."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook.

    Attributes:
        url: Its URL, which is a secret.
        format: Shape of the JSON.
        seconds: Maximum time of one delivery.
    """

    url: str = field(repr=False)
    format: Literal["slack", "teams"] = "slack"
    seconds: float = SECONDS
    channel: str = field(default="webhook", init=False)

    @property
    def identity(self) -> str:
        return f"{self.format} {self.url}"

    def deliver(self, message: Message) -> None:
        """Post the message. Redirects are not followed, because a URL that is a secret must not go to another host.

        Raises:
            AlertNotDeliveredError: The webhook did not answer with a status of 2xx in time.
        """
        host = urlsplit(self.url).hostname or ""
        try:
            status = self._post(host, PAYLOADS[self.format](message))
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, CanvasSyncError) as error:
            # Not the text of the exception: it may quote the URL.
            raise AlertNotDeliveredError(f"the webhook at {host} did not answer: {type(error).__name__}") from None
        if not 200 <= status < 300:
            raise AlertNotDeliveredError(f"the webhook at {host} answered {status}")

    def _post(self, host: str, payload: bytes) -> int:
        deadline, verify = Deadline(), ssl.create_default_context()
        timeout = httpx.Timeout(self.seconds)
        guarded = transport(host, deadline, verify)
        with httpx.Client(transport=guarded, timeout=timeout, verify=verify, follow_redirects=False) as client:
            request = client.build_request("POST", self.url, content=payload, headers=MEDIA_TYPE)
            with deadline.within(self.seconds):
                # The body of the answer is not read: only the status counts.
                response = client.send(request, stream=True)
                response.close()
                return response.status_code


@dataclass(frozen=True, slots=True)
class Mail:
    """Recipients of mail.

    Attributes:
        settings: Server, sender and recipients.
        seconds: Maximum time of one delivery.
    """

    settings: EmailAlerts = field(repr=False)
    seconds: float = SECONDS
    channel: str = field(default="email", init=False)

    @property
    def identity(self) -> str:
        return self.settings.model_dump_json()

    def deliver(self, message: Message) -> None:
        """Send the message as plain text.

        Raises:
            AlertNotDeliveredError: The server did not accept it for all recipients in time.
        """
        settings = self.settings
        made = mail(message, settings.sender, settings.to, datetime.now(UTC))
        try:
            with self._connected() as server:
                self._log_in(server)
                refused = server.send_message(made)
        except (smtplib.SMTPException, ssl.SSLError, OSError) as error:
            raise AlertNotDeliveredError(f"the mail server {settings.host} {_failure(error)}") from None
        if refused:
            raise AlertNotDeliveredError(f"the mail server {settings.host} refused {len(refused)} recipients")

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        settings = self.settings
        # The name is given because smtplib would otherwise ask the DNS for this host's, which may take a minute.
        name = settings.sender.rpartition("@")[2]
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, name, timeout=self.seconds, context=self._tls()
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, name, timeout=self.seconds)
        # The timeout limits each read, but a server may send one byte after the other.
        watchdog = threading.Timer(self.seconds, _shut, (server,))
        watchdog.start()
        try:
            yield server
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            watchdog.cancel()
            server.close()

    def _log_in(self, server: smtplib.SMTP) -> None:
        if self.settings.security == "starttls":
            server.starttls(context=self._tls())
        if self.settings.user is not None and self.settings.password is not None:
            server.login(self.settings.user, self.settings.password.get_secret_value())

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.settings.ca_file)


def _shut(server: smtplib.SMTP) -> None:
    if server.sock is not None:
        with contextlib.suppress(OSError):
            server.sock.shutdown(socket.SHUT_RDWR)


def _failure(error: Exception) -> str:
    """Return what failed, without the text of the server, which may quote the login."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"does not accept user and password ({error.smtp_code}); check alerts.email"
        case smtplib.SMTPResponseException():
            return f"answered {error.smtp_code}"
        case smtplib.SMTPRecipientsRefused():
            return "refused all recipients; check alerts.email.to"
        case smtplib.SMTPNotSupportedError():
            return "does not support STARTTLS or AUTH; check alerts.email.security"
        case ssl.SSLCertVerificationError():
            return f"has a certificate that is not trusted ({error.verify_message}); check alerts.email.ca_file"
    return f"did not answer: {type(error).__name__}"


def targets_of(settings: AlertSettings) -> list[Target]:
    """Return where the alerts of a tenant are sent to."""
    found: list[Target] = []
    if settings.webhook_url is not None:
        found.append(Webhook(settings.webhook_url.get_secret_value().strip(), settings.webhook_format))
    if settings.email is not None:
        found.append(Mail(settings.email))
    return found
