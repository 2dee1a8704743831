"""Dagster resources: the options of a run, and the code location that ops work on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import Field

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.parameters import refuse_parameters
from canvas_sync_dagster.durations import parse_duration
from canvas_sync_dagster.errors import CanvasSyncError, SettingError, TransientError
from canvas_sync_dagster.orchestration.batch_service import BatchService
from canvas_sync_dagster.redaction import redact, summary, trace
from canvas_sync_dagster.sync.options import SyncOptions, parse_legacy_support
from canvas_sync_dagster.sync.session import database_url
from canvas_sync_dagster.tenant_resources import CanvasResource, WarehouseResource
from canvas_sync_dagster.tenants import parse_updated_after

if TYPE_CHECKING:
    from canvas_sync_dagster.settings import Settings
    from canvas_sync_dagster.sync.project import Project
    from canvas_sync_dagster.sync.scope import TermScope
    from canvas_sync_dagster.sync.session import Session
    from canvas_sync_dagster.warehouse.kept_connections import KeptConnections

T = TypeVar("T")
CANVAS, WAREHOUSE = "canvas", "canvas_warehouse"
"""Names of the public resources."""


class SyncMode(Enum):
    """How much a run reads. Members have the names that users type in run config."""

    auto = "auto"
    full = "full"
    incremental = "incremental"


class SyncOptionsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Options of one run, which replace the tenant's settings; the launchpad shows them."""

    mode: SyncMode = Field(
        default=SyncMode.auto,
        description="How much is read. full: all rows. incremental: what changed since the last success. auto: the "
        "settings updated_after and full_sync_every decide.",
    )
    updated_after: str | None = Field(
        default=None,
        description="Since when changes are read. true: since the last success. false: always all rows. A date, such as "
        "2026-09-01 or 2026-09-01T06:00:00Z: since then. Default: the tenant's setting.",
    )
    report_timeout: str | None = Field(
        default=None,
        description="Maximum total time of a report, over all tries, such as 6 hours or 1 day. Default: the tenant's setting.",
    )
    report_compilation_timeout: str | None = Field(
        default=None,
        description="Maximum time that Canvas compiles a report before it is started again, such as 90 minutes. Default: "
        "the tenant's setting.",
    )
    report_max_tries: int | None = Field(
        default=None,
        description="How often a report is started at most: a number from 1 to 100, such as 3. Default: the tenant's setting.",
    )
    legacy_support: str = Field(
        default="all",
        description="Models whose rows go to functions of row_by_row: all, none, or a list such as users,courses.",
    )
    params: dict[str, Any] = Field(
        default={},
        description="Model → parameters of its report, which replace those of the settings by name, such as "
        "{users: {created_by_sis: true}}.",
    )
    accept_shrinkage: bool = Field(
        default=False,
        description="true accepts a sudden drop in row count. Set it for one run, after a person has looked at the report.",
    )
    reload: bool = Field(
        default=False,
        description="true reads all rows and compares every value, for tables that were changed by other means. Takes "
        "longer than mode: full, which skips records that are known by their digest.",
    )

    def options(
        self,
        *,
        run_id: str,
        batch_id: str,
        batch_started_at: datetime | None = None,
        genre: str | None = None,
        mode: str | None = None,
        updated_after: str | None = None,
    ) -> SyncOptions:
        """Validate the run config and combine it with the tags of the run.

        Args:
            run_id: Id of the run.
            batch_id: Key of its batch.
            batch_started_at: Start of that batch; now by default.
            genre: Genre whose settings apply; the tenant's default genre if None.
            mode: Mode in the tags of the run; a mode in the run config takes precedence.
            updated_after: `updated_after` in the tags; a value in the run config takes precedence.

        Raises:
            SettingError: A value is wrong.
        """
        if self.report_max_tries is not None and not 1 <= self.report_max_tries <= 100:
            raise SettingError("sync_options.report_max_tries", "wrong value", allowed="1 to 100")
        return SyncOptions(
            mode="full" if self.reload else self._mode(mode).value,
            updated_after=_parsed(
                "updated_after", self.updated_after or updated_after, parse_updated_after, "true, false, or a date"
            ),
            report_timeout=_parsed("report_timeout", self.report_timeout, parse_duration, "1 day"),
            report_compilation_timeout=_parsed(
                "report_compilation_timeout", self.report_compilation_timeout, parse_duration, "1 hour"
            ),
            report_max_tries=self.report_max_tries,
            legacy_support=parse_legacy_support(self.legacy_support),
            accept_shrinkage=self.accept_shrinkage,
            params=_parsed_params(self.params),
            reload=self.reload,
            genre=genre,
            batch_id=batch_id,
            started_at=batch_started_at or datetime.now(UTC),
            run_id=run_id,
        )

    def _mode(self, tag: str | None) -> SyncMode:
        if tag is None or self.mode is not SyncMode.auto:
            return self.mode
        try:
            return SyncMode(tag)
        except ValueError:
            allowed = ", ".join(mode.value for mode in SyncMode)
            raise SettingError("the tag canvas_sync/mode", "unknown mode", allowed=allowed, value=tag) from None


