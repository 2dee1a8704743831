"""`CanvasSync`: what a code location is built from."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import SecretStr

from canvas_sync_dagster.assets.jobs import housekeeping_job, live_events_job, reconcile_job
from canvas_sync_dagster.assets.merging import merged
from canvas_sync_dagster.assets.own import custom_report_asset, insertion_asset
from canvas_sync_dagster.assets.reports import report_asset
from canvas_sync_dagster.assets.rest import rest_asset
from canvas_sync_dagster.assets.specs import asset_key
from canvas_sync_dagster.catalogue import BUILT_IN, Model, RestFeed, with_carriers
from canvas_sync_dagster.catalogue.declared import Declared, declared_table, report_parameters
from canvas_sync_dagster.catalogue.overrides import MappingOverride, refuse_shared_tables
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.live_events.handlers import EventHandlers, Handler, ModelHandler
from canvas_sync_dagster.live_events.names import refuse_typing_errors
from canvas_sync_dagster.orchestration.identifiers import GENRE_TAG, TENANT_TAG
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource
from canvas_sync_dagster.schedules import nightly_schedules, sync_schedule
from canvas_sync_dagster.sensors.batches import batch_sensor
from canvas_sync_dagster.sensors.broken import broken_tenants_sensor
from canvas_sync_dagster.sensors.failures import failure_sensor
from canvas_sync_dagster.sensors.live_events import live_event_sensor
from canvas_sync_dagster.sensors.staleness import staleness_sensor
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.chain import Chain, refuse_cycles
from canvas_sync_dagster.sync.extensions import (
    ApiOverride,
    Apply,
    ClientFactory,
    Extensions,
    Fetch,
    Field,
    MarkDeleted,
    RowFunction,
)
from canvas_sync_dagster.sync.own import CustomReport, Insertion, Processor
from canvas_sync_dagster.sync.plan import report_groups, rest_models
from canvas_sync_dagster.sync.scope import Term
from canvas_sync_dagster.tenants import TenantSettings

if TYPE_CHECKING:
    from canvas_sync_dagster.sync.session import Session

LOG = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")
Names = str | Sequence[str]


class Configuration:
    """Switches that are no settings of a tenant."""

    def __init__(self) -> None:
        self.quiet: set[str] = set()

    def only_log_errors_on(self, *job_classes: str) -> None:
        """Keeps jobs of these classes in the journal only if they failed: a report's name, `rest:`, `live_events` …"""
        self.quiet |= set(job_classes)


