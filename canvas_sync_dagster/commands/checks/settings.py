"""Checks that need nothing but the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from canvas_sync_dagster.commands.checks.finding import Checked, Finding, guarded, note


def run(checked: Checked) -> Iterator[Finding]:
    """Run all checks of this subject."""
    for check in CHECKS:
        yield from guarded(partial(check, checked))


def encrypted(checked: Checked) -> Iterator[Finding]:
    """The token must not cross a network in the clear."""
    url = checked.tenant.base_url
    if url is not None and url.startswith("http://"):
        yield note(f"{url} is not encrypted: the token is sent in the clear", "Use https://, except in tests")


def signed(checked: Checked) -> Iterator[Finding]:
    """Without signatures anyone who reaches the receiver can write events."""
    if checked.tenant.unsigned_events:
        yield note(
            "unsigned live events are accepted: anyone who can reach the receiver can change rows",
            "Turn unsigned_events off, unless a proxy verifies the sender",
        )


CHECKS: tuple[Callable[[Checked], Iterator[Finding]], ...] = (encrypted, signed)
"""Each is given the tenant; add yours here."""
