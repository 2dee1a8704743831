"""Texts of alerts: one message for one piece of news, a digest for several. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from urllib.parse import quote

from canvas_sync_dagster.alerts.due import News, Notice
from canvas_sync_dagster.printable import printable, quotable

MOST_LISTED = 20
"""Maximum number of alerts that a digest describes; it counts the others."""
LONGEST_BODY = 12_000
"""Maximum characters of a message; Slack accepts 40,000, Teams 28 kB."""
TITLES = {News.OPENED: "", News.GREW: "grew: ", News.REMINDER: "still open: ", News.RESOLVED: "resolved: "}
NAMES = {
    "failed_sync": "failed syncs",
    "stale_table": "stale tables",
    "volume_gate": "volume gates",
    "rejected_rows": "tables with rejected rows",
    "dead_letters": "inboxes with dead letters",
    "expiring_token": "expiring tokens",
}
LINK_CHARACTERS = "/?=&[]:"


@dataclass(frozen=True, slots=True)
class Message:
    """A message for people.

    Attributes:
        subject: One line.
        body: Plain text.
    """

    subject: str
    body: str


def message(notices: Sequence[tuple[Notice, str | None]]) -> Message:
    """Return the message of one or more pieces of news.

    Args:
        notices: Each with the URL of the Dagster UI, or None; at least one.
    """
    if len(notices) == 1:
        return Message(f"[canvas_sync] {_headline(notices[0][0])}"[:200], _entry(*notices[0]))
    ordered = sorted(notices, key=lambda each: each[0].news is News.RESOLVED)
    listed = "\n\n".join(_entry(*each) for each in ordered[:MOST_LISTED])
    rest = _counts([notice for notice, _ in ordered[MOST_LISTED:]])
    more = f"\n\nNot listed: {rest}. Run `canvas-sync status` for all of them." if rest else ""
    summary = _counts([notice for notice, _ in notices])
    return Message(f"[canvas_sync] {summary}"[:200], printable(f"{summary}\n\n{listed}", LONGEST_BODY) + more)


def slack_payload(text: Message) -> bytes:
    """Return a message as the JSON of Slack's incoming webhooks, in which `&`, `<` and `>` are escaped."""
    escaped = text.body.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return json.dumps({"text": escaped}).encode()


def teams_payload(text: Message) -> bytes:
    """Return a message as the JSON of a Teams workflow: one adaptive card."""
    blocks = [{"type": "TextBlock", "text": part, "wrap": True} for part in text.body.split("\n\n")]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return json.dumps({"type": "message", "attachments": [attachment]}).encode()


def mail(text: Message, sender: str, recipients: Sequence[str], now: datetime) -> EmailMessage:
    """Return a message as plain-text mail.

    Args:
        text: The message.
        sender: Address of the sender.
        recipients: Addresses of the recipients.
        now: Current time, aware.
    """
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = text.subject, sender, ", ".join(recipients)
    made["Date"], made["Message-ID"] = format_datetime(now), make_msgid(domain=sender.rpartition("@")[2])
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(text.body)
    return made


def _headline(notice: Notice) -> str:
    return quotable(TITLES[notice.news] + notice.standing.condition.text, 180)


def _entry(notice: Notice, ui_url: str | None) -> str:
    condition = notice.standing.condition
    lines = [f"{TITLES[notice.news]}{condition.text}."]
    if notice.news is not News.RESOLVED:
        lines.append(f"What to do: {condition.remedy}.")
    lines.append(f"Since {notice.standing.opened_at:%Y-%m-%d %H:%M %Z}.")
    if ui_url and condition.path:
        lines.append(ui_url + quote(condition.path, safe=LINK_CHARACTERS))
    return printable("\n".join(lines), 2_000)


def _counts(notices: Sequence[Notice]) -> str:
    """Return `3 failed syncs, 12 stale tables in 4 tenants; 2 resolved`; empty without notices."""
    wrong = [each.standing.condition for each in notices if each.news is not News.RESOLVED]
    kinds = Counter(each.kind.value for each in wrong)
    tenants = {each.tenant for each in wrong}
    where = f" in {next(iter(tenants))}" if len(tenants) == 1 else f" in {len(tenants)} tenants"
    parts = [", ".join(f"{number} {NAMES[kind]}" for kind, number in kinds.items()) + where] if wrong else []
    ended = len(notices) - len(wrong)
    return "; ".join([*parts, *([f"{ended} resolved"] if ended else [])])
