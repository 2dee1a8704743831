"""A tenant's Canvas and database, connected for the length of one op."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.embedded import embedded_database_url
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.extension_types import as_metadata
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import Connection, transaction
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.warehouse import Warehouse

EMBEDDED_DATABASE = "canvas_sync"
"""Database on the embedded server; Dagster's own storage stands beside it in another one."""


@dataclass(frozen=True, slots=True)
class Session:
    """What an op works with.

    Attributes:
        tenant: Whose Canvas it is.
        home: Directory of the code location; files in it do not outlive an op.
        canvas: The client.
        database_url: Where the copy lives; holds a password.
        models: All models of the code location.
        batch_rows: Rows per frame, where a person set it.
        shard: Number of the tenant's shard in global ids, where it is known.
        extensions: The user's own functions.
    """

    tenant: TenantSettings
    home: Path
    canvas: Canvas
    database_url: str = field(repr=False)
    models: tuple[Model, ...]
    batch_rows: int | None = None
    shard: int | None = None
    extensions: Extensions = field(default_factory=Extensions)

    @property
    def by_name(self) -> dict[str, Model]:
        return {model.name: model for model in self.models}

    @property
    def schema(self) -> str:
        return self.tenant.schema_in_database

    def transaction(self, doing: str) -> AbstractContextManager[Connection]:
        """Opens a connection to the warehouse; leaving the `with` commits, an exception rolls back.

        Args:
            doing: What messages say that was going on.
        """
        return transaction(self.database_url, doing)

    @contextmanager
    def warehouse(self, doing: str) -> Iterator[Warehouse]:
        """Open a connection to the tenant's tables; leaving the `with` commits, an exception rolls back.

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
        """Write a job of your own to the journal, `canvas_sync_job_logs`,.

        It is there as `running`, with a heartbeat, and ends as `success`, or as `error` with what was raised.

        Args:
            job: Name of the job, its `job_class`.
            arguments: Its `job_arguments`.
            run_id: Dagster's run that it is part of; the failure sensor closes what a killed run leaves open.

        Yields:
            A dictionary that becomes the `metadata` of the job.

        Raises:
            SchemaError: The tables are not there; run `canvas-sync migrate`.
        """
        prepare_schema(self.database_url, self.schema, self.models, ())
        details: dict[str, object] = {}
        with journaled(self, job, arguments or {}, run_id) as entry:
            yield details
            with self.warehouse("writing the journal") as warehouse:
                entry.succeed(warehouse, as_metadata(details))


@contextmanager
def open_session(
    settings: Settings, tenant: TenantSettings, models: tuple[Model, ...], extensions: Extensions | None = None
) -> Iterator[Session]:
    """Connects to a tenant's Canvas; the database is connected to by whoever needs it, for as long as they do.

    Raises:
        SettingError: The tenant has no address or no token.
    """
    own = extensions or Extensions()
    with connect_canvas(tenant, own) as canvas:
        url = database_url(settings, tenant)
        yield Session(tenant, settings.home, canvas, url, models, settings.batch_rows, tenant.shard, own)


def connect_canvas(tenant: TenantSettings, extensions: Extensions | None = None) -> Canvas:
    """Makes the client of a tenant's Canvas, or has the user's own function make it.

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


def _unset(name: str, tenant: TenantSettings, allowed: str) -> SettingError:
    problem = (
        f"is not set for tenant {tenant.slug}; set it in the environment, in .env or in canvas_sync.yaml "
        "(`canvas-sync demo` needs none of them)"
    )
    return SettingError(name, problem, allowed=allowed)
