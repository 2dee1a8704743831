"""When the Canvas token expires: asked of Canvas at the start of each sync, for the alert.

Canvas shows a token to its own user by the first five characters, which its web pages show, too.
"""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import UTC, datetime

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.errors import CanvasForbiddenError, CanvasNotFoundError, CanvasRequestError, CanvasSyncError
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.state.remembered import remember, remembered
from canvas_sync_dagster.warehouse.warehouse import Warehouse

LOG = logging.getLogger(__name__)
NAME = "token_expires_at"
"""Name in `canvas_sync_remembered`; the value is JSON."""
HINT = 5
"""Characters of a token by which Canvas finds it, without the number of the shard before `~`."""


def ask_token_expiry(canvas: Canvas, token: str) -> datetime | None:
    """Return when Canvas's answer states that a token expires; None if it does not expire.

    Raises:
        CanvasSyncError: This Canvas does not show it: it is older than 2024, or the token is limited to other scopes.
    """
    shard, _, secret = token.rpartition("~")
    hints = [secret[:HINT], *([f"{shard}~{secret[:HINT]}"] if shard else [])]
    for hint in hints[:-1]:
        try:
            return _expiry(canvas.get(f"/users/self/tokens/{hint}"))
        except CanvasNotFoundError:
            continue
    return _expiry(canvas.get(f"/users/self/tokens/{hints[-1]}"))


def _expiry(body: object) -> datetime | None:
    value = body.get("expires_at") if isinstance(body, dict) else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def store_token_expiry(session: Session) -> None:
    """Store when the token expires, if alerts are set up and the setting does not say it; never fails."""
    tenant = session.tenant
    if tenant.alerts is None or not tenant.alerts.is_active or tenant.token_expires_at or tenant.token is None:
        return
    token = tenant.token.get_secret_value()
    try:
        try:
            found = ask_token_expiry(session.canvas, token)
        except (CanvasNotFoundError, CanvasForbiddenError, CanvasRequestError) as error:
            LOG.info("Canvas does not show when the token expires (%s); set token_expires_at", type(error).__name__)
            found = None
        value = json.dumps({"token": _digest(token), "expires_at": found.isoformat() if found else None})
        with session.warehouse("storing when the token expires") as warehouse:
            remember(warehouse, NAME, value)
    except CanvasSyncError as error:
        LOG.info("when the token expires is not stored: %s", error)


def read_token_expiry(warehouse: Warehouse, tenant: TenantSettings) -> datetime | None:
    """Return when the token expires, by the setting or by what Canvas answered about this very token."""
    if tenant.token_expires_at is not None or tenant.token is None:
        return tenant.token_expires_at
    stored = json.loads(remembered(warehouse, NAME) or "{}")
    if stored.get("token") != _digest(tenant.token.get_secret_value()) or stored.get("expires_at") is None:
        return None
    return datetime.fromisoformat(stored["expires_at"])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:16]
