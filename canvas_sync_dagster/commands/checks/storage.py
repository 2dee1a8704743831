"""Checks of Dagster's own storage, where its address is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from canvas_sync_dagster.commands.checks.finding import Checked, Finding, guarded, ok
from canvas_sync_dagster.postgres_url import DAGSTER_DATABASE_URL, redacted
from canvas_sync_dagster.warehouse.connection import connect


def run(checked: Checked) -> Iterator[Finding]:
    """Run all checks of this subject."""
    for check in CHECKS:
        yield from guarded(partial(check, checked))


def reachable(checked: Checked) -> Iterator[Finding]:
    """The storage is checked like the warehouse: address, password, version, encoding."""
    if url := os.environ.get(DAGSTER_DATABASE_URL):
        connect(url, setting=DAGSTER_DATABASE_URL).close()
        yield ok(f"Dagster's storage: {redacted(url)}")


CHECKS: tuple[Callable[[Checked], Iterator[Finding]], ...] = (reachable,)
"""Each is given the tenant; add yours here."""
