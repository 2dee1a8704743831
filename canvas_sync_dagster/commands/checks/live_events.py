"""Checks for live events: the key set."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from canvas_sync_dagster.commands.checks.finding import Checked, Finding, fail, note, ok, run_checks
from canvas_sync_dagster.errors import CanvasSyncError, DeliveryDeferredError
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.schema.ddl import INBOX
from canvas_sync_dagster.warehouse.schema.existing import fitness
from canvas_sync_dagster.warehouse.state.inbox import depth
from canvas_sync_dagster.warehouse.warehouse import Warehouse


def run(checked: Checked) -> Iterator[Finding]:
    """Run all checks of this subject."""
    return run_checks(CHECKS, checked)


def keys(checked: Checked) -> Iterator[Finding]:
    """Signed events need the key set; a tenant that has never received an event may not need it."""
    key_set = KeySet(checked.location.settings.jwk_url)
    with contextlib.suppress(DeliveryDeferredError):
        asyncio.run(key_set.get("doctor"))
    if key_set.size:
        yield ok(f"{key_set.size} keys of live events at {key_set.url}")
        return
    message = f"no keys of live events at {key_set.url}; signed events cannot be accepted without them"
    remedy = "Allow this host to reach that address, or set DATASERVICES_JWK_URL"
    yield fail(message, remedy) if _receives_events(checked) else note(message, remedy)


def _receives_events(checked: Checked) -> bool:
    """Return whether live events have arrived; other checks report an unavailable database."""
    with contextlib.suppress(CanvasSyncError), transaction(checked.url, "looking for live events") as connection:
        if INBOX not in fitness(connection, checked.schema, ()).lacking:
            return depth(Warehouse(connection, checked.schema)).latest is not None
    return False


CHECKS: tuple[Callable[[Checked], Iterator[Finding]], ...] = (keys,)
"""Each gets the tenant. Add further checks here."""
