"""What is wrong becomes news once, is repeated once a day, and ends with one more message. No I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from canvas_sync_dagster.alert_settings import AlertKind
from canvas_sync_dagster.alerts.conditions import FailedRun, FailedSync, TenantFacts, conditions, failed_run, unreadable
from canvas_sync_dagster.alerts.due import News, Notice, Standing, due, updated
from canvas_sync_dagster.alerts.messages import LONGEST_BODY, message
from canvas_sync_dagster.alerts.standings import as_json, from_json

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WRONG = TenantFacts(
    failed_syncs=(FailedSync("default", "school:2026", "terms 118 failed", ("CanvasUnauthorizedError: no\x1b[31m",)),),
    stale={"courses": ["118", "119"], "users": [""], "terms": []},
    held={("enrollments", "118"): "90 of 300 rows are missing at once"},
    rejected={"users": 3, "courses": 0},
    dead=2,
    token_expires_at=NOW + 3 * DAY,
)


def found(facts: TenantFacts) -> dict[AlertKind, list[str]]:
    texts: dict[AlertKind, list[str]] = {}
    for each in conditions("school", facts, NOW, token_warning=14 * DAY, asset_path=lambda name: f"/assets/{name}"):
        texts.setdefault(each.kind, []).append(each.text)
    return texts


def test_each_kind_is_one_sentence_that_names_the_tenant_and_what_is_concerned() -> None:
    texts = found(WRONG)
    assert set(texts) == set(AlertKind)
    assert all("school" in text for each in texts.values() for text in each)
    assert texts[AlertKind.STALE_TABLE] == [
        "courses of school is stale in the terms 118, 119",
        "users of school is stale",
    ]
    assert texts[AlertKind.FAILED_SYNC] == [
        r"the sync of school (genre default) failed: terms 118 failed; CanvasUnauthorizedError: no\x1b[31m"
    ]
    assert texts[AlertKind.EXPIRING_TOKEN] == ["the Canvas token of school expires at 2026-09-04 12:00 UTC"]
    assert found(TenantFacts()) == found(replace(TenantFacts(), token_expires_at=NOW + 15 * DAY)) == {}


def test_a_condition_is_sent_once_then_daily_then_when_it_has_grown_and_when_it_ends() -> None:
    def wrong(number: int) -> list[object]:
        return list(conditions("school", TenantFacts(rejected={"users": number}), NOW, token_warning=DAY))

    def news(standings: dict[tuple[str, str], Standing], now: datetime) -> list[News]:
        return [each.news for each in due(standings.values(), now, DAY)]

    def notified(standings: dict[tuple[str, str], Standing], now: datetime) -> dict[tuple[str, str], Standing]:
        after = {key: each.notified(now) for key, each in standings.items()}
        return {key: each for key, each in after.items() if each is not None}

    first = updated({}, wrong(3), NOW)  # type: ignore[arg-type]
    assert news(first, NOW) == [News.OPENED]
    assert updated(first, [], NOW) == {}, "the end of an alert that was not sent is not sent either"
    standing = notified(first, NOW)
    assert news(updated(standing, wrong(3), NOW), NOW + timedelta(hours=23)) == []  # type: ignore[arg-type]
    assert news(updated(standing, wrong(29), NOW), NOW + timedelta(hours=1)) == []  # type: ignore[arg-type]
    assert news(updated(standing, wrong(30), NOW), NOW + timedelta(hours=1)) == [News.GREW]  # type: ignore[arg-type]
    assert news(updated(standing, wrong(3), NOW), NOW + DAY) == [News.REMINDER]  # type: ignore[arg-type]
    ended = updated(standing, [], NOW + DAY)
    assert news(ended, NOW + DAY) == [News.RESOLVED]
    assert notified(ended, NOW + DAY) == {}
    assert news(updated(ended, wrong(3), NOW), NOW + timedelta(hours=1)) == []  # type: ignore[arg-type]


def test_what_is_not_delivered_is_tried_again_after_a_growing_pause() -> None:
    (standing,) = updated({}, [failed_run("school", FailedRun("school__reconcile", "", "1-2"))], NOW).values()
    pauses = []
    for _ in range(8):
        standing = standing.failed(NOW, "the webhook at x answered 500")
        assert standing.next_attempt_at is not None
        pauses.append(standing.next_attempt_at - NOW)
        assert due([standing], standing.next_attempt_at - timedelta(seconds=1), DAY) == []
        assert len(due([standing], standing.next_attempt_at, DAY)) == 1
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (timedelta(minutes=2), timedelta(hours=1))
    after = standing.notified(NOW)
    assert after is not None
    assert (after.attempts, after.error) == (0, "")


def test_a_database_that_is_away_for_less_than_five_minutes_is_not_reported() -> None:
    first = updated({}, [unreadable("school", "cannot reach it")], NOW)
    assert due(first.values(), NOW + timedelta(minutes=4), DAY) == []
    assert updated(first, [], NOW) == {}
    later = updated(first, [unreadable("school", "cannot reach it")], NOW + timedelta(minutes=5))
    assert len(due(later.values(), NOW + timedelta(minutes=5), DAY)) == 1
    assert from_json("school", as_json(first.values())).keys() == first.keys()


def notices(*tenants: str) -> list[tuple[Notice, str | None]]:
    return [
        (Notice(News.OPENED, Standing(each, NOW)), "https://dagster.test")
        for tenant in tenants
        for each in conditions(tenant, WRONG, NOW, token_warning=14 * DAY, asset_path=lambda name: f"/assets/x/{name}")
    ]


def test_a_message_says_what_happened_what_to_do_since_when_and_where_to_look() -> None:
    text = message(notices("school")[1:2])
    assert text.subject == "[canvas_sync] courses of school is stale in the terms 118, 119"
    assert text.body.splitlines() == [
        "courses of school is stale in the terms 118, 119.",
        "What to do: look for failed or missing runs; check that the schedule is running.",
        "Since 2026-09-01 12:00 UTC.",
        "https://dagster.test/assets/x/courses",
    ]
    ended = message([(Notice(News.RESOLVED, notices("school")[0][0].standing), None)])
    assert ended.body.startswith("resolved: the sync of school (genre default) failed")
    assert "What to do" not in ended.body


@pytest.mark.parametrize("number", [2, 200])
def test_the_alerts_of_many_tenants_are_one_digest_of_bounded_length(number: int) -> None:
    text = message(notices(*(f"school_{each}" for each in range(number))))
    assert f"{2 * number} stale tables" in text.subject
    assert f"in {number} tenants" in text.subject
    assert len(text.subject) <= 200
    assert len(text.body) < LONGEST_BODY + 500
    assert ("Not listed:" in text.body) is (number > 2)
