"""The UUID of a Canvas's root account, by which live events are recognized; asked of Canvas once."""

from __future__ import annotations

import logging

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.state.remembered import remember, remembered
from canvas_sync_dagster.warehouse.warehouse import Warehouse

LOG = logging.getLogger(__name__)
ROOT_ACCOUNT_UUID = "root_account_uuid"
"""Name under which the state table `canvas_sync_remembered` keeps it."""


def learn_root_account(canvas: Canvas, url: str, schema: str) -> str | None:
    """Ask Canvas for the UUID and store it, if the role may; None if Canvas does not return it."""
    body = canvas.get("/accounts/self")
    uuid = body.get("uuid") if isinstance(body, dict) else None
    if not isinstance(uuid, str) or not uuid:
        return None
    try:
        with transaction(url, "storing the root account's uuid") as connection:
            remember(Warehouse(connection, schema), ROOT_ACCOUNT_UUID, uuid)
    except CanvasSyncError as error:
        LOG.info("the root account's uuid is not stored: %s", error)
    return uuid


def store_root_account(session: Session) -> None:
    """Store the UUID for the receiver, which has no token; does nothing if it is set or stored, and never fails."""
    if session.tenant.root_account_uuid is not None:
        return
    try:
        with session.warehouse("looking for the root account's uuid") as warehouse:
            known = remembered(warehouse, ROOT_ACCOUNT_UUID)
        if known is None:
            learn_root_account(session.canvas, session.database_url, session.schema)
    except CanvasSyncError as error:
        LOG.info("the root account's uuid is not known yet: %s", error)
