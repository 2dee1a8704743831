"""Build the receiver for the tenants of the settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import CanvasSyncError, SettingError
from canvas_sync_dagster.live_events.budget import Budget, Limits
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.live_events.provenance import Provenance
from canvas_sync_dagster.live_events.receiver import Receiver
from canvas_sync_dagster.live_events.symmetric import SecretKey
from canvas_sync_dagster.live_events.tenant_inbox import Inbox, belongs
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.root_account import ROOT_ACCOUNT_UUID, learn_root_account
from canvas_sync_dagster.sync.session import connect_canvas, database_url, open_session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.reading.payloads import PayloadProtection
from canvas_sync_dagster.warehouse.schema.ddl import INBOX
from canvas_sync_dagster.warehouse.schema.existing import fitness
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from canvas_sync_dagster.warehouse.state.remembered import TABLE as REMEMBERED
from canvas_sync_dagster.warehouse.state.remembered import remembered
from canvas_sync_dagster.warehouse.warehouse import Warehouse

LOG = logging.getLogger(__name__)
NEEDED = frozenset({INBOX, REMEMBERED})
"""Tables without which no event can be received. Missing columns of data tables do not matter to the receiver."""
TURN = 5.0
"""Seconds for which a receiver drains at once; stopping it may take as long."""


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
    """Build the receiver of all tenants, and create the tables that it needs.

    Args:
        settings: Settings with the tenants.
        models: Models of the code location.
        extensions: The user's own functions.
        drains: Whether the receiver also applies events; the sensor applies the others.
        health_port: Port at which `/health` and `/metrics` are answered, and events are not; None for the same port.
        limits: Limits of the connections of this process.
        models_of: Returns the models that a tenant syncs; those of `models` that its settings name, if not given.

    Raises:
        CanvasSyncError: No tenant's database can be used.
    """
    own = extensions or Extensions()
    chosen = models_of or (lambda tenant: tenant.chosen(models))
    inboxes = {
        tenant.slug: replace(
            _inbox(settings, tenant, chosen(tenant), own, drains=drains),
            protection=PayloadProtection.of(map(tenant.rules.of, models)),
        )
        for tenant in settings.tenants
    }
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


def _inbox(
    settings: Settings, tenant: TenantSettings, models: tuple[Model, ...], extensions: Extensions, *, drains: bool
) -> Inbox:
    functions = _InboxFunctions(settings, tenant, models, extensions)
    return Inbox(
        tenant=tenant.slug,
        url=functions.url,
        schema=functions.schema,
        prepare=functions.prepare,
        root_account_uuid=tenant.root_account_uuid,
        learn=functions.learn,
        unsigned=tenant.unsigned_events,
        drain=functions.drain if drains and tenant.enabled else None,
    )


class _InboxFunctions:
    """What the receiver of one tenant does in the database and asks of Canvas; all functions are blocking."""

    def __init__(
        self, settings: Settings, tenant: TenantSettings, models: tuple[Model, ...], extensions: Extensions
    ) -> None:
        self._settings, self._tenant, self._models, self._extensions = settings, tenant, models, extensions
        self.url, self.schema = database_url(settings, tenant), tenant.schema_in_database

    def prepare(self) -> None:
        """Create the inbox and its partitions, as far as they are missing."""
        with transaction(self.url, "looking for the inbox") as connection:
            lacking = {each.partition(".")[0] for each in fitness(connection, self.schema, ()).lacking}
        if lacking & NEEDED:
            # Events are received even if a data table lacks columns.
            prepare_schema(self.url, self.schema, self._models, ())
        with transaction(self.url, "preparing the inbox") as connection:
            ensure_partitions(Warehouse(connection, self.schema))

    def learn(self) -> str | None:
        """Return the UUID of the root account, from the database or from Canvas."""
        with transaction(self.url, "looking for the root account's uuid") as connection:
            if known := remembered(Warehouse(connection, self.schema), ROOT_ACCOUNT_UUID):
                return known
        if self._tenant.token is None and not self._extensions.client:
            raise SettingError(
                "CANVAS_SYNC_ROOT_ACCOUNT_UUID",
                f"the root account of tenant {self._tenant.slug} is not known, and the receiver has no token to ask "
                "Canvas; the first sync stores it",
                allowed="the UUID of the root account",
            )
        with connect_canvas(self._tenant, self._extensions) as canvas:
            return learn_root_account(canvas, self.url, self.schema)

    def drain(self) -> bool:
        """Apply events for `TURN` seconds, and return whether more are due."""
        with open_session(self._settings, self._tenant, self._models, self._extensions) as session:
            return drain(session, budget=TURN, only_log_errors=True).left


def _prepare(inboxes: Sequence[Inbox]) -> None:
    """Create the tables; a tenant whose database does not answer must not keep the others from receiving."""
    problems = []
    for inbox in inboxes:
        try:
            inbox.prepare()
        except CanvasSyncError as error:
            LOG.warning("%s: events are answered by 503 until the inbox can be used: %s", inbox.tenant, error)
            problems.append(error)
    if problems and len(problems) == len(inboxes):
        raise problems[0]
