"""Checks of Dagster's own storage, where its address is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from canvas_sync_dagster.commands.checks.finding import Checked, Finding, guarded, note, ok
from canvas_sync_dagster.postgres_url import DAGSTER_DATABASE_URL, problem_of, redacted
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.limits import limit_of


def run(checked: Checked) -> Iterator[Finding]:
    """Run all checks of this subject."""
    for check in CHECKS:
        yield from guarded(partial(check, checked))


def reachable(checked: Checked) -> Iterator[Finding]:
    """The storage is checked like the warehouse: address, password, version, encoding."""
    if url := os.environ.get(DAGSTER_DATABASE_URL):
        connect(url, setting=DAGSTER_DATABASE_URL).close()
        yield ok(f"Dagster's storage: {redacted(url)}")


def limits(checked: Checked) -> Iterator[Finding]:
    """Dagster sets no limits of its own outside its webserver, so those of the role end its queries."""
    url = os.environ.get(DAGSTER_DATABASE_URL)
    if url and problem_of(url) is None and (limit := limit_of(url, "statement_timeout")):
        yield note(
            f"{limit} applies to Dagster's storage, whose slowest queries take seconds",
            "Run `alter role … set statement_timeout = 0` for the role of Dagster's storage",
        )


CHECKS: tuple[Callable[[Checked], Iterator[Finding]], ...] = (reachable, limits)
"""Each is given the tenant; add yours here."""