class CanvasSync:
    """A set of tenants and models, and the user's own functions, from which Dagster definitions are made.

    Constructing one touches neither network nor database, and two of them in one process share nothing.

    Args:
        settings: With the tenants; of the tenants that are given, if not.
        tenants: In place of settings; each as `TenantSettings`, or as a mapping of the same names.
        models: The built-in ones, with the mappings of the settings' files, if not given.

    Raises:
        SettingError: A value is wrong, or there is no model of a name.

    >>> defs = CanvasSync.from_environment({}).definitions()
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        tenants: Iterable[TenantSettings | Mapping[str, Any]] = (),
        models: Iterable[Model | str] | None = None,
    ) -> None:
        self.settings = settings or Settings.of_tenants(tenants)
        self.config = Configuration()
        known = {model.name: model for model in self.settings.models()}
        chosen = known.values() if models is None else models
        self._terms = known["terms"]
        self._models = {each.name: each for each in (self._resolved(each, known) for each in chosen)}
        self._tables: dict[str, tuple[str, ...]] = {}
        self._mappings: list[MappingOverride] = []
        self._reports: list[CustomReport] = []
        self._insertions: list[Insertion] = []
        self._handlers: dict[str, Handler] = {}
        self._subscribers: list[tuple[frozenset[str], Handler]] = []
        self._model_handlers: dict[str, ModelHandler] = {}
        self._before: list[Handler] = []
        self._after: list[Handler] = []
        self._api: dict[str, ApiOverride] = {}
        self._row_by_row: dict[str, RowFunction] = {}
        self._on_failure: list[Callable[..., object]] = []
        self._on_sync: list[tuple[str, Callable[..., object]]] = []
        self._client: ClientFactory | None = None
        self._term_scope: Callable[[Term], bool] | None = None
        self._closed = False
        self._accepts_event: Callable[..., bool] | None = None

    def __repr__(self) -> str:
        return f"CanvasSync(tenants={[tenant.slug for tenant in self.settings.tenants]})"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, *, directory: Path | None = None) -> CanvasSync:
        """Reads the settings from the environment, `.env` and `canvas_sync.yaml`.

        Raises:
            SettingError: A value is wrong.
        """
        return cls(Settings.from_environment(environ, directory=directory))

    @classmethod
    def from_file(cls, path: str | Path, environ: Mapping[str, str] | None = None) -> CanvasSync:
        """Reads the settings from a file, with the environment over it.

        Raises:
            SettingError: A value is wrong.
        """
        return cls(Settings.from_file(Path(path), environ))

    @staticmethod
    def _resolved(model: Model | str, known: Mapping[str, Model]) -> Model:
        if isinstance(model, Model):
            return model
        (model,) = with_carriers([model])
        if model not in known:
            raise SettingError("models", "there is no such model", allowed=", ".join(known), value=model)
        return known[model]

    # What is synced

    @property
    def models(self) -> tuple[Model, ...]:
        """All models with their mappings applied.

        Raises:
            SettingError: A mapping names something that is not there.
        """
        found = dict(self._models)
        for mapping in self._mappings:
            found[mapping.model] = mapping.applied(found[mapping.model])
        refuse_shared_tables(found.values())
        return tuple(found.values())

    def mapping(self, model: str, *, reset: bool = False) -> MappingOverride:
        """Returns the mapping of a model, to be changed.

        Args:
            model: Name of the model.
            reset: Whether all its links are forgotten first.
        """
        self._known_model(model, "mapping")
        current = next(each for each in self.models if each.name == model)
        mapping = MappingOverride(model, declared=current)
        if reset:
            mapping.reset_links()
        self._mappings.append(mapping)
        return mapping

    def report(
        self,
        name: str,
        *,
        params: Mapping[str, object] | None = None,
        deps: Names = (),
        per_term: bool = False,
        updated_after: bool = False,
        asset: str | None = None,
    ) -> Callable[[F], F]:
        """Has a function process a Canvas report of one's own, as an asset like any other.

        Args:
            name: Canvas's name of the report.
            params: Its parameters. Lists and mappings are sent as Canvas reads them, and None omits a parameter.
            deps: Models, custom reports or steps that come before it.
            per_term: Whether it is asked term by term.
            updated_after: Whether it can be limited to what changed.
            asset: Name of the asset; the function's name if not given.
        """

        def register(function: F) -> F:
            processor: Processor = function
            self._reports.append(
                CustomReport(
                    name,
                    processor,
                    report_parameters(params or {}, f"report {name}", per_term=per_term, updated_after=updated_after),
                    self._all_known(deps, "deps"),
                    per_term,
                    updated_after,
                    self._free(asset or function.__name__),
                )
            )
            return function

        return register

    def simple_table(
        self,
        *,
        report: str,
        model: str,
        key: Names,
        columns: Mapping[str, Declared],
        params: Mapping[str, object] | None = None,
        per_term: bool = False,
        updated_after: bool = False,
        deps: Names = (),
    ) -> Model:
        """Loads another report into a table, by declaration alone; `canvas-sync migrate` creates the table.

        Args:
            report: Canvas's name of the report.
            model: Name of the table and the asset.
            key: Columns of the table that tell rows apart.
            columns: Header → column, or `{"name": …, "type": …}`.
            params: Parameters of the report, as for `report`.
            per_term: Whether it is asked term by term.
            updated_after: Whether it can be limited to what changed.
            deps: Models, custom reports or steps that come before it.

        Raises:
            SettingError: The declaration contradicts itself, or there is a model or step of this name.
        """
        before = self._all_known(deps, "deps")
        declared = declared_table(
            self._free(model),
            report=report,
            key=_names(key),
            columns=columns,
            parameters=params or {},
            per_term=per_term,
            updated_after=updated_after,
            parents=[each for each in before if each in self._models],
        )
        self._tables[model] = before
        self._models[model] = declared
        return declared

    def insert(
        self,
        *,
        after: Names = (),
        before: Names = (),
        with_: Names = (),
        at: str | None = None,
        name: str | None = None,
        pool: str | None = None,
        retry_policy: dg.RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Callable[[F], F]:
        """Insert a step of your own into the sync; it runs per term when its neighbour does.

        Args:
            after: Models, custom reports or steps that come before it.
            before: Models, custom reports or steps that come after it.
            with_: Models, custom reports or steps that it runs beside: it waits for what they wait for, and your steps
                that wait for them wait for it. They run at the same time where the executor runs several ops at once;
                `canvas-sync sync` and Dagster's in-process executor run one op after another.
            at: `start` or `end` of a batch, in place of neighbours. A step at the start runs before everything else; if it
                fails, so does the batch, and nothing else runs. A step at the end runs once all terms are over, however
                they ended, in a run of its own, `<tenant>__sync_end`; `context.batch` holds the result. It is retried.
            name: Name of its asset; defaults to the function's name.
            pool: Dagster pool of the step; `concurrency` in `dagster.yaml` or the UI limits it.
            retry_policy: How often and after which pause Dagster repeats the step when it raises; defaults to none, and at
                the end of a batch to 3 times within 70 seconds.
            tags: Tags of its op, such as `dagster/priority`.

        Raises:
            SettingError: There is no such neighbour, or none is named.
        """
        places = self._all_known(after, "after"), self._all_known(before, "before"), self._all_known(with_, "with_")
        if at not in {None, "start", "end"}:
            raise SettingError("insert(at=)", "there is no such place", allowed="start, end", value=at)
        if any(places) == (at is not None):
            problem = "it has neighbours and at=" if at else "it has no place"
            raise SettingError("insert", problem, allowed="after=, before= and with_=, or at= alone")

        def register(function: F) -> F:
            own = Insertion(
                self._free(name or function.__name__),
                function,
                *places,
                at=at or "",
                pool=pool,
                retry_policy=retry_policy,
                tags=dict(tags or {}),
            )
            self._insertions.append(own)
            return function

        return register

    def row_by_row(self, models: Names, function: RowFunction | None = None) -> Callable[..., Any]:
        """Gives each row of these models' reports to a function in place of the table. Usable as a decorator, too.

        Args:
            models: Names of models that reports feed, or `all` of them.
            function: Gets the row, header → text, and, if it takes a second argument, the connection of the load: what it
                writes by that is committed with the load, and undone for a row that it raises for. False skips a row.
        """
        if function is None:
            return functools.partial(self._rows_to, models)
        return self._rows_to(models, function)

    def _rows_to(self, models: Names, function: F) -> F:
        from_reports = [name for name, model in self._models.items() if not isinstance(model.feed, RestFeed)]
        for name in from_reports if models == "all" else _names(models):
            if self._known_model(name, "row_by_row") not in from_reports:
                allowed = f"all, {', '.join(from_reports)}"
                raise SettingError(
                    "row_by_row", "no report tells of it, it is read over REST", allowed=allowed, value=name
                )
            taken: RowFunction = function
            _register(self._row_by_row, name, taken, "row_by_row")
        return function

    def api(
        self,
        model: str,
        *,
        fetch: Fetch | None = None,
        fields: Mapping[str, Field] | None = None,
        mark_deleted: MarkDeleted | None = None,
        apply: Apply | None = None,
    ) -> None:
        """Register how single objects of a model are requested and mapped.

        A `row` has all columns of the table; of an object that the table lacks, the model's columns are None. A function
        that raises is one `FunctionError` that names it and the row; what Canvas answers to its requests passes through.

        Args:
            model: Name of the model.
            fetch: Gets the client and the row, returns the object; defaults to a request of Canvas's own path.
            fields: Column → key of the object, or a function of the object and, if it takes a second argument, the row.
                They are added to the columns of the model.
            mark_deleted: What a 404 means: values, a `workflow_state`, or a function of the row that returns values.
            apply: Gets the object, its mapped columns and the row. It returns the columns to write; None writes the
                mapped columns, as the function has changed them.

        Raises:
            SettingError: There is no such model, or it has such functions already.
        """
        override = ApiOverride(fetch, dict(fields or {}), mark_deleted, apply)
        _register(self._api, self._known_model(model, "api"), override, "api")

    def session(self, tenant: str | None = None) -> AbstractContextManager[Session]:
        """Open a tenant's Canvas and database, from any asset, job or script of yours; it needs no Dagster context.

        Args:
            tenant: Slug of the tenant; the only one if not given.

        Raises:
            SettingError: There is no such tenant, or its settings are incomplete.
        """
        return self.code_location().session(self.settings.tenant(tenant).slug)

    # Live events

    def subscribe(self, *events: str) -> Callable[[Handler], Handler]:
        """Calls a function for these live events, or for all; the tables are changed as well."""
        self._open("subscribe")
        refuse_typing_errors(*events)

        def register(function: Handler) -> Handler:
            self._subscribers.append((frozenset(events), function))
            return function

        return register

    def live_event_handler(self, event: str) -> Callable[[Handler], Handler]:
        """Register the function that replaces everything else for a live event: subscribers, hooks, and the tables.

        Raises:
            SettingError: The event has a handler already, or its name is a typing error.
        """
        self._open("live_event_handler")
        refuse_typing_errors(event)

        def register(function: Handler) -> Handler:
            _register(self._handlers, event, function, "live_event_handler")
            return function

        return register

    def process_live_event(self, model: str) -> Callable[[ModelHandler], ModelHandler]:
        """Register the function that applies a model's live events; it gets the event and the default.

        Raises:
            SettingError: The model has such a function already, or there is no such model.
        """
        self._known_model(model, "process_live_event")

        def register(function: ModelHandler) -> ModelHandler:
            _register(self._model_handlers, model, function, "process_live_event")
            return function

        return register

    def before_live_event(self, function: Handler) -> Handler:
        """Register a function that is called before a live event is applied to the tables.

        If it raises, the event is not applied and is tried again later. It is not called for an event that a
        `live_event_handler` replaces, nor for one that belongs to no model.
        """
        self._open("before_live_event")
        self._before.append(function)
        return function

    def after_live_event(self, function: Handler) -> Handler:
        """Register a function that is called once, after a live event was applied to the tables.

        It is not called for an event that a `live_event_handler` replaces, nor for one that belongs to no model.
        """
        self._open("after_live_event")
        self._after.append(function)
        return function

    def accepts_event(self, function: Callable[..., bool]) -> Callable[..., bool]:
        """Register the function that decides whether a live event belongs to a tenant, in place of comparing accounts."""
        self._open("accepts_event")
        self._accepts_event = _only(self._accepts_event, function, "accepts_event")
        return function

    # What is told, and who is asked

    def on_failure(self, function: F) -> F:
        """Register a function that is called for each run that failed and is not retried.

        It gets the error and those of the keywords `tenant`, `job_log`, `run` and `session` that it takes. The error is
        a `RunFailedError` and an instance of the class that the first failed step raised. `session` is None for a run of
        no tenant, and where the tenant's settings are incomplete. What the function raises is logged.
        """
        self._open("on_failure")
        self._on_failure.append(function)
        return function

    def on_sync(self, status: str = "success") -> Callable[[F], F]:
        """Register a function that is called when a batch is over: on `success`, or on `complete`, however it ended.

        It gets a mapping with `key`, `tenant`, `genre`, `status`, `reason` and `started_at`, and those of the keywords
        `tenant` and `session` that it takes. It is called once and not repeated; what it raises is logged.
        """
        self._open("on_sync")
        if status not in {"success", "complete"}:
            raise SettingError("on_sync", "there is no such status", allowed="success or complete", value=status)

        def register(function: F) -> F:
            self._on_sync.append((status, function))
            return function

        return register

    def client(self, function: ClientFactory) -> ClientFactory:
        """Makes the client or gives the token of a tenant and account at run time."""
        self._open("client")
        self._client = _only(self._client, function, "client")
        return function

    def term_scope(self, function: Callable[[Term], bool]) -> Callable[[Term], bool]:
        """Says of each term whether it is in scope, in place of the setting."""
        self._open("term_scope")
        self._term_scope = _only(self._term_scope, function, "term_scope")
        return function

    def redirect(self, *, base_url: str, token: str, database_url: str, home: Path) -> None:
        """Has all tenants talk to another Canvas and database, as tests do; no client of one's own is asked any more.

        Args:
            base_url: Of the Canvas.
            token: That it accepts.
            database_url: Where the tables go.
            home: For downloads.
        """
        there = {"base_url": base_url, "token": SecretStr(token), "database_url": SecretStr(database_url)}
        moved = [each.model_copy(update={**there, "poll_seconds": 0.05}) for each in self.settings.tenants]
        self.settings = self.settings.model_copy(update={"tenants": tuple(moved), "home": home})
        self._client = None

    @property
    def extensions(self) -> Extensions:
        """The user's own functions, as the sync gets them."""
        events = EventHandlers(
            dict(self._handlers),
            list(self._subscribers),
            dict(self._model_handlers),
            list(self._before),
            list(self._after),
        )
        return Extensions(
            api=dict(self._api),
            row_by_row=dict(self._row_by_row),
            events=events,
            accepts_event=self._accepts_event,
            quiet=frozenset(self.config.quiet),
            client=self._client,
            term_scope=self._term_scope,
            on_sync=tuple(self._on_sync),
            on_failure=tuple(self._on_failure),
        )

    # Dagster

    def models_of(self, tenant: TenantSettings) -> tuple[Model, ...]:
        """Returns the models that a tenant's settings ask for; those of one's own always belong to them."""
        chosen = tenant.chosen(self.models)
        if self.is_per_term(tenant, chosen) and "terms" not in {model.name for model in chosen}:
            # Without terms nobody knows the partitions.
            return (self._terms, *chosen)
        return chosen

    def is_per_term(self, tenant: TenantSettings, models: Iterable[Model] | None = None) -> bool:
        """Says whether a tenant's sync has a part that runs once for each term."""
        names = [model.name for model in (self.models_of(tenant) if models is None else models)]
        return any(self.chain.is_per_term(name) for name in [*names, *self._own_steps])

    def assets_of(self, tenant: TenantSettings, genre: str, *, per_term: bool) -> list[dg.AssetKey]:
        """Returns what a sync of a genre materializes, in its root run or in each of its term runs."""
        chain = self.chain
        names = [*(model.name for model in self.models_of(tenant)), *self._own_steps]
        chosen = chain.of_genre(tenant.genres[genre], names) if genre in tenant.genres else names
        ours = [name for name in names if name in chosen and name not in chain.at("end")]
        return [asset_key(tenant.slug, each) for each in ours if chain.is_per_term(each) is per_term]

    def assets_at_end(self, tenant: TenantSettings) -> list[dg.AssetKey]:
        """Return the steps at the end of a batch."""
        return [asset_key(tenant.slug, each) for each in self.chain.at("end")]

    def code_location(self) -> CodeLocation:
        """Return what ops and sensors get of this location."""
        return CodeLocation(self.settings, self.models, self.extensions, self.models_of)

    @property
    def chain(self) -> Chain:
        """What runs in which order."""
        return Chain(
            {**self._models, "terms": self._terms},
            {report.asset: report for report in self._reports},
            {step.name: step for step in self._insertions},
            dict(self._tables),
        )

    def definitions(self, *more: dg.Definitions) -> dg.Definitions:
        """Makes the assets, checks, jobs, schedules, sensors and resources of all tenants.

        From now on nothing can be registered any more, for it would be lost without a word.

        Args:
            more: The user's own definitions, which are merged with them.

        Raises:
            SettingError: Steps are put where they cannot run, or a name is defined twice.
        """
        self._closed = True
        self._check()
        tenants = self.settings.tenants
        for broken in self.settings.broken:
            LOG.warning("tenant %s is left out: %s", broken.slug, broken.error)
        location = self.code_location()
        jobs = {tenant.slug: self._jobs(tenant) for tenant in tenants}
        ours = dg.Definitions(
            assets=[asset for tenant in tenants for asset in self._assets(tenant)],
            jobs=[job for tenant in tenants for job in jobs[tenant.slug]],
            schedules=[schedule for tenant in tenants for schedule in self._schedules(location, tenant)],
            sensors=self._sensors(location, jobs),
            resources={
                "code_location": dg.ResourceDefinition.hardcoded_resource(location),
                "sync_options": SyncOptionsResource.configure_at_launch(),
            },
            # Reports are waiting, not computing, and a process per op costs five CPU seconds.
            executor=None if any(each.executor for each in more) else dg.in_process_executor,
        )
        return merged(ours, more) if more else ours

    def _check(self) -> None:
        self.chain.refuse_impossible()
        known = {model.name: model for model in self.models}
        for name, override in self._api.items():
            columns = [column.name for column in known[name].columns]
            if lost := [each for each in override.columns if each not in columns]:
                allowed = ", ".join(columns)
                raise SettingError(f"api of {name}", "there is no such column", allowed=allowed, value=lost[0])
        self._refuse_unknown_steps()

    def _refuse_unknown_steps(self) -> None:
        built_in = {model.name for model in BUILT_IN}
        own = [name for name in self.chain.names if name not in built_in]
        for tenant in self.settings.tenants:
            for name, genre in tenant.genres.items():
                if unknown := [each for each in genre.steps if each not in own]:
                    where = f"tenants.{tenant.slug}.genres.{name}.steps"
                    allowed = ", ".join(own) or "nothing: this location has no steps of its own"
                    raise SettingError(where, "there is no such step", allowed=allowed, value=unknown[0])

    def _schedules(self, location: CodeLocation, tenant: TenantSettings) -> list[dg.ScheduleDefinition]:
        batches = functools.partial(location.batches, tenant.slug)
        genres = [
            sync_schedule(
                tenant, batches, self._on_sync, genre=genre, assets=self.assets_of(tenant, genre, per_term=False)
            )
            for genre in tenant.genres
        ]
        return [sync_schedule(tenant, batches, self._on_sync), *genres, *nightly_schedules(tenant)]

    def _sensors(self, location: CodeLocation, jobs: Mapping[str, Sequence[Any]]) -> list[dg.SensorDefinition]:
        tenants = self.settings.tenants
        batches = {tenant.slug: functools.partial(location.batches, tenant.slug) for tenant in tenants}
        sensors: list[dg.SensorDefinition] = [failure_sensor(batches, self._on_failure)]
        for tenant in tenants:
            per_term = self.is_per_term(tenant)
            term_assets = {genre: self.assets_of(tenant, genre, per_term=True) for genre in tenant.genres}
            launched = [job for job in jobs[tenant.slug] if job.name.endswith(("__sync_term", "__sync_end"))]
            sensors.append(
                batch_sensor(
                    tenant,
                    batches[tenant.slug],
                    self._on_sync,
                    per_term=per_term,
                    term_assets=term_assets,
                    first=self.chain.at("start"),
                    jobs=launched if self.chain.at("end") else (),
                )
            )
            sensors.append(staleness_sensor(tenant, batches[tenant.slug]))
            sensors.append(live_event_sensor(tenant, functools.partial(location.session, tenant.slug)))
        if self.settings.broken:
            sensors.append(broken_tenants_sensor(self.settings.broken))
        return sensors

    def _assets(self, tenant: TenantSettings) -> list[dg.AssetsDefinition]:
        models, chain = self.models_of(tenant), self.chain
        there = {*(model.name for model in models), *self._own_steps}
        # A step after a model that this tenant does not sync has nothing to wait for.
        earlier = {name: tuple(each for each in chain.before(name) if each in there) for name in there}
        unscoped = {model.name for model in models if not model.term_scoped}
        lists = [rest_asset(tenant, model, unscoped=unscoped, earlier=earlier) for model in rest_models(models)]
        groups = report_groups(models)
        reports = [report_asset(tenant, groups, group, unscoped=unscoped, earlier=earlier) for group in groups]
        own = [custom_report_asset(tenant, each, earlier=earlier[each.asset]) for each in self._reports]
        steps = [
            insertion_asset(tenant, each, earlier=earlier[each.name], per_term=chain.is_per_term(each.name))
            for each in self._insertions
        ]
        assets = [*lists, *reports, *own, *steps]
        refuse_cycles(
            {spec.key.path[-1]: tuple(d.asset_key.path[-1] for d in spec.deps) for a in assets for spec in a.specs}
        )
        return assets

    @property
    def _own_steps(self) -> tuple[str, ...]:
        return (*(report.asset for report in self._reports), *(step.name for step in self._insertions))

    def _jobs(self, tenant: TenantSettings) -> list[Any]:
        models = self.models_of(tenant)
        jobs: list[Any] = [live_events_job(tenant), reconcile_job(tenant, models), housekeeping_job(tenant)]
        for suffix, scoped in (("sync_root", False), ("sync_term", True)):
            if keys := self.assets_of(tenant, tenant.batch_genre, per_term=scoped):
                jobs.append(
                    dg.define_asset_job(
                        f"{tenant.slug}__{suffix}",
                        selection=dg.AssetSelection.assets(*keys),
                        tags={TENANT_TAG: tenant.slug, GENRE_TAG: tenant.batch_genre},
                    )
                )
        if keys := self.assets_at_end(tenant):
            tags = {TENANT_TAG: tenant.slug, GENRE_TAG: tenant.batch_genre}
            selection = dg.AssetSelection.assets(*keys)
            jobs.append(dg.define_asset_job(f"{tenant.slug}__sync_end", selection=selection, tags=tags))
        return jobs

    def _open(self, what: str) -> None:
        if self._closed:
            raise SettingError(
                what, "it comes after definitions() and would take no effect", allowed="a place before definitions()"
            )

    def _known(self, name: str, where: str) -> str:
        self._open(where)
        known = self.chain.names
        if name not in known:
            raise SettingError(where, "there is no such model or step", allowed=", ".join(known), value=name)
        return name

    def _all_known(self, given: Names, where: str) -> tuple[str, ...]:
        return tuple(self._known(each, where) for each in _names(given))

    def _known_model(self, name: str, where: str) -> str:
        self._open(where)
        if name not in self._models:
            raise SettingError(where, "there is no such model", allowed=", ".join(self._models), value=name)
        return name

    def _free(self, name: str) -> str:
        self._open(name)
        if not re.fullmatch(r"[A-Za-z0-9_]+", name):
            allowed = "letters, digits and underscores; a function without a name of its own needs name= or asset="
            raise SettingError("the name of a step", "Dagster takes no such name", allowed=allowed, value=name)
        if name in self.chain.names:
            raise SettingError(name, "there is a model or step of this name already", allowed="another name")
        return name


def _register(registry: dict[str, T], name: str, value: T, where: str) -> None:
    """Add an entry to a registry that holds one per name: a second one would silently replace the first."""
    if name in registry:
        raise SettingError(where, "a function is registered for it already", allowed="one function", value=name)
    registry[name] = value


def _only(registered: T | None, function: T, where: str) -> T:
    if registered is not None:
        raise SettingError(where, "a function is registered already", allowed="one function")
    return function


def _names(given: Names) -> Sequence[str]:
    return (given,) if isinstance(given, str) else given
