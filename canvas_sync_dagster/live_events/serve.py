"""Serves the receiver for the tenants of the settings, by uvicorn."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import uvicorn

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import CanvasSyncError, SettingError
from canvas_sync_dagster.live_events.budget import Budget, Limits
from canvas_sync_dagster.live_events.connections import LimitedProtocol
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.live_events.partitions import ensure_partitions
from canvas_sync_dagster.live_events.provenance import Provenance
from canvas_sync_dagster.live_events.receiver import Inbox, Receiver, belongs
from canvas_sync_dagster.live_events.symmetric import SecretKey
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.root_account import ROOT_ACCOUNT_UUID, learn_root_account
from canvas_sync_dagster.sync.session import connect_canvas, database_url, open_session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.schema.ddl import INBOX
from canvas_sync_dagster.warehouse.schema.existing import fitness
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.remembered import remembered
from canvas_sync_dagster.warehouse.warehouse import Warehouse

LOG = logging.getLogger(__name__)
NEEDED = frozenset({INBOX, "canvas_sync_remembered"})
"""Tables without which no event can be received; what a data table lacks does not matter to the receiver."""
BACKLOG = 512
"""Connections that the kernel holds until they are accepted; beyond it senders' systems try again by themselves."""
TURN = 5.0
"""Seconds that a receiver drains in one go; so long it may take to end, too."""


def receiver(
    settings: Settings,
    models: tuple[Model, ...],
    extensions: Extensions | None = None,
    *,
    drains: bool = False,
    health_port: int | None = None,
    limits: Limits | None = None,
    models_of: Callable[[TenantSettings], tuple[Model, ...]] | None = None,
) -> Receiver:
    """Makes the receiver of all tenants; their tables are made ready.

    Args:
        settings: With the tenants.
        models: Of the code location.
        models_of: Returns the models that a tenant syncs; those of `models` that its settings name, if not given.
        extensions: The user's own functions.
        drains: Whether it applies events itself; the sensor applies what it does not.
        health_port: Port at which `/health` and `/metrics` are answered, and events are not; None for the same port.
        limits: Of the connections of this process.

    Raises:
        CanvasSyncError: A database is away, or lacks something.
    """
    own = extensions or Extensions()
    chosen = models_of or (lambda tenant: tenant.chosen(models))
    inboxes = {tenant.slug: _inbox(settings, tenant, chosen(tenant), own, drains=drains) for tenant in settings.tenants}
    _prepare(list(inboxes.values()))
    secrets = [SecretKey(settings.event_key, settings.event_iv)] if settings.event_key else []
    provenance, broken = Provenance(KeySet(settings.jwk_url), secrets), [each.slug for each in settings.broken]
    return Receiver(
        inboxes,
        provenance,
        own.accepts_event or belongs,
        broken=broken,
        budget=Budget(limits),
        health_port=health_port,
    )


def server_options(keep_alive: int = 5) -> dict[str, Any]:
    """Return the options of uvicorn that bound what senders may take.

    No header of a proxy is believed, as none is used; uvicorn's own limit of connections refuses genuine senders while
    an attacker holds connections open, and `Budget` takes its place.

    Args:
        keep_alive: Seconds that an idle connection is kept.
    """
    return {
        "http": LimitedProtocol,
        "ws": "none",
        "proxy_headers": False,
        "server_header": False,
        "access_log": False,
        "timeout_keep_alive": keep_alive,
        "limit_concurrency": None,
    }


@contextlib.contextmanager
def served(app: Callable[..., Any]) -> Iterator[str]:
    """Serves an ASGI application on a free port of loopback for the length of a `with`; yields its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        options = server_options() | {"log_level": "critical", "lifespan": "on", "backlog": BACKLOG}
        config = uvicorn.Config(app, timeout_graceful_shutdown=1, **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _inbox(
    settings: Settings, tenant: TenantSettings, models: tuple[Model, ...], extensions: Extensions, *, drains: bool
) -> Inbox:
    url, schema = database_url(settings, tenant), tenant.schema_in_database

    def prepare() -> None:
        with transaction(url, "looking for the inbox") as connection:
            lacking = {each.partition(".")[0] for each in fitness(connection, schema, ()).lacking}
        if lacking & NEEDED:
            # Events are received whatever a data table lacks.
            prepare_schema(url, schema, models, ())
        with transaction(url, "preparing the inbox") as connection:
            ensure_partitions(connection, schema)

    def learn() -> str | None:
        with transaction(url, "looking for the root account's uuid") as connection:
            if known := remembered(Warehouse(connection, schema), ROOT_ACCOUNT_UUID):
                return known
        if tenant.token is None and not extensions.client:
            raise SettingError(
                "CANVAS_SYNC_ROOT_ACCOUNT_UUID",
                f"the root account of tenant {tenant.slug} is not known, and the receiver has no token to ask Canvas; "
                "the first sync stores it",
                allowed="the UUID of the root account",
            )
        with connect_canvas(tenant, extensions) as canvas:
            return learn_root_account(canvas, url, schema)

    def apply() -> bool:
        with open_session(settings, tenant, models, extensions) as session:
            return drain(session, budget=TURN, only_log_errors=True).left

    return Inbox(
        tenant=tenant.slug,
        url=url,
        schema=schema,
        prepare=prepare,
        root_account_uuid=tenant.root_account_uuid,
        learn=learn,
        unsigned=tenant.unsigned_events,
        drain=apply if drains else None,
    )


def _prepare(inboxes: Sequence[Inbox]) -> None:
    """Makes the tables ready; a tenant whose database is away must not keep the others from receiving."""
    problems = []
    for inbox in inboxes:
        try:
            inbox.prepare()
        except CanvasSyncError as error:
            LOG.warning("%s: events are answered by 503 until its inbox is there: %s", inbox.tenant, error)
            problems.append(error)
    if problems and len(problems) == len(inboxes):
        raise problems[0]