def _parsed_params(given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    known = {model.name: model for model in BUILT_IN}
    for name, each in given.items():
        where, allowed = f"sync_options.params.{name}", "{parameter: value}"
        if name not in known:
            raise SettingError(where, "unknown model", allowed=", ".join(known))
        if not isinstance(each, dict):
            raise SettingError(where, "expected a mapping", allowed=allowed)
        try:
            refuse_parameters(known[name], each)
        except ValueError as error:
            raise SettingError(where, str(error), allowed=allowed) from None
    return given


def _parsed(name: str, value: str | None, parse: Callable[[object], T], allowed: str) -> T | None:
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        raise SettingError(f"sync_options.{name}", str(error), allowed=allowed, value=value) from None


class RunSessions:
    """Sessions of a run, one per tenant: its ops share the connections to Canvas and to the database.

    Args:
        stack: Closes them when the run ends.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._opened = stack, dict[str, "Session"]()

    def of(self, tenant: str, opened: Callable[[], AbstractContextManager[Session]]) -> Session:
        """Return the session of a tenant; `opened` opens it the first time."""
        if tenant not in self._opened:
            self._opened[tenant] = self._stack.enter_context(opened())
        return self._opened[tenant]


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """The project, as ops and sensors receive it.

    Attributes:
        project: Settings, models, steps and functions of the location, as configured.
        canvas: Resource whose fields replace settings of the tenants; None for the settings as they are.
        warehouse: The same for the database.
        sessions: Sessions that stay open until the run ends; None outside runs, where each `with` has one of its own.
    """

    project: Project
    canvas: CanvasResource | None = None
    warehouse: WarehouseResource | None = None
    sessions: RunSessions | None = None

    @property
    def home(self) -> Path:
        """Directory of the code location."""
        return self.project.settings.home

    @property
    def on_sync(self) -> Sequence[tuple[str, Callable[..., object]]]:
        """Functions of the user that are called at the end of a batch."""
        return self.project.extensions.on_sync

    def settings(self, slugs: Collection[str]) -> Settings:
        """Return the settings with these tenants, on the Canvas and the database of the resources."""
        settings = self._connected().settings
        tenants = tuple(each for each in settings.tenants if each.slug in slugs)
        return settings.model_copy(update={"tenants": tenants})

    def session(self, tenant: str) -> AbstractContextManager[Session]:
        """Connect to a tenant's Canvas and database for the length of a `with`; within a run, until the run ends."""
        project = self._connected()
        opened = functools.partial(project.session, project.settings.tenant(tenant))
        # A function of the user may return tokens that are valid for less time than a run takes.
        keeps = self.sessions is not None and project.extensions.client is None
        return nullcontext(self.sessions.of(tenant, opened)) if self.sessions and keeps else opened()

    def _connected(self) -> Project:
        """Return the project on the Canvas and the database of the resources. Sensors and ops call it, not the definitions."""
        project = self.canvas.applied(self.project) if self.canvas else self.project
        return self.warehouse.applied(project) if self.warehouse else project

    def batches(
        self,
        tenant: str,
        genre: str | None = None,
        scope: TermScope | None = None,
        *,
        connections: KeptConnections | None = None,
    ) -> BatchService:
        """Return a tenant's batches; starts the embedded PostgreSQL if no database is configured.

        Args:
            tenant: Slug of the tenant.
            genre: Genre of the batches; the tenant's default genre if None.
            scope: Terms to sync, which replace the user's function and the setting.
            connections: Connections to the database that are open already, such as those of a session.
        """
        project = self._connected()
        whole = project.settings.tenant(tenant)
        settings = whole.of_genre(genre or whole.batch_genre)
        declared = whole.genres.get(settings.batch_genre)
        # Terms that a genre declares take precedence over the user's function, which is for all other genres.
        named = declared is not None and "term_scope" in declared.model_fields_set
        own = None if named else project.extensions.term_scope
        url = database_url(project.settings, settings)
        connect = functools.partial(self.session, tenant)
        return BatchService(settings, url, project.models_of(whole), scope or own, connect, connections)


class LocationResource(dg.ResourceDefinition):
    """The resource `code_location`: it gives ops the location on the resources `canvas` and `canvas_warehouse` of their run.

    Commands find the project of a location's definitions by it.

    Args:
        location: The location.

    Attributes:
        project: Project of the location.
    """

    def __init__(self, location: CodeLocation) -> None:
        self.project = location.project

        def on_resources_of_run(context: dg.InitResourceContext) -> Iterator[CodeLocation]:
            canvas, warehouse = (getattr(context.resources, key) for key in (CANVAS, WAREHOUSE))
            for key, given, wanted in ((CANVAS, canvas, CanvasResource), (WAREHOUSE, warehouse, WarehouseResource)):
                if not isinstance(given, wanted):
                    problem = f"is a {type(given).__name__}"
                    raise SettingError(f"the resource {key}", problem, allowed=f"a {wanted.__name__}")
            with ExitStack() as stack:
                yield replace(location, canvas=canvas, warehouse=warehouse, sessions=RunSessions(stack))

        super().__init__(on_resources_of_run, required_resource_keys={CANVAS, WAREHOUSE})


def location_resources(project: Project, more: Sequence[dg.Definitions]) -> tuple[CodeLocation, dict[str, Any]]:
    """Return the location and the resources of its definitions.

    Args:
        project: The code location.
        more: The user's definitions. A `CanvasResource` named `canvas` or a `WarehouseResource` named `canvas_warehouse`
            among them replaces ours.
    """
    given = {key: value for each in more for key, value in (each.resources or {}).items()}
    canvas, warehouse = given.get(CANVAS), given.get(WAREHOUSE)
    location = CodeLocation(
        project,
        canvas if isinstance(canvas, CanvasResource) else None,
        warehouse if isinstance(warehouse, WarehouseResource) else None,
    )
    ours: dict[str, Any] = {"sync_options": SyncOptionsResource.configure_at_launch()}
    ours["code_location"] = LocationResource(location)
    if location.canvas is None:
        ours[CANVAS] = CanvasResource.of(project)
    if location.warehouse is None:
        ours[WAREHOUSE] = WarehouseResource.of(project)
    return location, ours


@contextmanager
def as_dagster_failure(*, retries: bool = False) -> Iterator[None]:
    """Raise an exception of the body as a Dagster failure whose description is one sentence.

    Dagster stores and prints what an op raises, with all of its causes. An exception whose text may quote rows is
    replaced by a failure that has only its class and its stack trace.

    Args:
        retries: Whether the op has a retry policy of the user, which then applies to our errors, too.

    Raises:
        dagster.Failure: The body raised a `CanvasSyncError`, or an exception whose text may quote rows.
    """
    try:
        yield
    except CanvasSyncError as error:
        raise dg.Failure(
            description=str(error),
            metadata={"error": type(error).__name__, "may_succeed_later": isinstance(error, TransientError)},
            allow_retries=retries,
        ) from (error if redact(error) else None)
    except Exception as error:
        if redact(error):
            raise
        raise dg.Failure(description=summary(error), metadata={"trace": trace(error)}) from None
