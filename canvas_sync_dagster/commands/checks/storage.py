"""Checks of Dagster's storage, if its URL is set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from canvas_sync_dagster.commands.checks.finding import Checked, Finding, note, ok, run_checks
from canvas_sync_dagster.postgres_url import DAGSTER_DATABASE_URL, problem_of, redacted
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.limits import limit_of


def run(checked: Checked) -> Iterator[Finding]:
    """Run all checks of this subject."""
    return run_checks(CHECKS, checked)


def reachable(checked: Checked) -> Iterator[Finding]:
    """The storage is checked like the warehouse: address, password, version, encoding."""
    if url := os.environ.get(DAGSTER_DATABASE_URL):
        connect(url, setting=DAGSTER_DATABASE_URL).close()
        yield ok(f"Dagster's storage: {redacted(url)}")


def limits(checked: Checked) -> Iterator[Finding]:
    """Limits of the role end Dagster's queries, because Dagster sets limits only in its webserver."""
    url = os.environ.get(DAGSTER_DATABASE_URL)
    if url and problem_of(url) is None and (limit := limit_of(url, "statement_timeout")):
        yield note(
            f"{limit} applies to Dagster's storage, whose slowest queries take seconds",
            "Run `alter role … set statement_timeout = 0` for the role of Dagster's storage",
        )


CHECKS: tuple[Callable[[Checked], Iterator[Finding]], ...] = (reachable, limits)
"""Each gets the tenant. Add further checks here."""
