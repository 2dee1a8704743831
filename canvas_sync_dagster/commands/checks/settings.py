"""Checks that need only the settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from canvas_sync_dagster.commands.checks.finding import Checked, Finding, note, run_checks
from canvas_sync_dagster.commands.location import contradiction
from canvas_sync_dagster.configuration.environment import contradicted, read_variables, value_of
from canvas_sync_dagster.postgres_url import lacks_tls
from canvas_sync_dagster.sync.sync_status import unmet_schedules


def run(checked: Checked) -> Iterator[Finding]:
    """Run all checks of this subject."""
    return run_checks(CHECKS, checked)


def encrypted(checked: Checked) -> Iterator[Finding]:
    """The token must not be sent unencrypted."""
    url = checked.tenant.base_url
    if url is not None and url.startswith("http://"):
        yield note(f"{url} is not encrypted: the token is sent unencrypted", "Use https://, except in tests")


def environment(checked: Checked) -> Iterator[Finding]:
    """Commands of Dagster set what `.env` contains, and so would sync with other settings than ours."""
    names = contradicted(os.environ, Path.cwd())
    if names and checked.tenant == checked.location.settings.tenants[0]:
        yield note(contradiction(names), "Remove them from one of the two")


def embedded_despite_url(checked: Checked) -> Iterator[Finding]:
    """The variable of the database does not apply to tenants that are given in Python, or whose `database_url` is null."""
    name = "CANVAS_SYNC_DATABASE_URL"
    if checked.tenant.database_url is None and value_of(read_variables(None, Path.cwd()), name):
        yield note(
            f"the tables of tenant {checked.tenant.slug} are in the embedded PostgreSQL, although {name} is set",
            "Set `database_url` of this tenant, if its tables should be in the database of that variable",
        )


def signed(checked: Checked) -> Iterator[Finding]:
    """Without signatures, everyone who can reach the receiver can send events."""
    if checked.tenant.unsigned_events:
        yield note(
            "unsigned live events are accepted: anyone who can reach the receiver can change rows",
            "Turn unsigned_events off, unless a proxy verifies the sender",
        )


def database_encrypted(checked: Checked) -> Iterator[Finding]:
    """Grades and names must not be sent unencrypted, and libpq does not require TLS by default."""
    url = checked.tenant.database_url
    host = lacks_tls(url.get_secret_value()) if url is not None else None
    if host is not None:
        yield note(
            f"connections to the database at {host} may be unencrypted",
            "Add ?sslmode=verify-full to CANVAS_SYNC_DATABASE_URL, or ?sslmode=require if the server's certificate is "
            "self-signed",
        )


def exposures(checked: Checked) -> Iterator[Finding]:
    """Yield the warnings that the receiver prints when it starts."""
    if checked.tenant.token is not None:
        yield from encrypted(checked)
    for check in (signed, database_encrypted):
        yield from check(checked)


def full_syncs(checked: Checked) -> Iterator[Finding]:
    """The schedule must allow full syncs as often as `full_sync_every` requires."""
    for problem in unmet_schedules(checked.tenant, datetime.now(UTC)):
        yield note(problem, "Change CANVAS_SYNC_SCHEDULE or CANVAS_SYNC_FULL_SYNC_EVERY if that is not what you want")


CHECKS: tuple[Callable[[Checked], Iterator[Finding]], ...] = (
    environment,
    encrypted,
    signed,
    embedded_despite_url,
    database_encrypted,
    full_syncs,
)
"""Each gets the tenant. Add further checks here."""
