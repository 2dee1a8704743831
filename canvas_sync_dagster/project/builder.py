"""`CanvasSync`: checks and collects what a code location consists of. `project()` returns it as immutable data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from canvas_sync_dagster.catalogue import Model, RestFeed, with_carriers
from canvas_sync_dagster.catalogue.declared import Declared, declared_table, report_name, report_parameters
from canvas_sync_dagster.catalogue.overrides import MappingOverride, refuse_shared_tables
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.live_events.event_names import check_event_names
from canvas_sync_dagster.live_events.handlers import EventHandlers, Handler, ModelHandler
from canvas_sync_dagster.project.protocols import (
    FAILURE_KEYWORDS,
    SYNC_KEYWORDS,
    ClientFunctionT,
    EventFilterT,
    EventFunctionT,
    FailureCallbackT,
    ModelEventFunctionT,
    ReportProcessorT,
    RowProcessor,
    RowProcessorT,
    RowProcessorWithConnection,
    StepFunctionT,
    SyncCallbackT,
    TermFilterT,
)
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.signatures import check_arguments
from canvas_sync_dagster.sync.chain import Chain
from canvas_sync_dagster.sync.extension_types import CustomReport, Insertion
from canvas_sync_dagster.sync.extensions import ApiOverride, Apply, Extensions, Fetch, Field, MarkDeleted
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.wrong_columns import without_wrong_columns
from canvas_sync_dagster.sync.wrong_translations import without_wrong_translations
from canvas_sync_dagster.tenants import TenantSettings

if TYPE_CHECKING:
    import dagster as dg

    from canvas_sync_dagster.assets.translation import CanvasSyncTranslator
    from canvas_sync_dagster.sync.session import Session

T = TypeVar("T")
Names = str | Sequence[str]
"""A name, or several."""


class Configuration:
    """Switches of a code location that are no settings of a tenant."""

    def __init__(self, keep_errors_only: Callable[[frozenset[str]], None]) -> None:
        self._keep_errors_only = keep_errors_only

    def only_log_errors_on(self, *job_classes: str) -> None:
        """Keep jobs of these classes in the journal only if they fail.

        Args:
            job_classes: Name of a report, `rest:` and the name of a model, `rest:` for all of them, or `live_events`.

        Raises:
            SettingError: A class is no text, or `definitions()` was called before.
        """
        for job_class in job_classes:
            if not isinstance(job_class, str):
                allowed = "the name of a report, rest:, or live_events"
                raise SettingError("only_log_errors_on", "expected a job class", allowed=allowed, value=job_class)
        self._keep_errors_only(frozenset(job_classes))


class CanvasSync:
    """Collects the tenants, models and functions of a code location, and makes Dagster's definitions of them.

    Creating one reads neither network nor database, and two of them in one process share nothing. Each method checks
    what it is given: names of models, steps and events, types of columns, and which arguments a function accepts.

    Args:
        settings: Settings with the tenants; defaults to settings of the given tenants.
        tenants: Tenants, in place of settings; each a `TenantSettings`, or a mapping of the same names.
        models: Models, or their names; defaults to the built-in ones with the mappings of the settings' files.

    Raises:
        SettingError: A value is wrong, or a model does not exist.

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
        self.config = Configuration(self._keep_errors_only)
        known = {model.name: model for model in self.settings.models()}
        chosen = known.values() if models is None else [_resolved(model, known) for model in models]
        self._models = {model.name: model for model in chosen}
        self._mappings: dict[str, MappingOverride] = {}
        # The terms are the partitions, even where no model of the location is a table of terms.
        self._chain = Chain({**self._models, "terms": self._models.get("terms", known["terms"])}, {}, {}, {})
        self._events = EventHandlers()
        self._extensions = Extensions()
        self._closed: Project | None = None

    def __repr__(self) -> str:
        return f"CanvasSync(tenants={[tenant.slug for tenant in self.settings.tenants]})"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, *, directory: Path | None = None) -> CanvasSync:
        """Read the settings from the environment, `.env` and `canvas_sync.yaml`.

        Args:
            environ: Variables; defaults to those of the process.
            directory: Directory of `.env` and `canvas_sync.yaml`; defaults to the working directory.

        Raises:
            SettingError: A value is wrong.
        """
        return cls(Settings.from_environment(environ, directory=directory))

    @classmethod
    def from_file(cls, path: str | Path, environ: Mapping[str, str] | None = None) -> CanvasSync:
        """Read the settings from a file; variables of the environment replace its values.

        `.env` and a relative `CANVAS_SYNC_HOME` are in the directory of the file. If that is a Python package, they are in
        the directory of its project: the nearest one above with a `pyproject.toml`, or else the working directory.

        Args:
            path: A file in the form of `canvas_sync.yaml`.
            environ: Variables; defaults to those of the process.

        Raises:
            SettingError: A value is wrong.
        """
        return cls(Settings.from_file(Path(path), environ))

    # Models, reports and steps

    def mapping(self, model: str, *, reset: bool = False) -> MappingOverride:
        """Return the mapping of a model, to be changed. Each call for a model returns the same mapping.

        Args:
            model: Name of the model.
            reset: Whether to remove all its links first.

        Raises:
            SettingError: The model does not exist.
        """
        declared = self._models[self._known_model(model, "mapping")]
        mapping = self._mappings.setdefault(model, MappingOverride(model, declared=declared))
        return mapping.reset_links() if reset else mapping

    def report(
        self,
        report: str,
        *,
        params: Mapping[str, object] | None = None,
        after: Names = (),
        deps: Names = (),
        per_term: bool = False,
        updated_after: bool = False,
        name: str | None = None,
    ) -> Callable[[ReportProcessorT], ReportProcessorT]:
        """Register a function that processes a custom Canvas report, and expose it as an asset.

        Args:
            report: Canvas's name of the report.
            params: Parameters of the report. Lists and mappings are sent as Canvas reads them; None omits a parameter.
            after: Models, custom reports or steps that come before it.
            deps: The same as `after`, by Dagster's name.
            per_term: Whether Canvas is asked for a report of each term.
            updated_after: Whether Canvas can limit the report to what changed.
            name: Name of the asset; defaults to the function's name.

        Raises:
            SettingError: A name or parameter is wrong, or the function accepts other arguments.
        """
        earlier = (*self._all_known(after, "after"), *self._all_known(deps, "deps"))
        parameters = report_parameters(params or {}, f"report {report}", per_term=per_term, updated_after=updated_after)

        def register(function: ReportProcessorT) -> ReportProcessorT:
            check_arguments(function, f"report {report}", "report", "context")
            asset = self._free(name or _name(function))
            custom = CustomReport(
                report_name(report, "report"), function, parameters, earlier, per_term, updated_after, asset
            )
            self._chain = replace(self._chain, reports={**self._chain.reports, asset: custom})
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
        after: Names = (),
        deps: Names = (),
        per_term: bool = False,
        updated_after: bool = False,
    ) -> Model:
        """Declare a model whose table a custom report fills; `canvas-sync migrate` creates the table.

        Args:
            report: Canvas's name of the report.
            model: Name of the model, its table and its asset.
            key: Columns of the table that identify a row.
            columns: Header of the report → column, or `{"name": …, "type": …}`.
            params: Parameters of the report, as in `report`.
            after: Models, custom reports or steps that come before it.
            deps: The same as `after`, by Dagster's name.
            per_term: Whether Canvas is asked for a report of each term.
            updated_after: Whether Canvas can limit the report to what changed.

        Raises:
            SettingError: The declaration is inconsistent, or the name is taken.
        """
        earlier = (*self._all_known(after, "after"), *self._all_known(deps, "deps"))
        declared = declared_table(
            self._free(model),
            report=report,
            key=_names(key, f"simple_table {model}: key"),
            columns=columns,
            parameters=params or {},
            per_term=per_term,
            updated_after=updated_after,
            parents=[name for name in earlier if name in self._models],
        )
        self._models[model] = declared
        models, tables = {**self._chain.models, model: declared}, {**self._chain.tables, model: earlier}
        self._chain = replace(self._chain, models=models, tables=tables)
        return declared

    def insert(
        self,
        *,
        after: Names = (),
        before: Names = (),
        with_: Names = (),
        at: Literal["start", "end"] | None = None,
        name: str | None = None,
        pool: str | None = None,
        retry_policy: dg.RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Callable[[StepFunctionT], StepFunctionT]:
        """Register a function that runs as a step of the sync, and expose it as an asset.

        It runs per term when one of its neighbours does.

        Args:
            after: Models, custom reports or steps that come before it.
            before: Models, custom reports or steps that come after it.
            with_: Models, custom reports or steps in parallel to it: it waits for what they wait for, and your steps
                that wait for them wait for it. They run at the same time where the executor runs several ops at once;
                `canvas-sync sync` and Dagster's in-process executor run one op after another.
            at: `start` or `end` of a batch, in place of neighbours. A step at the start runs before everything else; if it
                fails, so does the batch, and nothing else runs. A step at the end runs once all terms are over, however
                they ended, in a run of its own, `<tenant>__sync_end`; `context.batch` holds the result. It is retried.
            name: Name of the asset; defaults to the function's name.
            pool: Dagster pool of the step; `concurrency` in `dagster.yaml` or the UI limits it.
            retry_policy: How often and after which pause Dagster repeats the step when it raises; defaults to none, and at
                the end of a batch to 3 times within 70 seconds.
            tags: Tags of its op, such as `dagster/priority`.

        Raises:
            SettingError: A neighbour does not exist, no place is given, or the function accepts other arguments.
        """
        places = self._all_known(after, "after"), self._all_known(before, "before"), self._all_known(with_, "with_")
        if at not in {None, "start", "end"}:
            raise SettingError("insert(at=)", "unknown place", allowed="start, end", value=at)
        if any(places) == (at is not None):
            problem = "neighbours and at= exclude each other" if at else "no place is given"
            raise SettingError("insert", problem, allowed="after=, before= and with_=, or at= alone")

        def register(function: StepFunctionT) -> StepFunctionT:
            check_arguments(function, "insert", "context")
            asset, options = self._free(name or _name(function)), dict(tags or {})
            step = Insertion(asset, function, *places, at=at or "", pool=pool, retry_policy=retry_policy, tags=options)
            self._chain = replace(self._chain, insertions={**self._chain.insertions, asset: step})
            return function

        return register

    @overload
    def row_by_row(self, models: Names) -> Callable[[RowProcessorT], RowProcessorT]: ...

    @overload
    def row_by_row(self, models: Names, function: RowProcessorT) -> RowProcessorT: ...

    def row_by_row(
        self, models: Names, function: RowProcessor | RowProcessorWithConnection | None = None
    ) -> Callable[..., Any]:
        """Register a function that processes each row of these models' reports in place of the table.

        Usable as a decorator: `@sync.row_by_row("courses")`.

        Args:
            models: Names of models that reports feed, or `all` of them.
            function: Called with the row, header → text, and, if it requires a second argument, the connection of the load:
                what it writes by that is committed with the load, and undone for a row that it raises for. False skips a
                row.

        Raises:
            SettingError: No report feeds a model, it has such a function already, or the function accepts other arguments.
        """
        if function is None:
            return lambda decorated: self.row_by_row(models, decorated)
        check_arguments(function, "row_by_row", "row", "connection", optional=1)
        fed = [name for name, model in self._models.items() if not isinstance(model.feed, RestFeed)]
        for name in fed if models == "all" else _names(models, "row_by_row"):
            if self._known_model(name, "row_by_row") not in fed:
                allowed = f"all, {', '.join(fed)}"
                raise SettingError(
                    "row_by_row", "no report feeds it, it is read over REST", allowed=allowed, value=name
                )
            functions = _with(self._extensions.row_by_row, name, function, "row_by_row")
            self._extensions = replace(self._extensions, row_by_row=functions)
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

        A `row` has all columns of the table; of an object that the table lacks, the model's columns are None. An exception
        of a function becomes one `FunctionError` that names it and the row; errors of its requests to Canvas pass through.

        Args:
            model: Name of the model.
            fetch: Called with the client and the row, returns the object; defaults to a request of Canvas's own path.
            fields: Column → key of the object, or a function of the object and, if it requires a second argument, the row.
                They are added to the columns of the model.
            mark_deleted: What is written if Canvas answers 404: values, a `workflow_state`, or a function of the row that
                returns values.
            apply: Called with the object, its mapped columns and the row. It returns the columns to write; None writes the
                mapped columns, as the function has changed them.

        Raises:
            SettingError: The model does not exist or has such functions already, or a function accepts other arguments.
        """
        self._known_model(model, "api")
        where = f"api of {model}"
        if fetch is not None:
            check_arguments(fetch, f"{where}: fetch", "canvas", "row")
        for column, field in (fields or {}).items():
            if not isinstance(field, str):
                check_arguments(field, f"{where}: fields[{column!r}]", "object", "row", optional=1)
        if mark_deleted is not None and not isinstance(mark_deleted, (str, Mapping)):
            check_arguments(mark_deleted, f"{where}: mark_deleted", "row")
        if apply is not None:
            check_arguments(apply, f"{where}: apply", "object", "columns", "row")
        override = ApiOverride(fetch, dict(fields or {}), mark_deleted, apply)
        self._extensions = replace(self._extensions, api=_with(self._extensions.api, model, override, "api"))

    # Live events

    def subscribe(self, *events: str) -> Callable[[EventFunctionT], EventFunctionT]:
        """Register a function that is called for live events, in addition to the change of the tables.

        Args:
            events: Names of events; none for all events. A name that resembles one of Canvas's causes a warning.

        Raises:
            SettingError: A name is no text, or the function accepts other arguments.
        """
        self._open("subscribe")
        check_event_names(*events)

        def register(function: EventFunctionT) -> EventFunctionT:
            check_arguments(function, "subscribe", "event")
            subscriber: tuple[frozenset[str], Handler] = (frozenset(events), function)
            self._events = replace(self._events, subscribers=(*self._events.subscribers, subscriber))
            return function

        return register

    def live_event_handler(self, event: str) -> Callable[[EventFunctionT], EventFunctionT]:
        """Register the function that replaces everything else for a live event: subscribers, hooks, and the tables.

        Args:
            event: Name of the event. One that resembles an event of Canvas causes a warning.

        Raises:
            SettingError: The event has a handler already, or the function accepts other arguments.
        """
        self._open("live_event_handler")
        check_event_names(event)

        def register(function: EventFunctionT) -> EventFunctionT:
            check_arguments(function, "live_event_handler", "event")
            handler: Handler = function
            handlers = _with(self._events.handlers, event, handler, "live_event_handler")
            self._events = replace(self._events, handlers=handlers)
            return function

        return register

    def process_live_event(self, model: str) -> Callable[[ModelEventFunctionT], ModelEventFunctionT]:
        """Register the function that applies a model's live events in place of the default.

        Args:
            model: Name of the model. The function is called with the event and the default, which it may call.

        Raises:
            SettingError: The model does not exist or has such a function already, or the function accepts other arguments.
        """
        self._known_model(model, "process_live_event")

        def register(function: ModelEventFunctionT) -> ModelEventFunctionT:
            check_arguments(function, "process_live_event", "event", "super_")
            handlers = _with(self._events.models, model, cast("ModelHandler", function), "process_live_event")
            self._events = replace(self._events, models=handlers)
            return function

        return register

    def before_live_event(self, function: EventFunctionT) -> EventFunctionT:
        """Register a function that is called before a live event is applied to the tables.

        If it raises, the event is not applied and is tried again later. It is not called for an event that a
        `live_event_handler` replaces, nor for one that belongs to no model.

        Raises:
            SettingError: The function accepts other arguments.
        """
        self._open("before_live_event")
        check_arguments(function, "before_live_event", "event")
        self._events = replace(self._events, before=(*self._events.before, function))
        return function

    def after_live_event(self, function: EventFunctionT) -> EventFunctionT:
        """Register a function that is called once, after a live event was applied to the tables.

        It is not called for an event that a `live_event_handler` replaces, nor for one that belongs to no model.

        Raises:
            SettingError: The function accepts other arguments.
        """
        self._open("after_live_event")
        check_arguments(function, "after_live_event", "event")
        self._events = replace(self._events, after=(*self._events.after, function))
        return function

    def accepts_event(self, function: EventFilterT) -> EventFilterT:
        """Register the function that decides whether a live event belongs to a tenant, in place of comparing accounts.

        Raises:
            SettingError: A function is registered already, or it accepts other arguments.
        """
        self._open_for_one("accepts_event", self._extensions.accepts_event)
        check_arguments(function, "accepts_event", "event", "inbox")
        self._extensions = replace(self._extensions, accepts_event=function)
        return function

    # Callbacks, and functions in place of settings

    def on_failure(self, function: FailureCallbackT) -> FailureCallbackT:
        """Register a function that is called for each run that failed and is not retried.

        It is called with the error and those of the keywords `tenant`, `job_log`, `run` and `session` that it accepts. The
        error is a `RunFailedError` and an instance of the class that the first failed step raised. `session` is None for a
        run of no tenant, and where the tenant's settings are incomplete. What the function raises is logged.

        Raises:
            SettingError: The function accepts other arguments.
        """
        self._open("on_failure")
        check_arguments(function, "on_failure", "error", keywords=FAILURE_KEYWORDS)
        self._extensions = replace(self._extensions, on_failure=(*self._extensions.on_failure, function))
        return function

    def on_sync(self, status: Literal["success", "complete"] = "success") -> Callable[[SyncCallbackT], SyncCallbackT]:
        """Register a function that is called when a batch is over.

        It is called with a mapping of `key`, `tenant`, `genre`, `status`, `reason` and `started_at`, and those of the
        keywords `tenant` and `session` that it accepts. It is called once and not repeated; what it raises is logged.

        Args:
            status: `success` for completed batches only, `complete` for all.

        Raises:
            SettingError: The status does not exist, or the function accepts other arguments.
        """
        self._open("on_sync")
        if status not in {"success", "complete"}:
            raise SettingError("on_sync", "unknown status", allowed="success or complete", value=status)

        def register(function: SyncCallbackT) -> SyncCallbackT:
            check_arguments(function, "on_sync", "batch", keywords=SYNC_KEYWORDS)
            self._extensions = replace(self._extensions, on_sync=(*self._extensions.on_sync, (status, function)))
            return function

        return register

    def client(self, function: ClientFunctionT) -> ClientFunctionT:
        """Register the function that returns the client or the token of a tenant and account at run time.

        Raises:
            SettingError: A function is registered already, or it accepts other arguments.
        """
        self._open_for_one("client", self._extensions.client)
        check_arguments(function, "client", "tenant", "account_id")
        self._extensions = replace(self._extensions, client=function)
        return function

    def term_scope(self, function: TermFilterT) -> TermFilterT:
        """Register the function that decides whether a term is in scope, in place of the setting.

        Raises:
            SettingError: A function is registered already, or it accepts other arguments.
        """
        self._open_for_one("term_scope", self._extensions.term_scope)
        check_arguments(function, "term_scope", "term")
        self._extensions = replace(self._extensions, term_scope=function)
        return function

    def translator(self, translator: CanvasSyncTranslator) -> None:
        """Set the translator, which returns the specification of each asset: its key, group, owners and more.

        Args:
            translator: Instance of a subclass of `CanvasSyncTranslator`.

        Raises:
            SettingError: There is a translator already, or it has no method `get_asset_spec` of one argument.
        """
        self._open("translator")
        if self._extensions.translator is not None:
            raise SettingError("translator", "a translator is set already", allowed="one translator")
        function = getattr(translator, "get_asset_spec", None)
        if isinstance(translator, type) or not callable(function):
            allowed = "an instance of a subclass of CanvasSyncTranslator"
            raise SettingError("translator", "not a translator", allowed=allowed, value=translator)
        check_arguments(function, "translator: get_asset_spec", "asset")
        self._extensions = replace(self._extensions, translator=translator)

    # The result

    def session(self, tenant: str | None = None) -> AbstractContextManager[Session]:
        """Open a tenant's Canvas and database, from any asset, job or script of yours; it needs no Dagster context.

        Args:
            tenant: Slug of the tenant; may be omitted if there is only one.

        Raises:
            SettingError: The tenant does not exist, or its settings are incomplete.
        """
        return self.project().session(self.settings.tenant(tenant))

    def term_partitions(self, tenant: str | None = None) -> dg.DynamicPartitionsDefinition:
        """Return the terms of a tenant as partitions, for your own assets per term.

        An asset with these partitions depends on the same term of its upstream tables.

        Args:
            tenant: Slug of the tenant; may be omitted if there is only one.

        Raises:
            SettingError: The tenant does not exist.
        """
        # Dagster's import takes over a second, which commands that need no definitions do not wait for.
        from canvas_sync_dagster.assets.partitions import term_partitions  # noqa: PLC0415

        # A tenant with a wrong setting is left out, and must not keep the others from loading.
        left_out = {each.slug for each in self.settings.broken}
        return term_partitions(tenant if tenant in left_out else self.settings.tenant(tenant).slug)

    def project(self) -> Project:
        """Return everything that is registered so far as one immutable value.

        Raises:
            SettingError: Two models share a table, a mapping has no link to the key, steps are put where they cannot run,
                a column or step that is named does not exist, or `translation`, `exclude` or `hash` of the only tenant is
                wrong.
        """
        if self._closed is not None:
            return self._closed
        mapped = {
            name: self._mappings[name].applied(model) if name in self._mappings else model
            for name, model in self._models.items()
        }
        refuse_shared_tables(mapped.values())
        chain = replace(self._chain, models={**self._chain.models, **mapped})
        extensions = replace(self._extensions, events=self._events)
        project = Project(self.settings, tuple(mapped.values()), chain, extensions)
        project.validate()
        return without_wrong_translations(without_wrong_columns(project))

    def definitions(self, *more: dg.Definitions) -> dg.Definitions:
        """Return Dagster's definitions: assets, checks, jobs, schedules, sensors and resources of all tenants.

        After this call, registration methods raise: later registrations would be ignored silently.

        Args:
            more: Your own definitions, which are merged with them. An executor among them replaces the default one.

        Raises:
            SettingError: As for `project()`, or a name is defined twice.
        """
        # Dagster's import takes 0.6 seconds, which the receiver and the commands that only read a project do not need.
        from canvas_sync_dagster.project.definitions import definitions_of  # noqa: PLC0415

        self._closed = self.project()
        return definitions_of(self._closed, *more)

    def _keep_errors_only(self, job_classes: frozenset[str]) -> None:
        self._open("config.only_log_errors_on")
        self._extensions = replace(self._extensions, quiet=self._extensions.quiet | job_classes)

    def _open(self, where: str) -> None:
        if self._closed is not None:
            problem = "it comes after definitions() and would take no effect"
            raise SettingError(where, problem, allowed="a place before definitions()")

    def _open_for_one(self, where: str, registered: object) -> None:
        self._open(where)
        if registered is not None:
            raise SettingError(where, "a function is registered already", allowed="one function")

    def _all_known(self, given: Names, where: str) -> tuple[str, ...]:
        self._open(where)
        known = self._chain.names
        names = _names(given, where)
        for name in names:
            if name not in known:
                raise SettingError(where, "unknown model or step", allowed=", ".join(known), value=name)
        return tuple(dict.fromkeys(names))

    def _known_model(self, name: str, where: str) -> str:
        self._open(where)
        if name not in self._models:
            raise SettingError(where, "unknown model", allowed=", ".join(self._models), value=name)
        return name

    def _free(self, name: str) -> str:
        self._open(name)
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]+", name):
            allowed = "letters, digits and underscores; a function without a name needs name="
            raise SettingError("the name of a step", "not a valid name of an asset", allowed=allowed, value=name)
        if name in self._chain.names:
            raise SettingError(name, "the name is taken by a model or step", allowed="another name")
        return name


def _resolved(model: Model | str, known: Mapping[str, Model]) -> Model:
    if isinstance(model, Model):
        return model
    (name,) = with_carriers([model])
    if name not in known:
        raise SettingError("models", "unknown model", allowed=", ".join(known), value=name)
    return known[name]


def _with(registry: Mapping[str, T], name: str, value: T, where: str) -> dict[str, T]:
    """Return a registry with one entry more: a second one for a name would silently replace the first."""
    if name in registry:
        raise SettingError(where, "a function is registered for it already", allowed="one function", value=name)
    return {**registry, name: value}


def _name(function: object) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _names(given: Names, where: str) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    for name in names:
        if not isinstance(name, str):
            raise SettingError(where, "expected a name, or a list of names", allowed="text", value=name)
    return names
