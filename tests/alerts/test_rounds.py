"""Rounds over real databases: each channel is notified once, whatever fails, and many alerts are one message."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from psycopg import sql

from canvas_sync_dagster.alert_settings import AlertKind, AlertSettings
from canvas_sync_dagster.alerts.conditions import FailedRun
from canvas_sync_dagster.alerts.rounds import AlertTenant, EndedRun, Memory, Round
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import CanvasForbiddenError
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, TENANT_TAG, WILL_RETRY_TAG
from canvas_sync_dagster.sensors.alerts import alert_sensor, ended_runs
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.state.alert_states import AlertStates
from canvas_sync_dagster.warehouse.state.job_logs import JobLogs
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from tests.alerts.servers import MailServer, WebhookServer, mail_server, webhook_server
from tests.fix_canvas import Sessions

REJECT = sql.SQL("insert into canvas.canvas_sync_rejected_rows (model, reason, raw) values ('users', 'no', 'Ada,1815')")
UNREACHABLE = "postgresql://u:s3cret@127.0.0.1:1/d"


@pytest.fixture
def database_url(migrated_url: str) -> str:
    return migrated_url


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    with webhook_server() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def alerts_of(webhook: WebhookServer, mail: MailServer | None = None, **settings: object) -> AlertSettings:
    email = {"to": "a@x.test", "from": "b@x.test", "host": "127.0.0.1", "security": "none"}
    given = {"webhook_url": webhook.url, "email": email | {"port": mail.port} if mail else None}
    return AlertSettings.model_validate(given | settings)


def covered(url: str, slug: str = "canvas") -> CoveredTerms:
    return CoveredTerms(TenantSettings(slug=slug), url, BUILT_IN)


class Rounds:
    """Rounds one after the other, each six minutes after the one before."""

    def __init__(self, *tenants: AlertTenant) -> None:
        self.tenants, self.memory, self.now = tenants, Memory(), datetime.now(UTC)

    def next(self, *runs: EndedRun) -> list[str]:
        self.now += timedelta(minutes=6)
        current = Round(self.tenants, Memory.parse(self.memory.as_json()), self.now, runs)
        self.memory = current.run()
        return current.lines


def test_both_channels_are_notified_once_and_again_at_the_end_and_a_failing_one_alone_is_retried(
    session: Session, webhook: WebhookServer, mail: MailServer
) -> None:
    rounds = Rounds(AlertTenant("canvas", alerts_of(webhook, mail), lambda: covered(session.database_url)))
    assert rounds.next() == []
    with session.warehouse("") as warehouse:
        warehouse.connection.execute(REJECT)
        Watermarks(warehouse).keep_held("courses", "118", "90 of 300 rows are missing at once")
    webhook.status = 500
    rounds.next()
    with session.warehouse("") as warehouse:
        assert AlertStates(warehouse).count_undelivered() == {"webhook": (2, "the webhook at 127.0.0.1 answered 500")}
    webhook.status = 200
    rounds.next()
    rounds.next()
    assert len(webhook.received) == 2
    (first,) = mail.mails
    assert first["Subject"] == "[canvas_sync] 1 volume gates, 1 tables with rejected rows in canvas"
    assert "Ada" not in first.get_content() + str(webhook.received)
    with session.warehouse("") as warehouse:
        assert AlertStates(warehouse).count_undelivered() == {}
        warehouse.connection.execute("delete from canvas.canvas_sync_rejected_rows")
    rounds.next()
    assert mail.mails[1]["Subject"] == "[canvas_sync] resolved: 1 rejected row of users in canvas"
    assert webhook.received[2]["text"].startswith("resolved: 1 rejected row")
    assert rounds.next() == []


def test_a_failed_batch_is_reported_with_the_errors_of_its_reports_until_one_is_completed(
    session: Session, webhook: WebhookServer
) -> None:
    service = BatchService(session.tenant, session.database_url, session.models)

    def batch(key: str, status: str, reason: str, error: Exception | None = None) -> None:
        opened = service.open(key)
        assert opened is not None
        with service.warehouse("") as warehouse:
            job = JobLogs(warehouse).start("users_csv", {"scope": ""}, job_id="x")
            job.fail(warehouse, error) if error else job.succeed(warehouse, {})
        service.close(opened, status, reason, [])

    settings = alerts_of(webhook, ui_url="https://dagster.test")
    rounds = Rounds(AlertTenant("canvas", settings, lambda: covered(session.database_url)))
    batch("canvas:1", "failed", "the root run failed", CanvasForbiddenError("account 1: no"))
    rounds.next()
    batch("canvas:2", "failed", "terms 118 failed")
    rounds.next()
    batch("canvas:3", "completed", "all done")
    rounds.next()
    first, last = (each["text"].splitlines() for each in webhook.received)
    assert first[0] == (
        "the sync of canvas (genre default) failed: the root run failed; CanvasForbiddenError: account 1: no."
    )
    assert first[-1] == "https://dagster.test/runs?q[0]=tag:canvas_sync/batch_id=canvas:1"
    assert last[0].startswith("resolved: the sync of canvas (genre default) failed: terms 118 failed")


def test_a_kind_or_a_channel_that_is_switched_off_is_forgotten_without_a_message(
    session: Session, webhook: WebhookServer, mail: MailServer
) -> None:
    def tenant(settings: AlertSettings) -> AlertTenant:
        return AlertTenant("canvas", settings, lambda: covered(session.database_url))

    rounds = Rounds(tenant(alerts_of(webhook, mail)))
    with session.warehouse("") as warehouse:
        warehouse.connection.execute(REJECT)
    rounds.next()
    rounds.tenants = (tenant(alerts_of(webhook, kinds=[AlertKind.DEAD_LETTERS])),)
    assert rounds.next() == []
    assert (len(webhook.received), len(mail.mails)) == (1, 1)
    with session.warehouse("") as warehouse:
        assert AlertStates(warehouse).read("webhook") == AlertStates(warehouse).read("email") == []


def test_a_failed_run_is_sent_once_until_its_job_succeeds(session: Session, webhook: WebhookServer) -> None:
    def ended(run_id: str, *, failed: bool, tenant: str = "canvas") -> EndedRun:
        return EndedRun(tenant, FailedRun("canvas__reconcile", "", run_id), failed)

    settings = alerts_of(webhook, ui_url="https://dagster.test/")
    rounds = Rounds(AlertTenant("canvas", settings, lambda: covered(session.database_url)))
    rounds.next(ended("a", failed=True), ended("z", failed=True, tenant="other"))
    rounds.next(ended("b", failed=True))
    (message,) = webhook.received
    assert message["text"].splitlines()[0] == "a run of canvas__reconcile failed in canvas."
    assert message["text"].splitlines()[-1] == "https://dagster.test/runs/a"
    rounds.next(ended("c", failed=True), ended("d", failed=False))
    assert webhook.received[1]["text"].startswith("resolved: a run of canvas__reconcile failed")


def test_two_hundred_tenants_whose_databases_are_away_are_one_message_and_one_more_at_the_end(
    session: Session, webhook: WebhookServer
) -> None:
    urls = {f"school_{number}": UNREACHABLE for number in range(200)}
    settings = alerts_of(webhook)
    rounds = Rounds(
        *(AlertTenant(slug, settings, lambda slug=slug: covered(urls[slug], slug)) for slug in urls)  # type: ignore[misc]
    )
    rounds.next()
    assert webhook.received == []
    rounds.next()
    rounds.next()
    (digest,) = webhook.received
    assert digest["text"].startswith("200 failed syncs in 200 tenants\n\nthe state of school_0 cannot be read")
    assert "Not listed: 180 failed syncs in 180 tenants" in digest["text"]
    assert "s3cret" not in digest["text"] + str(rounds.memory.as_json())
    # The schema does not exist, so there is nothing to read, and nothing wrong.
    urls.update(dict.fromkeys(urls, session.database_url))
    rounds.next()
    assert webhook.received[1]["text"].startswith("200 resolved")
    assert rounds.memory.as_json()["unreadable"] == {}


def test_news_within_five_minutes_of_a_message_waits_for_the_next_digest(
    session: Session, webhook: WebhookServer
) -> None:
    rounds = Rounds(AlertTenant("canvas", alerts_of(webhook), lambda: covered(session.database_url)))
    failed = [EndedRun("canvas", FailedRun(f"job_{number}", "", "x"), True) for number in range(3)]
    rounds.next(failed[0])
    for run in failed[1:]:
        rounds.now -= timedelta(minutes=5)
        rounds.next(run)
    assert len(webhook.received) == 1
    rounds.next()
    assert webhook.received[1]["text"].startswith("2 failed syncs in canvas")


def test_canvas_is_asked_when_the_token_expires_unless_the_setting_says_it(
    canvas: SimulatedCanvas, sessions: Sessions, webhook: WebhookServer
) -> None:
    settings = alerts_of(webhook)
    rounds = Rounds()

    def synced(**more: object) -> list[str]:
        session = sessions(alerts=settings, **more)
        sync_list(Flow.of(session, SyncOptions()), next(each for each in BUILT_IN if each.name == "terms"))
        rounds.tenants = (
            AlertTenant("canvas", settings, lambda: CoveredTerms(session.tenant, session.database_url, BUILT_IN)),
        )
        rounds.next()
        return [each["text"].splitlines()[0] for each in webhook.received]

    canvas.set_token_expiry(datetime(2026, 1, 1, tzinfo=UTC))
    assert synced() == ["the Canvas token of canvas has expired at 2026-01-01 00:00 UTC."]
    canvas.set_token_expiry(None, shown=False)
    assert synced()[1:] == ["resolved: the Canvas token of canvas has expired at 2026-01-01 00:00 UTC."]
    assert synced(token_expires_at="2026-02-02")[2:] == [
        "the Canvas token of canvas has expired at 2026-02-02 00:00 UTC."
    ]


def test_the_sensor_looks_at_runs_outside_batches_that_are_not_retried_and_keeps_its_cursor(
    session: Session, webhook: WebhookServer
) -> None:
    @dg.job(tags={TENANT_TAG: "canvas"})
    def canvas__reconcile() -> None:
        pass

    since = datetime.now(UTC).timestamp() - 5
    tenant = AlertTenant("canvas", alerts_of(webhook), lambda: covered(session.database_url))
    with dg.DagsterInstance.ephemeral() as instance:
        for tags in ({}, {BATCH_TAG: "canvas:1"}, {WILL_RETRY_TAG: "true"}):
            run = instance.create_run_for_job(canvas__reconcile, tags={TENANT_TAG: "canvas", **tags})
            instance.report_run_failed(run)
        found, until = ended_runs(instance, since)
        assert [each.run.job for each in found] == ["canvas__reconcile"]
        assert ended_runs(instance, until + 5)[0] == []
        context = dg.build_sensor_context(instance=instance, cursor=f'{{"runs_until": {since}}}')
        result = alert_sensor([tenant])(context)
        assert result.skip_reason.skip_message == "1 alerts by webhook: sent"
        again = alert_sensor([tenant])(dg.build_sensor_context(instance=instance, cursor=result.cursor))
    assert again.skip_reason.skip_message == "nothing is due"
    assert len(webhook.received) == 1
