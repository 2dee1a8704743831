"""A tenant's Canvas and database, connected for the length of one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.canvas.reports import available_reports
from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.embedded import embedded_database_url
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.postgres_url import database_of
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.extension_types import as_metadata
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.kept_connections import KeptConnections
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.warehouse import Warehouse

EMBEDDED_DATABASE = "canvas_sync"
"""Database of the copy on the embedded server; Dagster's storage is in a separate one."""


def session_connections() -> KeptConnections:
    """Return the connections of a session: two are used at once where a report is requested under its lock."""
    return KeptConnections(kept=2, per_database=2)


@dataclass(frozen=True, slots=True)
class Session:
    """Canvas and database of a tenant, for an op, a job or a script.

    Attributes:
        tenant: Settings of the tenant.
        home: Directory of the code location; files in it do not outlive an op.
        canvas: The client.
        database_url: Address of the warehouse; contains a password.
        models: All models of the code location.
        batch_rows: Rows per frame; None if not set.
        shard: Number of the tenant's shard in global ids; None if unknown.
        extensions: The user's own functions.
        connections: Connections to the warehouse that are open between two transactions.
        others: Slugs of the other tenants of the settings.
    """

    tenant: TenantSettings
    home: Path
    canvas: Canvas
    database_url: str = field(repr=False)
    models: tuple[Model, ...]
    batch_rows: int | None = None
    shard: int | None = None
    extensions: Extensions = field(default_factory=Extensions)
    connections: KeptConnections = field(default_factory=session_connections, repr=False)
    others: frozenset[str] = frozenset()
    _reports: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _sub_accounts: list[str] = field(default_factory=list, init=False, repr=False)

    @property
    def by_name(self) -> dict[str, Model]:
        return {model.name: model for model in self.models}

    @property
    def schema(self) -> str:
        return self.tenant.schema_in_database

    def available_reports(self) -> dict[str, str]:
        """Return the reports that the account can run, name → title; Canvas is asked once."""
        if not self._reports:
            self._reports.update(available_reports(self.canvas))
        return self._reports

    def sub_accounts(self) -> list[str]:
        """Return the ids of the accounts directly below the tenant's account; Canvas is asked once."""
        if not self._sub_accounts:
            found = self.canvas.get_list("/accounts/{account_id}/sub_accounts")
            self._sub_accounts.extend(str(each["id"]) for each in found)
        return self._sub_accounts

    def transaction(self, doing: str) -> AbstractContextManager[Connection]:
        """Open a transaction on the warehouse; leaving the `with` commits, an exception rolls back.

        Args:
            doing: What is being done, for messages: `counting courses`.
        """
        return self.connections.transaction(self.database_url, doing)

    @contextmanager
    def warehouse(self, doing: str) -> Iterator[Warehouse]:
        """Open a transaction on the tenant's tables; leaving the `with` commits, an exception rolls back.

        Args:
            doing: What was being done, for messages.
        """
        with self.transaction(doing) as connection:
            yield self.warehouse_on(connection)

    def warehouse_on(self, connection: Connection) -> Warehouse:
        """Return the tenant's tables on a connection that is open already."""
        return Warehouse(connection, self.schema, self.by_name)

    @contextmanager
    def journal(
        self, job: str, arguments: Mapping[str, object] | None = None, *, run_id: str = ""
    ) -> Iterator[dict[str, object]]:
        """Write a user's job to the journal, `canvas_sync_job_logs`.

        The job is `running`, with a heartbeat, and ends as `success`, or as `error` with the exception.

        Args:
            job: Name of the job, its `job_class`.
            arguments: Its `job_arguments`.
            run_id: Dagster run of the job; the failure sensor closes jobs that a killed run leaves open.

        Yields:
            A dictionary that becomes the `metadata` of the job.

        Raises:
            SchemaError: The tables do not exist; run `canvas-sync migrate`.
        """
        prepare_schema(self.database_url, self.schema, self.models, (), connections=self.connections)
        details: dict[str, object] = {}
        with journaled(self, job, arguments or {}, run_id) as entry:
            yield details
            with self.warehouse("writing the journal") as warehouse:
                entry.succeed(warehouse, as_metadata(details))


@contextmanager
def open_session(
    settings: Settings, tenant: TenantSettings, models: tuple[Model, ...], extensions: Extensions | None = None
) -> Iterator[Session]:
    """Open a client of the tenant's Canvas. Connections to the database are opened when they are needed, and kept.

    Raises:
        SettingError: The tenant has no address or no token.
    """
    own = extensions or Extensions()
    with connect_canvas(tenant, own) as canvas:
        url = database_url(settings, tenant)
        others = frozenset(each.slug for each in settings.tenants) - {tenant.slug}
        session = Session(
            tenant, settings.home, canvas, url, models, settings.batch_rows, tenant.shard, own, others=others
        )
        try:
            yield session
        finally:
            session.connections.close()


def connect_canvas(tenant: TenantSettings, extensions: Extensions | None = None) -> Canvas:
    """Return the client of a tenant's Canvas, from the settings or from the user's function.

    Raises:
        SettingError: The tenant has no address or no token.
    """
    made = extensions.client(tenant, tenant.account_id) if extensions and extensions.client else None
    if isinstance(made, Canvas):
        return made
    if tenant.base_url is None:
        raise _unset("CANVAS_SYNC_BASE_URL", tenant, "the address of your Canvas, e.g. https://school.instructure.com")
    token = made if isinstance(made, str) else tenant.token.get_secret_value() if tenant.token else None
    if token is None:
        raise _unset(
            "CANVAS_SYNC_TOKEN", tenant, "an access token of a Canvas admin (Account → Settings → New Access Token)"
        )
    return Canvas(tenant.base_url, token, account_id=tenant.account_id)


def database_url(settings: Settings, tenant: TenantSettings) -> str:
    """Returns where the tenant's copy lives; starts the embedded PostgreSQL where no address is given."""
    if tenant.database_url is not None:
        return tenant.database_url.get_secret_value()
    return embedded_database_url(settings.home, EMBEDDED_DATABASE)


def database_name(tenant: TenantSettings) -> str | None:
    """Return the name of the tenant's database without connecting; None if only a service file names it."""
    return EMBEDDED_DATABASE if tenant.database_url is None else database_of(tenant.database_url.get_secret_value())


def _unset(name: str, tenant: TenantSettings, allowed: str) -> SettingError:
    problem = (
        f"is not set for tenant {tenant.slug}; set it in the environment or in .env or, with several tenants, in "
        f"canvas_sync.yaml below tenants.{tenant.slug} (`canvas-sync demo` needs none of them)"
    )
    return SettingError(name, problem, allowed=allowed)
