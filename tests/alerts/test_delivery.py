"""Alerts reach a real mail server and a real webhook; what does not answer costs seconds at most, and shows no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from canvas_sync_dagster.alert_settings import EmailAlerts
from canvas_sync_dagster.alerts.delivery import Mail, Webhook
from canvas_sync_dagster.alerts.messages import Message
from canvas_sync_dagster.errors import AlertNotDeliveredError
from tests.alerts.servers import certificate, mail_server, webhook_server

MESSAGE = Message("[canvas_sync] Grüße <1>", "first & <b>\n\nsecond …")


def email(port: int, **settings: object) -> EmailAlerts:
    given = {"to": "sis@school.test, dba@school.test", "from": "sync@school.test", "host": "127.0.0.1", "port": port}
    return EmailAlerts.model_validate(given | settings)


def test_a_webhook_gets_the_json_of_slack_or_of_teams() -> None:
    with webhook_server() as server:
        Webhook(server.url).deliver(MESSAGE)
        Webhook(server.url, "teams").deliver(MESSAGE)
    slack, teams = server.received
    assert slack == {"text": "first &amp; &lt;b&gt;\n\nsecond …"}
    (attachment,) = teams["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert [block["text"] for block in attachment["content"]["body"]] == ["first & <b>", "second …"]


@pytest.mark.parametrize(("status", "says"), [(500, "answered 500"), (404, "answered 404"), (307, "answered 307")])
def test_a_webhook_that_refuses_or_redirects_is_an_error_without_its_url(status: int, says: str) -> None:
    with webhook_server() as server, webhook_server() as other:
        server.status, server.location = status, other.url
        with pytest.raises(AlertNotDeliveredError, match=says) as caught:
            Webhook(server.url).deliver(MESSAGE)
    assert "s3cret" not in str(caught.value) + repr(Webhook(server.url))
    assert other.received == []


def test_a_webhook_that_sends_byte_by_byte_is_given_up() -> None:
    with webhook_server() as server:
        server.hangs = True
        with pytest.raises(AlertNotDeliveredError, match="did not answer: ReadTimeout"):
            Webhook(server.url, seconds=0.3).deliver(MESSAGE)
    with pytest.raises(AlertNotDeliveredError, match="did not answer: ConnectError"):
        Webhook(server.url).deliver(MESSAGE)


def test_mail_is_sent_over_starttls_with_a_login(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    with mail_server(files) as server:
        server.accepts = "sync\0s3cret"
        settings = email(server.port, user="sync", password="s3cret", ca_file=str(files[0]))
        Mail(settings).deliver(MESSAGE)
        with pytest.raises(AlertNotDeliveredError, match="is not trusted"):
            Mail(email(server.port)).deliver(MESSAGE)
        wrong = settings.model_copy(update={"user": "other"})
        with pytest.raises(AlertNotDeliveredError, match=r"does not accept user and password \(535\)") as caught:
            Mail(wrong).deliver(MESSAGE)
    assert "s3cret" not in str(caught.value) + repr(Mail(settings)) + repr(settings)
    (mail,) = server.mails
    assert server.logins == 1
    assert mail["Subject"] == MESSAGE.subject
    assert mail["To"] == "sis@school.test, dba@school.test"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == MESSAGE.body.splitlines()


def test_a_mail_server_that_hangs_lacks_tls_or_refuses_is_an_error_that_names_the_setting() -> None:
    with mail_server() as server:
        with pytest.raises(AlertNotDeliveredError, match=r"alerts\.email\.security"):
            Mail(email(server.port)).deliver(MESSAGE)
        plain = email(server.port, security="none")
        server.refuses = {"dba@school.test"}
        with pytest.raises(AlertNotDeliveredError, match="refused 1 recipients"):
            Mail(plain).deliver(MESSAGE)
        server.refuses.add("sis@school.test")
        with pytest.raises(AlertNotDeliveredError, match=r"alerts\.email\.to"):
            Mail(plain).deliver(MESSAGE)
        server.hangs = True
        with pytest.raises(AlertNotDeliveredError, match="did not answer"):
            Mail(plain, seconds=0.3).deliver(MESSAGE)
    assert len(server.mails) == 1
